"""A search's own mistakes are data: the tree at fault fails, with a note, and the other problems go on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from stepgym.agents import solve
from stepgym.agents.policies.scripted import spelling_policy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.types import ROOT, EpisodeRecord, Request, SearchTree
from stepgym.envs.families.words import same_word_env
from stepgym.sandbox.types import SandboxError

BAD_PROBLEM = "words/1"


class BadSearch:
    """Best-of-N, which misbehaves on one problem: `bad[method]()` is called in place of a method."""

    def __init__(self, **bad: Callable[[], Any]) -> None:
        self.inner = BestOfN(n=4)
        self.bad = bad

    def _call(self, method: str, tree: SearchTree, *rest: Any) -> Any:
        if tree.problem_id == BAD_PROBLEM and method in self.bad:
            return self.bad[method]()
        return getattr(self.inner, method)(tree, *rest)

    def select(self, tree: SearchTree) -> list[Request]:
        found: list[Request] = self._call("select", tree)
        return found

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        self._call("backup", tree, grown)

    def best(self, tree: SearchTree) -> int:
        found: int = self._call("best", tree)
        return found


class BadAllocation(BadSearch):
    def allocate(self, trees: Sequence[SearchTree]) -> bool:
        return raises()  # type: ignore[no-any-return]


def raises() -> Any:
    raise ValueError("boom")


def run(search: Any, **settings: Any) -> list[EpisodeRecord]:
    return solve(same_word_env(), agent=search, policy=spelling_policy(), **settings)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("method", "bad", "note"),
    [
        ("select", raises, "search: ValueError: boom"),
        ("select", lambda: [Request(ROOT, 0)], "0 steps asked for at node 0"),
        ("select", lambda: [Request(99, 1)], "node 99 of a tree of 1 nodes"),
        ("select", lambda: [Request(-1, 1)], "node -1 of a tree of 1 nodes"),
        ("select", lambda: [Request(ROOT, 1.5)], "TypeError"),  # type: ignore[arg-type]
        ("select", lambda: [Request(ROOT, 1, "a")], "view='a' instead of a State"),  # type: ignore[arg-type]
        ("select", lambda: [7], "select returned 7 instead of a Request"),
        ("select", lambda: None, "select returned None instead of a list"),
        ("backup", raises, "search: ValueError: boom"),
        ("best", raises, "search: ValueError: boom"),
        ("best", lambda: 10_000, "node 10000 of a tree"),
        ("best", lambda: -1, "node -1 of a tree"),
        ("best", lambda: None, "best returned None instead of the number of a node"),
        ("best", lambda: "0", "best returned '0' instead of the number of a node"),
    ],
)
def test_only_the_problem_at_fault_fails(
    method: str, bad: Callable[[], Any], note: str, continuous: bool
) -> None:
    first, failed, last = run(BadSearch(**{method: bad}), continuous=continuous)
    good = run(BestOfN(n=4))
    assert (failed.verdict, failed.answer) == ("failed", None)
    assert note in failed.note
    assert (first.nodes, last.nodes) == (good[0].nodes, good[2].nodes)
    assert (first.verdict, last.verdict) == (good[0].verdict, good[2].verdict)


def test_a_budget_that_cannot_be_allocated_fails_the_trees_that_share_it() -> None:
    records = run(BadAllocation())
    assert [record.verdict for record in records] == ["failed"] * 3
    assert all("search: ValueError: boom" in record.note for record in records)


@pytest.mark.parametrize("method", ["select", "backup", "best"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SandboxError("gone")])
def test_an_interruption_or_a_lost_sandbox_ends_the_run(method: str, error: Any) -> None:
    def bad() -> None:
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        run(BadSearch(**{method: bad}))


def test_numbers_of_other_integer_types_are_accepted() -> None:
    np = pytest.importorskip("numpy")

    class Numpy(BestOfN):
        def select(self, tree: SearchTree) -> list[Request]:
            return [Request(np.int64(r.node), np.int64(r.n), r.view) for r in super().select(tree)]

        def best(self, tree: SearchTree) -> int:
            return np.int64(super().best(tree))  # type: ignore[no-any-return]

    assert [record.nodes for record in run(Numpy(n=4))] == [
        record.nodes for record in run(BestOfN(n=4))
    ]

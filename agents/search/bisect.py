"""Where does a wrong solution go wrong? Binary search with roll-outs (OmegaPRM, Luo et al. 2024, arXiv:2406.06592).

A search for making step labels, not answers: whole samples first, then on each wrong one the last step is sought from
which the policy still finds a right answer. Roll-outs stay in the tree, so that `--labels first_error` and
`monte_carlo` read from it what was found. A line of L steps costs about log2(L) probes in place of L.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import best_answer
from stepgym.agents.search.best_of_n import go_on
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree
from stepgym.envs.types import Status


@dataclass(frozen=True, kw_only=True)
class Bisect:
    """Draw `samples`, then probe steps of the wrong ones by `rollouts` each; the search must see verdicts.

    A step counts as good when an end below it is verified: below a step that no roll-out got right, none later is
    likely to be. Where no sample at all is right, nothing is probed; without verdicts it samples only.
    """

    samples: int = 8
    rollouts: int = 4

    def __post_init__(self) -> None:
        if self.samples < 1 or self.rollouts < 1:
            raise ValueError(
                f"bisect: samples={self.samples}, rollouts={self.rollouts}: both must be at least 1"
            )

    def select(self, tree: SearchTree) -> list[Request]:
        waiting: dict[int, int] = tree.memory.get("waiting", {})
        if waiting:
            return [Request(node, n) for node, n in waiting.items()]
        if tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        if not tree.asked[ROOT]:
            return [Request(ROOT, self.samples)]
        probed: set[int] = tree.memory.setdefault("probed", set())
        probes = _probes(tree, probed)
        probed.update(probes)
        return [Request(node, self.rollouts) for node in probes]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        waiting = tree.memory.get("waiting", {})
        for node, children in grown.items():
            if (
                node not in waiting
            ):  # samples begin here: all that lies above it is passed by them, too
                for passed in tree.path(node):
                    tree.visits[passed] += len(children)
        go_on(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, times=dict(enumerate(tree.visits)))


def _probes(tree: SearchTree, probed: set[int]) -> list[int]:
    """Return the step to be probed next on each wrong line that is not bisected to its end, each step once."""
    good = {
        node for end, verdict in tree.verdicts.items() if verdict.correct for node in tree.path(end)
    }
    if ROOT not in good:
        return []
    wrong = [end for end, verdict in tree.verdicts.items() if verdict.status is Status.INCORRECT]
    found = (_middle(tree.path(end), good, probed) for end in wrong)
    return list(
        dict.fromkeys(
            node for node in found if node is not None and tree.status[node] is NodeStatus.OPEN
        )
    )


def _middle(path: Sequence[int], good: set[int], probed: set[int]) -> int | None:
    """Bisect a line by what is known; return the first step in the way of whose goodness nothing is known."""
    low, high = 0, len(path) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if path[middle] in good:
            low = middle
        elif path[middle] in probed:
            high = middle
        else:
            return path[middle]
    return None

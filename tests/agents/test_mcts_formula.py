"""MCTS against the formulas of its paper, written out over dictionaries: where each simulation goes and what it backs up.

The search keeps sums, Q values and exploration terms up to date incrementally and only where they change. Here all is
computed anew from the definition, for each simulation. All nodes have scores, because ties are broken by the order of drawing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import SearchTree, run_search
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel
from stepgym.agents.search.mcts import MCTS
from stepgym.agents.search.puct import UNKNOWN_Q
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request
from stepgym.envs.families.words import SameWord, WordsDomain


@dataclass
class ByTheBook:
    """PUCT with one simulation at a time, by definition; each of the search's requests must be the leaf found here."""

    mcts: MCTS
    visits: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    total: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    highest: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    fruitless: set[int] = field(default_factory=set)
    """Nodes that are not asked again: the last time brought nothing new, or there is no widening."""
    first_q: dict[int, float] = field(default_factory=dict)
    """The parent's mean when a child without a score was made."""
    known: set[int] = field(default_factory=set)
    compared: int = 0

    def select(self, tree: SearchTree) -> list[Request]:
        expected = None
        for _ in range(self.mcts.simulations - self.visits[ROOT]):
            if self.finished(tree, ROOT):
                break
            path = self.descend(tree)
            if tree.status[path[-1]] is not NodeStatus.ENDED:
                expected = path
                break
            self.back_up(tree, path)
        requests = self.mcts.select(tree)
        assert [request.node for request in requests] == ([expected[-1]] if expected else [])
        for node, count, _ in requests:
            assert count >= 1 and (count == 1 or tree.asked[node] + count <= self.allowed(node))
        self.path = expected
        self.compare(tree, in_flight=expected or [])
        return requests

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        assert self.path is not None
        for node in grown:
            if not self.mcts.widen or set(tree.children[node]) <= self.known:
                self.fruitless.add(node)
        self.known |= set(range(len(tree)))
        self.back_up(tree, self.path)
        self.mcts.backup(tree, grown)
        self.compare(tree, in_flight=[])

    def best(self, tree: SearchTree) -> int:
        return self.mcts.best(tree)

    def finished(self, tree: SearchTree, node: int) -> bool:
        if tree.status[node] is NodeStatus.ENDED:
            return self.visits[node] > 0
        if tree.status[node] in (NodeStatus.BARREN, NodeStatus.FAILED):
            return True
        return node in self.fruitless and self.used_up(tree, node)

    def used_up(self, tree: SearchTree, node: int) -> bool:
        return all(self.finished(tree, child) for child in tree.children[node])

    def allowed(self, node: int) -> float:
        """How many steps a node may have been asked for, this simulation counted."""
        return self.mcts.width * (self.visits[node] + 1.0) ** self.mcts.widen

    def stops_at(self, tree: SearchTree, node: int) -> bool:
        """A simulation ends at an end, and at a node that is asked for steps."""
        if not tree.asked[node] or not tree.children[node]:
            return True
        if node in self.fruitless:
            return False
        return self.used_up(tree, node) or self.allowed(node) + 1e-9 >= tree.asked[node] + 1

    def mean(self, node: int) -> float:
        if not self.visits[node]:
            return UNKNOWN_Q
        if self.mcts.backup_rule == "max":
            return self.highest[node]
        return self.total[node] / self.visits[node]

    def q(self, tree: SearchTree, node: int) -> float:
        if self.visits[node]:
            return self.mean(node)
        score = tree.score[node]
        return self.first_q[node] if score is None else score

    def descend(self, tree: SearchTree) -> list[int]:
        path = [ROOT]
        while not self.stops_at(tree, path[-1]):
            node, base = path[-1], self.mcts.exploration_base
            n = self.visits[node] + 1  # this simulation counts
            factor = (math.log((1 + n + base) / base) + self.mcts.exploration) * math.sqrt(n)
            path.append(
                max(
                    (c for c in tree.children[node] if not self.finished(tree, c)),
                    key=lambda c: self.q(tree, c) + factor * (tree.prior[c] / (1 + self.visits[c])),
                )
            )
        return path

    def back_up(self, tree: SearchTree, path: list[int]) -> None:
        end = path[-1]
        score = tree.score[end]
        value = UNKNOWN_Q if score is None else score
        if tree.status[end] is NodeStatus.BARREN or (
            tree.status[end] is NodeStatus.ENDED and not tree.states[end].has_result
        ):
            value = 0.0
        for child in tree.children[end]:
            self.first_q.setdefault(child, self.mean(end))
        for node in path:
            self.visits[node] += 1
            self.total[node] += value
            self.highest[node] = max(self.highest[node], value)

    def compare(self, tree: SearchTree, *, in_flight: list[int]) -> None:
        for node, parent in enumerate(tree.parent):
            assert tree.visits[node] == self.visits[node] + (node in in_flight)
            if self.visits[node]:
                assert tree.value[node] == pytest.approx(self.mean(node))
                self.compared += 1
            if parent != NO_PARENT and tree.children[parent]:
                total = math.fsum(tree.prior[child] for child in tree.children[parent])
                assert total == pytest.approx(1)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    rule=st.sampled_from(["mean", "max"]),
    exploration=st.sampled_from([0.0, 0.4, 1.25, 5.0]),
    base=st.sampled_from([4.0, 19652.0]),
    widen=st.sampled_from([0.0, 0.25, 0.5]),
)
def test_each_simulation_goes_where_the_formula_says(
    seed: int, rule: str, exploration: float, base: float, widen: float
) -> None:
    mcts = MCTS(
        simulations=40,
        leaves=1,
        until_end=False,
        width=3,
        widen=widen,
        merge=False,
        backup_rule=rule,
        exploration=exploration,
        exploration_base=base,
        seed=seed,
    )
    book = ByTheBook(mcts)
    [tree] = run_search(
        [SameWord("abcd", 1)[0]],
        domain=WordsDomain(4),
        policy=RandomLegalPolicy(seed),
        reward_model=RandomRewardModel(seed),
        search=book,
        see_verdicts=False,
    )
    assert not tree.notes, tree.notes  # a failed assertion above is the search's failure
    assert book.compared > 4

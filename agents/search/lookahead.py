"""Lookahead search: a beam that scores steps by the states they lead to.

Source: Snell et al. 2024, arXiv:2408.03314, section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from stepgym.agents.search.answers import (
    Aggregation,
    Pick,
    beam_score,
    best_answer,
    check_at_least,
    check_choice,
    has_verified,
    may_be_right,
)
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(slots=True)
class LookaheadMemory:
    """The nodes in the beam, and the rollouts from the candidates for the next one."""

    beam: list[int] = field(default_factory=lambda: [ROOT])
    """Indices of the nodes in the beam; the root before the first round."""
    rollouts: dict[int, int] = field(default_factory=dict)
    """Candidate -> the last node of its rollout."""
    rounds_left: int = 0
    """Rounds until the rollouts are finished."""


@dataclass(frozen=True, kw_only=True)
class Lookahead:
    """A `Beam` that ranks each new step by the score at the end of a short rollout.

    The rollout takes the likeliest step `steps` times.

    The rollouts stay in the tree, so that an answer they reach can be chosen.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    width: int = 2
    """Nodes kept in the beam."""
    expand: int = 4
    """Steps asked for at each node of a full beam; a smaller beam asks for as many in all."""
    steps: int = 2
    """Length of a rollout, in steps; 0 makes this a `Beam`."""
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        check_at_least(width=self.width, expand=self.expand)
        check_at_least(least=0, steps=self.steps)
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        memory = tree.recall(LookaheadMemory)
        if memory.rollouts:
            running = dict.fromkeys(
                node for node in memory.rollouts.values() if tree.status[node] is NodeStatus.OPEN
            )
            return [Request(node, 1, replace(tree.states[node], draw=None)) for node in running]
        growing = [node for node in memory.beam if tree.status[node] is NodeStatus.OPEN]
        return [Request(node, self.width * self.expand // len(growing)) for node in growing]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for node in grown:
            tree.visits[node] += 1
        memory = tree.recall(LookaheadMemory)
        if memory.rollouts:
            memory.rollouts = {
                candidate: (grown.get(node) or [node])[0]
                for candidate, node in memory.rollouts.items()
            }
            memory.rounds_left -= 1
        else:
            candidates = [node for node in memory.beam if node not in grown]
            candidates += dict.fromkeys(child for children in grown.values() for child in children)
            memory.rollouts = {node: node for node in candidates if may_be_right(tree, node)}
            memory.rounds_left = self.steps
        if memory.rounds_left == 0 or all(
            tree.status[node] is not NodeStatus.OPEN for node in memory.rollouts.values()
        ):
            self._choose(tree, memory)

    def _choose(self, tree: SearchTree, memory: LookaheadMemory) -> None:
        """Keep the candidates whose rollouts scored best; those that reached a dead end come last."""
        score = {
            candidate: beam_score(tree, node, self.aggregation)
            for candidate, node in memory.rollouts.items()
            if may_be_right(tree, node)
        }
        worst = min(score.values(), default=0.0) - 1.0
        ranked = sorted(memory.rollouts, key=lambda node: -score.get(node, worst))
        memory.beam = ranked[: self.width]
        memory.rollouts = {}
        for node in ranked[self.width :]:
            if tree.status[node] is NodeStatus.OPEN:
                tree.status[node] = NodeStatus.PRUNED

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)

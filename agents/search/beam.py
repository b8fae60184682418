"""Beam search over steps, guided by a process reward model.

Source: Snell et al. 2024, arXiv:2408.03314, section 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
class BeamMemory:
    """The nodes in the beam."""

    beam: list[int] = field(default_factory=lambda: [ROOT])
    """Indices of nodes, best first; the root before the first round."""


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Keep the `width` best nodes, and ask for `width * expand` steps a round between them.

    Answers compete with unfinished paths and stay in the beam; the search ends when only answers are left. Nodes that
    fall out of the beam are pruned. Without a reward model, nodes are ranked by the log-probability of their path.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    width: int = 4
    expand: int = 4
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        check_at_least(width=self.width, expand=self.expand)
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def restart(self, tree: SearchTree) -> None:
        """Start again at the root of a tree that already has nodes."""
        tree.memory[BeamMemory] = BeamMemory()

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        beam = tree.recall(BeamMemory).beam
        growing = [node for node in beam if tree.status[node] is NodeStatus.OPEN]
        share = self.width * self.expand // max(1, len(growing))
        return [Request(node, share) for node in growing]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for node in grown:
            tree.visits[node] += 1
        memory = tree.recall(BeamMemory)
        candidates = [node for node in memory.beam if node not in grown]
        candidates += dict.fromkeys(child for children in grown.values() for child in children)
        ranked = [node for node in candidates if may_be_right(tree, node)]
        ranked.sort(key=lambda node: -beam_score(tree, node, self.aggregation))
        memory.beam = ranked[: self.width]
        for node in ranked[self.width :]:
            if tree.status[node] is NodeStatus.OPEN:
                tree.status[node] = NodeStatus.PRUNED

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)

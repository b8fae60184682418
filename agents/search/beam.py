"""Beam search over steps, guided by a process reward model (Snell et al. 2024, arXiv:2408.03314, section 5.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import (
    Aggregation,
    Pick,
    best_answer,
    check_choice,
    has_verified,
    hopeful,
    promise,
)
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class Beam:
    """Keep the `width` best nodes, ask for `width * expand` steps a round between them.

    Answers compete with unfinished paths and stay in the beam; the search ends when only answers are left. What
    falls out of the beam is pruned. Without a reward model the log-probability of the path decides.
    """

    width: int = 4
    expand: int = 4
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.expand < 1:
            raise ValueError(
                f"beam: width={self.width}, expand={self.expand}: both must be at least 1"
            )
        check_choice("beam", "aggregation", self.aggregation, Aggregation)
        check_choice("beam", "pick", self.pick, Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        beam: list[int] = tree.memory.setdefault("beam", [ROOT])
        growing = [node for node in beam if tree.status[node] is NodeStatus.OPEN]
        share = self.width * self.expand // max(1, len(growing))
        return [Request(node, share) for node in growing]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for node in grown:
            tree.visits[node] += 1
        candidates = [node for node in tree.memory["beam"] if node not in grown]
        candidates += dict.fromkeys(child for children in grown.values() for child in children)
        keep_best(tree, candidates, width=self.width, aggregation=self.aggregation)

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)


def keep_best(tree: SearchTree, candidates: Sequence[int], *, width: int, aggregation: str) -> None:
    """Make the best candidates the beam and prune the other open ones; ties go to the earlier node."""
    ranked = [node for node in candidates if hopeful(tree, node)]
    ranked.sort(key=lambda node: -promise(tree, node, aggregation))
    tree.memory["beam"] = ranked[:width]
    for node in ranked[width:]:
        if tree.status[node] is NodeStatus.OPEN:
            tree.status[node] = NodeStatus.PRUNED

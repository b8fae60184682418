"""Diverse verifier tree search: several beams of width one that never compete (Beeching et al. 2024, search-and-learn)."""

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
class DVTS:
    """Grow `subtrees` independent paths; each asks for `expand` steps a round and follows its best one.

    Subtrees part at the root and keep the samples diverse, where one beam collapses onto what the reward model
    likes most. Subtrees that chose the same step share its node and its samples.
    """

    subtrees: int = 4
    expand: int = 4
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        if self.subtrees < 1 or self.expand < 1:
            raise ValueError(
                f"dvts: subtrees={self.subtrees}, expand={self.expand}: both must be at least 1"
            )
        check_choice("dvts", "aggregation", self.aggregation, Aggregation)
        check_choice("dvts", "pick", self.pick, Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        tips: list[int] = tree.memory.setdefault("tips", [ROOT] * self.subtrees)
        growing = [node for node in tips if tree.status[node] is NodeStatus.OPEN]
        return [Request(node, self.expand * growing.count(node)) for node in dict.fromkeys(growing)]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        left = {node: list(children) for node, children in grown.items()}
        taken: set[int] = set()
        tips = []
        for tip in tree.memory["tips"]:
            if tip not in grown:
                tips.append(tip)
                continue
            tree.visits[tip] += 1
            mine, left[tip] = left[tip][: self.expand], left[tip][self.expand :]
            choice = self._choose(tree, mine or grown[tip], taken)
            taken.add(choice)
            tips += [choice] if choice != ROOT else []
        tree.memory["tips"] = tips

    def _choose(self, tree: SearchTree, children: Sequence[int], taken: set[int]) -> int:
        """Return the best child, one that no other subtree took where there is one; ROOT for a dead end."""
        good = [child for child in children if hopeful(tree, child)]
        free = [child for child in good if child not in taken]
        return max(
            free or good, key=lambda child: promise(tree, child, self.aggregation), default=ROOT
        )

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)

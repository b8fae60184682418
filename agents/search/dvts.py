"""Diverse verifier tree search: several beams of width one that never compete.

Source: Beeching et al. 2024, search-and-learn.
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
class DVTSMemory:
    """The last node of each subtree's path; empty before the first round."""

    tips: list[int] = field(default_factory=list)
    """Index of the last node of each subtree's path."""
    has_started: bool = False
    """Whether the first round has begun."""


@dataclass(frozen=True, kw_only=True)
class DVTS:
    """Grow `subtrees` independent paths, each along its best step.

    In each round a subtree asks for `expand` steps and follows the best one.

    Subtrees part at the root, which keeps the samples diverse; one beam would collapse onto what the reward model
    scores highest. Subtrees that chose the same step share its node and its samples.

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    subtrees: int = 4
    expand: int = 4
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        check_at_least(subtrees=self.subtrees, expand=self.expand)
        check_choice("aggregation", self.aggregation, choices=Aggregation)
        check_choice("pick", self.pick, choices=Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        memory = tree.recall(DVTSMemory)
        if not memory.has_started:
            memory.tips, memory.has_started = [ROOT] * self.subtrees, True
        growing = [node for node in memory.tips if tree.status[node] is NodeStatus.OPEN]
        return [Request(node, self.expand * growing.count(node)) for node in dict.fromkeys(growing)]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        memory = tree.recall(DVTSMemory)
        left = {node: list(children) for node, children in grown.items()}
        taken: set[int] = set()
        tips = []
        for tip in memory.tips:
            if tip not in grown:
                tips.append(tip)
                continue
            tree.visits[tip] += 1
            mine, left[tip] = left[tip][: self.expand], left[tip][self.expand :]
            choice = self._choose(tree, mine or grown[tip], taken)
            taken.add(choice)
            tips += [choice] if choice != ROOT else []
        memory.tips = tips

    def _choose(self, tree: SearchTree, children: Sequence[int], taken: set[int]) -> int:
        """Return the best child, if possible one that no other subtree took; ROOT at a dead end."""
        good = [child for child in children if may_be_right(tree, child)]
        free = [child for child in good if child not in taken]
        return max(
            free or good, key=lambda child: beam_score(tree, child, self.aggregation), default=ROOT
        )

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)

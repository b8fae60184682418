"""Best-of-N: N independent samples of a whole solution, then one of their answers.

Samples that share their first steps share nodes: `visits` is how many samples pass through a node. Each distinct
prefix is asked once for all samples that have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stepgym.agents.search.answers import (
    Aggregation,
    Pick,
    best_answer,
    check_at_least,
    check_choice,
    has_verified,
)
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(slots=True)
class SamplingMemory:
    """Unfinished samples: node -> number of samples that have reached it."""

    unfinished: dict[int, int] = field(default_factory=dict)
    """Index of an open node -> number of samples that have reached it."""

    def requests(self) -> list[Request]:
        """Return a request for the next step of every unfinished sample."""
        return [Request(node, n) for node, n in self.unfinished.items()]

    def advance(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        """Count the samples that reached each child, and note which of them are unfinished."""
        self.unfinished = {}
        for children in grown.values():
            for child in children:
                tree.visits[child] += 1
                if tree.status[child] is NodeStatus.OPEN:
                    self.unfinished[child] = self.unfinished.get(child, 0) + 1


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Draw `n` samples at once; if verdicts are seen, `wave` at a time until one is correct.

    Stopped at the first verified answer this is the baseline to beat: with an exact and cheap verifier no tree search
    solves more for the same compute (Brown et al. 2024, arXiv:2407.21787, on coverage).

    `pick` (see `stepgym.agents.search.answers.Pick`) chooses among answers if none is verified: by default the best
    score, or a vote without scores. `aggregation` (`Aggregation` there) makes one score of a path's step scores.
    """

    n: int = 16
    pick: str | None = None
    aggregation: str = Aggregation.LAST
    wave: int = 4

    def __post_init__(self) -> None:
        check_at_least(n=self.n, wave=self.wave)
        check_choice("pick", self.pick, choices=Pick)
        check_choice("aggregation", self.aggregation, choices=Aggregation)

    def restart(self, tree: SearchTree) -> None:
        """Start again at the root of a tree that already has nodes; unfinished samples are dropped."""
        tree.memory[SamplingMemory] = SamplingMemory()

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        if requests := tree.recall(SamplingMemory).requests():
            return requests
        left = self.n - tree.asked[ROOT]
        if left <= 0 or tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        return [Request(ROOT, min(left, self.wave) if tree.sees_verdicts else left)]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        tree.visits[ROOT] += len(grown.get(ROOT, ()))
        tree.recall(SamplingMemory).advance(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return best_answer(
            tree,
            pick=self.pick,
            aggregation=self.aggregation,
            num_samples=dict(enumerate(tree.visits)),
        )

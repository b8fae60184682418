"""Best-of-N: N independent samples of a whole solution, then one of their answers.

Samples that share their first steps share nodes: `visits` is how many samples pass through a node, so that the tree
is a trie of the samples and each distinct prefix is asked once for all samples that have it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.answers import Aggregation, Pick, best_answer, check_choice, has_verified
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class BestOfN:
    """Draw `n` samples, all at once; where verdicts are seen, `wave` at a time until one is verified.

    Stopped at the first verified answer this is the baseline to beat: with an exact and cheap verifier no tree
    search solves more for the same compute (Brown et al. 2024, arXiv:2407.21787, on coverage).
    """

    n: int = 16
    pick: str | None = None
    aggregation: str = Aggregation.LAST
    wave: int = 4

    def __post_init__(self) -> None:
        if self.n < 1 or self.wave < 1:
            raise ValueError(f"best_of_n: n={self.n}, wave={self.wave}: both must be at least 1")
        check_choice("best_of_n", "pick", self.pick, Pick)
        check_choice("best_of_n", "aggregation", self.aggregation, Aggregation)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        waiting: dict[int, int] = tree.memory.get("waiting", {})
        if waiting:
            return [Request(node, n) for node, n in waiting.items()]
        left = self.n - tree.asked[ROOT]
        if left <= 0 or tree.status[ROOT] is not NodeStatus.OPEN:
            return []
        return [Request(ROOT, min(left, self.wave) if tree.sees_verdicts else left)]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        tree.visits[ROOT] += len(grown.get(ROOT, ()))
        go_on(tree, grown)

    def best(self, tree: SearchTree) -> int:
        times = dict(enumerate(tree.visits))
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation, times=times)


def go_on(tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
    """Count the samples that reached each child, and note where how many of them wait for their next step."""
    waiting: dict[int, int] = {}
    for children in grown.values():
        for child in children:
            tree.visits[child] += 1
            if tree.status[child] is NodeStatus.OPEN:
                waiting[child] = waiting.get(child, 0) + 1
    tree.memory["waiting"] = waiting

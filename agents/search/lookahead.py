"""Look-ahead search: a beam whose steps are scored where they lead (Snell et al. 2024, arXiv:2408.03314, section 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
class Lookahead:
    """Like `Beam`, but each new step is first rolled out `steps` likeliest steps further, and the score of where
    that ends is the step's score. The rollouts stay in the tree, so that an answer they reach counts."""

    width: int = 2
    expand: int = 4
    steps: int = 2
    aggregation: str = Aggregation.LAST
    pick: str | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.expand < 1 or self.steps < 0:
            raise ValueError(
                f"lookahead: width={self.width}, expand={self.expand} (at least 1), steps={self.steps} (at least 0)"
            )
        check_choice("lookahead", "aggregation", self.aggregation, Aggregation)
        check_choice("lookahead", "pick", self.pick, Pick)

    def select(self, tree: SearchTree) -> list[Request]:
        if has_verified(tree):
            return []
        memory = tree.memory
        beam: list[int] = memory.setdefault("beam", [ROOT])
        tips: dict[int, int] = memory.setdefault("tips", {})
        if tips:
            ahead = dict.fromkeys(
                tip for tip in tips.values() if tree.status[tip] is NodeStatus.OPEN
            )
            return [Request(tip, 1, replace(tree.states[tip], draw=None)) for tip in ahead]
        growing = [node for node in beam if tree.status[node] is NodeStatus.OPEN]
        return [Request(node, self.width * self.expand // len(growing)) for node in growing]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for node in grown:
            tree.visits[node] += 1
        memory = tree.memory
        if memory["tips"]:
            memory["tips"] = {
                node: (grown.get(tip) or [tip])[0] for node, tip in memory["tips"].items()
            }
            memory["left"] -= 1
        else:
            candidates = [node for node in memory["beam"] if node not in grown]
            candidates += dict.fromkeys(child for children in grown.values() for child in children)
            memory["tips"] = {node: node for node in candidates if hopeful(tree, node)}
            memory["left"] = self.steps
        if memory["left"] == 0 or all(
            tree.status[t] is not NodeStatus.OPEN for t in memory["tips"].values()
        ):
            self._choose(tree)

    def _choose(self, tree: SearchTree) -> None:
        """Keep the candidates whose rollouts ended best; a rollout into a dead end counts nothing."""
        tips: dict[int, int] = tree.memory["tips"]
        worth = {
            n: promise(tree, tip, self.aggregation) for n, tip in tips.items() if hopeful(tree, tip)
        }
        worst = min(worth.values(), default=0.0) - 1.0
        ranked = sorted(tips, key=lambda node: -worth.get(node, worst))
        tree.memory["beam"] = ranked[: self.width]
        tree.memory["tips"] = {}
        for node in ranked[self.width :]:
            if tree.status[node] is NodeStatus.OPEN:
                tree.status[node] = NodeStatus.PRUNED

    def best(self, tree: SearchTree) -> int:
        return best_answer(tree, pick=self.pick, aggregation=self.aggregation)

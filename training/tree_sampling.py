"""Sampling a tree: states fork until there are enough paths; the search with which GRPO compares steps at forks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.search.best_of_n import SamplingMemory
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class TreeSampling:
    """Draw `fork` steps from every state until `paths` paths are on their way, then one step from each.

    A node's visits count how often its step was drawn.
    """

    paths: int = 8
    fork: int = 2

    def select(self, tree: SearchTree) -> list[Request]:
        if not tree.asked[ROOT]:
            waiting = {ROOT: 1} if tree.status[ROOT] is NodeStatus.OPEN else {}
        else:
            waiting = tree.recall(SamplingMemory).unfinished
        ended = sum(
            tree.visits[node]
            for node in range(1, len(tree))
            if not tree.children[node] and tree.status[node] is not NodeStatus.OPEN
        )
        room = max(0, self.paths - ended - sum(waiting.values()))
        requests = []
        for node, samples in waiting.items():
            extra = min(room, samples * (self.fork - 1))
            requests.append(Request(node, samples + extra))
            room -= extra
        return requests

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        tree.visits[ROOT] += len(grown.get(ROOT, ()))
        tree.recall(SamplingMemory).advance(tree, grown)

    def best(self, tree: SearchTree) -> int:
        ended = (node for node in range(len(tree)) if tree.states[node].has_result)
        return next(ended, ROOT)

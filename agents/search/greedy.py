"""Greedy decoding over steps: the policy's likeliest step, again and again.

It is the baseline of every measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree


@dataclass(frozen=True, kw_only=True)
class Greedy:
    """Grow one path, one step a round."""

    def select(self, tree: SearchTree) -> list[Request]:
        last = len(tree) - 1
        if tree.status[last] is not NodeStatus.OPEN:
            return []
        return [Request(last, 1, replace(tree.states[last], draw=None))]

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        for children in grown.values():
            for child in children:
                tree.visits[child] = 1
        tree.visits[ROOT] = 1

    def best(self, tree: SearchTree) -> int:
        return len(tree) - 1

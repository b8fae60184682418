"""PUCT descent over flat arrays, and what MCTS remembers between rounds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, SearchTree

if TYPE_CHECKING:
    from stepgym.agents.search.mcts import MCTS


@dataclass(slots=True)
class Walks:
    """MCTS's notes: walks in flight, and arrays parallel to the tree's, filled as nodes are adopted."""

    live: list[list[int]]
    """Children that walks may still enter."""
    total: list[float]
    """Sum of values; `value` is `total / visits`."""
    paths: dict[int, list[int]] = field(default_factory=dict)
    """Node waiting to grow -> path of the walk that stands there."""
    leaf: dict[int, int] = field(default_factory=dict)
    """Node waiting to grow -> first new leaf of that walk."""
    seen: dict[Hashable, int] = field(default_factory=dict)
    """(depth, public data) -> the node that stands for all equal states."""
    merged: dict[int, int] = field(default_factory=dict)
    """Pruned node -> the node that stands for its state."""
    dry: set[int] = field(default_factory=set)
    """Nodes whose last proposal brought nothing new."""
    started: int = 0

    def adopt(self, search: MCTS, tree: SearchTree, node: int, children: Sequence[int]) -> None:
        """Take in new nodes; states that were met elsewhere are pruned."""
        first, size = len(self.live), len(tree)
        self.live.extend([[] for _ in range(first, size)])
        self.total.extend([0.0] * (size - first))
        live, status = self.live[node], tree.status
        for child in children:
            if tree.visits[child] == 0 and child not in live and child not in self.merged:
                if status[child] is NodeStatus.OPEN and search.merge and self._is_known(tree, child):
                    status[child] = NodeStatus.PRUNED
                elif status[child] is not NodeStatus.FAILED:
                    live.append(child)

    def _is_known(self, tree: SearchTree, child: int) -> bool:
        state = tree.states[child]
        if state.public is None or state.public == tree.states[ROOT].public:
            return False
        first = self.seen.setdefault((len(state.steps), state.public), child)
        if first != child:
            self.merged[child] = first
        return first != child


def walks_of(tree: SearchTree) -> Walks:
    """Return MCTS's notes on a tree, made from the tree itself where it comes from elsewhere (tree reuse)."""
    walks = tree.memory.get("walks")
    if walks is None:
        open_or_new = [
            [c for c in own if tree.status[c] in (NodeStatus.OPEN, NodeStatus.ENDED) and _is_live(tree, c)]
            for own in tree.children
        ]
        total = [value * visits for value, visits in zip(tree.value, tree.visits)]
        walks = tree.memory["walks"] = Walks(open_or_new, total)
    notes: Walks = walks
    return notes


def _is_live(tree: SearchTree, node: int) -> bool:
    return tree.status[node] is NodeStatus.OPEN or not tree.visits[node]


def follow(search: MCTS, tree: SearchTree, walks: Walks, path: list[int], *, grown: bool = False) -> None:
    """Extend `path` from its last node, adding a (virtual) visit on the way.

    It stops at an end or at a node that is due to grow; `grown` says that the last node just did. The score is
    Q + c P sqrt(N) / (1 + n) with c = log((1 + N + base) / base) + exploration (Silver et al. 2018, AlphaZero); a
    child never visited has its reward-model score as Q, or its parent's value where there is none.
    """
    visits, prior, status = tree.visits, tree.prior, tree.status
    live, total, scores = walks.live, walks.total, tree.score
    base, exploration = search.exploration_base, search.exploration
    node = path[-1]
    while status[node] is NodeStatus.OPEN and (grown or not search.is_due(tree, walks, node)):
        grown = False
        around = visits[node]
        weight = (math.log((1.0 + around + base) / base) + exploration) * math.sqrt(around)
        unknown = total[node] / around
        best, best_worth = -1, -math.inf
        for child in live[node]:
            n = visits[child]
            if n:
                worth = total[child] / n + weight * prior[child] / (1 + n)
            else:
                score = scores[child]
                worth = (unknown if score is None else score) + weight * prior[child]
            if worth > best_worth:
                best, best_worth = child, worth
        visits[best] += 1
        path.append(best)
        node = best


def set_priors(tree: SearchTree, node: int, drawn: Sequence[int], temperature: float) -> None:
    """Set the priors among all children of `node`, which add up to 1.

    They are proportional to probability ** (1 / temperature); where a policy gives no log-probabilities, to how
    often each child was drawn in this proposal.
    """
    children = tree.children[node]
    if not children:
        return
    states, prior = tree.states, tree.prior
    log_probs = [states[child].steps[-1].log_prob for child in children]
    if None in log_probs:
        weights = [float(max(1, drawn.count(child))) for child in children]
    else:
        top = max(log_probs)  # type: ignore[type-var]
        weights = [math.exp((own - top) / temperature) for own in log_probs]  # type: ignore[operator]
    scale = 1.0 / sum(weights)
    for child, weight in zip(children, weights):
        prior[child] = weight * scale


def close(search: MCTS, tree: SearchTree, walks: Walks, node: int) -> None:
    """Take a finished node out of its parent's live children, and the parent too when that was the last."""
    while node != NO_PARENT:
        if tree.status[node] is NodeStatus.OPEN:
            tree.status[node] = NodeStatus.PRUNED
        parent = tree.parent[node]
        if parent == NO_PARENT:
            return
        if node in walks.live[parent]:
            walks.live[parent].remove(node)
        if walks.live[parent] or parent in walks.paths or not search.used_up(tree, walks, parent):
            return
        node = parent

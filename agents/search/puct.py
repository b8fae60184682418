"""PUCT descent over flat arrays, and what MCTS remembers between rounds."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, SearchTree

if TYPE_CHECKING:
    from stepgym.agents.search.mcts import MCTS


ENDED, FAILED, OPEN, PRUNED = (
    NodeStatus.ENDED,
    NodeStatus.FAILED,
    NodeStatus.OPEN,
    NodeStatus.PRUNED,
)  # bound once: looking a member up costs seven times the comparison


@dataclass(slots=True)
class Walks:
    """MCTS's notes: walks in flight, and arrays parallel to the tree's, filled as nodes are adopted."""

    live: list[list[int]]
    """Children that walks may still enter."""
    total: list[float]
    """Sum of values; `value` is `total / visits`."""
    worth: list[float]
    """Q: `total / visits` with walks in flight as visits of value 0; before the first visit the reward model's score,
    or the parent's value at that time where there is none."""
    pull: list[float]
    """P / (1 + visits), so that the descent reads two numbers a child."""
    paths: dict[int, list[int]] = field(default_factory=dict)
    """Node waiting to grow -> path of the walk that stands there."""
    leaf: dict[int, int] = field(default_factory=dict)
    """Node waiting to grow -> first new leaf of that walk, where that is another node."""
    seen: dict[int, dict[Hashable, int]] = field(default_factory=dict)
    """Depth -> public data -> the node that stands for all equal states."""
    merged: dict[int, int] = field(default_factory=dict)
    """Pruned node -> the node that stands for its state."""
    weights: list[float] = field(default_factory=list)
    """Visits of a node -> what the priors of its children weigh, one longer than any node has visits."""
    due_at: list[float] = field(default_factory=list)
    """Visits at which a walk stops at a node to ask for more steps: 0 is at once, infinity never again."""
    started: int = 0

    def cover(self, size: int) -> None:
        """Make room for new nodes."""
        missing = size - len(self.live)
        self.live += [NOTHING] * missing
        self.total += [0.0] * missing
        self.due_at += [0.0] * missing
        self.worth += [0.0] * missing
        self.pull += [0.0] * missing

    def enter_root(self, search: MCTS, tree: SearchTree) -> None:
        """Start a walk. No node has more visits than there were walks, so that `weights` stays long enough."""
        self.weights.append(weight_of(search, len(self.weights)))
        self.enter(tree, ROOT)

    def enter(self, tree: SearchTree, node: int) -> None:
        """Count a walk in flight through a node."""
        n = tree.visits[node] = tree.visits[node] + 1
        self.worth[node] = self.total[node] / n
        self.pull[node] = tree.prior[node] / (1 + n)

    def leave(self, tree: SearchTree, node: int) -> None:
        """Take back `enter`, for a walk that went nowhere."""
        n = tree.visits[node] = tree.visits[node] - 1
        self.worth[node] = self.total[node] / n if n else self.first_worth(tree, node)
        self.pull[node] = tree.prior[node] / (1 + n)

    def first_worth(self, tree: SearchTree, node: int) -> float:
        """Return what a node counts before its first visit."""
        score = tree.score[node]
        if score is not None:
            return score
        parent = tree.parent[node]
        return (
            self.total[parent] / tree.visits[parent] if parent != NO_PARENT and tree.visits[parent] else 0.5
        )

    def adopt_new(
        self, tree: SearchTree, node: int, children: Sequence[int], *, merge: bool, temperature: float
    ) -> bool:
        """Do what `adopt` and `set_priors` do for a node that had no children, in one go: the new ones lie side by
        side, and nobody has visited them."""
        first, end = children[0], children[-1] + 1
        status, scores = tree.status, tree.score[first:end]
        states = tree.states[first:end]
        if None in scores:
            around = self.total[node] / tree.visits[node] if tree.visits[node] else 0.5
            scores = [around if score is None else score for score in scores]
        self.worth[first:end] = scores  # type: ignore[assignment]
        start, depth = tree.states[ROOT].public, len(states[0].steps)
        seen = self.seen.get(depth)
        if seen is None:
            seen = self.seen[depth] = {}
        live: list[int] = []
        log_probs: list[float | None] = []
        for child, state, now in zip(children, states, status[first:end]):
            log_probs.append(state.steps[-1].log_prob)
            if now is FAILED:
                continue
            if merge and now is OPEN:
                public = state.public
                if public is not None and public != start:
                    other = seen.setdefault(public, child)
                    if other != child:
                        self.merged[child] = other
                        status[child] = PRUNED
                        continue
            live.append(child)
        self.live[node] = live
        tree.prior[first:end] = self.pull[first:end] = priors_of(log_probs, children, children, temperature)
        return bool(live)

    def adopt(self, tree: SearchTree, node: int, children: Sequence[int], *, merge: bool) -> bool:
        """Take the new ones among the children that were drawn; states met elsewhere are pruned. False for none."""
        live = list(self.live[node])
        before = len(live)
        status, visits, states, scores = tree.status, tree.visits, tree.states, tree.score
        start = states[ROOT].public
        seen = self.seen.setdefault(len(states[node].steps) + 1, {})
        around = self.total[node] / visits[node] if visits[node] else 0.5
        for child in children:
            if visits[child] or status[child] is FAILED or (before and child in live):
                continue
            if merge and status[child] is OPEN:
                state = states[child]
                public = state.public
                if public is not None and public != start:
                    first = seen.setdefault(public, child)
                    if first != child:
                        self.merged[child] = first
                        status[child] = PRUNED
                        continue
            elif status[child] is PRUNED:
                continue
            live.append(child)
            score = scores[child]
            self.worth[child] = around if score is None else score
        if len(set(children)) < len(children):
            live = list(dict.fromkeys(live))
        self.live[node] = live
        return len(live) > before


NOTHING: list[int] = []
"""Shared by all nodes without live children; `live[node]` is replaced when the node grows."""


def walks_of(search: MCTS, tree: SearchTree) -> Walks:
    """Return MCTS's notes on a tree, made from the tree itself where it comes from elsewhere (tree reuse)."""
    walks: Walks | None = tree.memory.get("walks")
    if walks is None:
        live = [
            [c for c in own if tree.status[c] in (OPEN, ENDED) and _is_live(tree, c)] for own in tree.children
        ]
        total = [value * visits for value, visits in zip(tree.value, tree.visits)]
        size = len(tree)
        walks = Walks(live, total, [0.0] * size, [0.0] * size, due_at=[0.0] * size)
        tree.memory["walks"] = walks
        walks.weights += [weight_of(search, n) for n in range(max(tree.visits) + 1)]
        for node, n in enumerate(tree.visits):
            walks.worth[node] = total[node] / n if n else walks.first_worth(tree, node)
            walks.pull[node] = tree.prior[node] / (1 + n)
        for node, now in enumerate(tree.status):
            if now is OPEN and live[node]:
                walks.due_at[node] = search.due_at(tree, node)
    return walks


def _is_live(tree: SearchTree, node: int) -> bool:
    return tree.status[node] is OPEN or not tree.visits[node]


def weight_of(search: MCTS, visits: int) -> float:
    """Return c sqrt(N), what the priors weigh after N visits, with c = log((1 + N + base) / base) + exploration
    (Silver et al. 2018, AlphaZero)."""
    base = search.exploration_base
    return (log((1.0 + visits + base) / base) + search.exploration) * sqrt(visits)


def follow(tree: SearchTree, walks: Walks, path: list[int], *, grown: bool = False) -> None:
    """Extend `path` from its last node, adding a (virtual) visit on the way.

    It stops at an end or at a node that is due to grow; `grown` says that the last node just did. The score is
    Q + c P sqrt(N) / (1 + n), see `weight_of`; a child never visited has its reward-model score as Q, or its parent's
    value where there is none.
    """
    visits, prior, live, total = tree.visits, tree.prior, walks.live, walks.total
    worth, pull, due_at, weights = walks.worth, walks.pull, walks.due_at, walks.weights
    node = path[-1]
    n = visits[node]
    while grown or n < due_at[node]:
        grown = False
        weight = weights[n]
        best, most = -1, -inf
        for child in live[node]:
            here = worth[child] + weight * pull[child]
            if here > most:
                best, most = child, here
        if best < 0:
            return
        n = visits[best] = visits[best] + 1
        worth[best] = total[best] / n
        pull[best] = prior[best] / (1 + n)
        path.append(best)
        node = best


def priors_of(
    log_probs: Sequence[float | None], children: Sequence[int], drawn: Sequence[int], temperature: float
) -> list[float]:
    """Return the priors of siblings, which add up to 1.

    They are proportional to probability ** (1 / temperature); where a policy gives no log-probabilities, to how
    often each child was drawn in this proposal.
    """
    if None in log_probs:
        weights = [float(max(1, drawn.count(child))) for child in children]
    else:
        top = max(log_probs)  # type: ignore[type-var]
        weights = [exp((own - top) / temperature) for own in log_probs]  # type: ignore[operator]
    scale = 1.0 / sum(weights)
    return [weight * scale for weight in weights]


def set_priors(walks: Walks, tree: SearchTree, node: int, drawn: Sequence[int], temperature: float) -> None:
    """Set the priors among all children of `node` anew."""
    children = tree.children[node]
    if not children:
        return
    states, visits, prior, pull = tree.states, tree.visits, tree.prior, walks.pull
    log_probs = [states[child].steps[-1].log_prob for child in children]
    for child, weight in zip(children, priors_of(log_probs, children, drawn, temperature)):
        prior[child] = weight
        pull[child] = weight / (1 + visits[child])


def close(walks: Walks, tree: SearchTree, node: int) -> None:
    """Take a finished node out of its parent's live children, and the parent too when that was the last.

    A parent that may still be asked is asked for more at once instead.
    """
    while True:
        if tree.status[node] is OPEN:
            tree.status[node] = PRUNED
        walks.due_at[node] = 0.0
        parent = tree.parent[node]
        if parent == NO_PARENT:
            return
        live = walks.live[parent]
        if node in live:
            live.remove(node)
        if live or parent in walks.paths:
            return
        if walks.due_at[parent] < inf:
            walks.due_at[parent] = 0.0
            return
        node = parent

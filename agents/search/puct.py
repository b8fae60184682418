"""PUCT descent over flat arrays, and what MCTS remembers between rounds."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING

from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, SearchTree
from stepgym.envs.types import State

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
    weights: Sequence[float] = field(default=(), compare=False)
    """Visits of a node -> what the priors of its children weigh, longer than any node will have visits."""
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

    def weigh(self, search: MCTS, tree: SearchTree) -> None:
        """Set `weights` for as many visits as there can be: no node has more than the root."""
        size = 64 + search.simulations + tree.visits[ROOT] - self.started
        self.weights = weights_of(search.exploration, search.exploration_base, size)

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
            self.total[parent] / tree.visits[parent]
            if parent != NO_PARENT and tree.visits[parent]
            else 0.5
        )

    def adopt_new(
        self,
        tree: SearchTree,
        node: int,
        children: Sequence[int],
        *,
        merge: bool,
        temperature: float,
    ) -> bool:
        """Do what `adopt` and `set_priors` do for a node that had no children, in one go: the new ones lie side by
        side, and nobody has visited them."""
        first, end = children[0], children[-1] + 1
        states, scores = tree.states[first:end], tree.score[first:end]
        if [score for score in scores if score is None]:
            around = self.total[node] / tree.visits[node] if tree.visits[node] else 0.5
            scores = [around if score is None else score for score in scores]
        self.worth[first:end] = scores  # type: ignore[assignment]
        log_probs = [state.steps[-1].log_prob for state in states]
        tree.prior[first:end] = self.pull[first:end] = priors_of(
            log_probs, children, children, temperature
        )
        live = self.live[node] = [*self.enterable(tree, children, states, merge=merge)]
        return bool(live)

    def enterable(
        self, tree: SearchTree, children: Sequence[int], states: Sequence[State], *, merge: bool
    ) -> Sequence[int]:
        """Return those of a node's first children that walks may enter (`children` itself where it is all of them);
        states met elsewhere are pruned."""
        status = tree.status
        barred: list[int] = []
        if tree.notes:  # every failure has one
            barred = [child for child in children if status[child] is FAILED]
        if merge:
            start = tree.states[ROOT].public
            depth = len(states[0].steps)
            seen = self.seen.get(depth)
            if seen is None:
                seen = self.seen[depth] = {}
            for child, state in zip(children, states):
                public = state.public
                if public is not None and public != start and status[child] is OPEN:
                    other = seen.setdefault(public, child)
                    if other != child:
                        self.merged[child] = other
                        status[child] = PRUNED
                        barred.append(child)
        return [child for child in children if child not in barred] if barred else children

    def adopt(
        self, tree: SearchTree, node: int, children: Sequence[int], *, known: int, merge: bool
    ) -> bool:
        """Take the new ones among the children that were drawn, those from `known` on; False for none."""
        before = self.live[node]
        live = self.enterable_more(
            tree, node, children, before, lambda child: bool(tree.visits[child]), merge=merge
        )
        around = self.total[node] / tree.visits[node] if tree.visits[node] else 0.5
        for child in tree.children[node]:
            if child >= known:
                score = tree.score[child]
                self.worth[child] = around if score is None else score
        self.live[node] = live
        return len(live) > len(before)

    def enterable_more(
        self,
        tree: SearchTree,
        node: int,
        children: Sequence[int],
        before: Sequence[int],
        is_visited: Callable[[int], bool],
        *,
        merge: bool,
    ) -> list[int]:
        """Return the children that walks may enter: those `before`, then the new ones among those that were drawn
        now; states met elsewhere are pruned."""
        live = [*before]
        status, states = tree.status, tree.states
        start = states[ROOT].public
        seen = self.seen.setdefault(len(states[node].steps) + 1, {})
        for child in dict.fromkeys(children):
            if status[child] is FAILED or child in live or is_visited(child):
                continue
            if merge and status[child] is OPEN:
                public = states[child].public
                if public is not None and public != start:
                    first = seen.setdefault(public, child)
                    if first != child:
                        self.merged[child] = first
                        status[child] = PRUNED
                        continue
            elif status[child] is PRUNED:
                continue
            live.append(child)
        return live


NOTHING: list[int] = []
"""Shared by all nodes without live children; `live[node]` is replaced when the node grows."""


def walks_of(search: MCTS, tree: SearchTree) -> Walks:
    """Return MCTS's notes on a tree, made from the tree itself where it comes from elsewhere (tree reuse)."""
    walks: Walks | None = tree.memory.get("walks")
    if walks is not None:
        walks.weigh(search, tree)
        return walks
    live = [
        [c for c in own if tree.status[c] in (OPEN, ENDED) and _is_live(tree, c)]
        for own in tree.children
    ]
    total = [value * visits for value, visits in zip(tree.value, tree.visits)]
    size = len(tree)
    walks = tree.memory["walks"] = Walks(
        live, total, [0.0] * size, [0.0] * size, due_at=[0.0] * size
    )
    walks.weigh(search, tree)
    for node, n in enumerate(tree.visits):
        walks.worth[node] = total[node] / n if n else walks.first_worth(tree, node)
        walks.pull[node] = tree.prior[node] / (1 + n)
    for node, now in enumerate(tree.status):
        if now is OPEN and live[node]:
            walks.due_at[node] = search.due_at(tree.asked[node])
    return walks


def _is_live(tree: SearchTree, node: int) -> bool:
    return tree.status[node] is OPEN or not tree.visits[node]


@lru_cache(maxsize=8)
def weights_of(exploration: float, base: float, size: int) -> tuple[float, ...]:
    """Return c sqrt(N), what the priors weigh after N visits, for N below `size`, with
    c = log((1 + N + base) / base) + exploration (Silver et al. 2018, AlphaZero)."""
    return tuple([(log((1.0 + n + base) / base) + exploration) * sqrt(n) for n in range(size)])


def follow(tree: SearchTree, walks: Walks, path: list[int], *, grown: bool = False) -> None:
    """Extend `path` from its last node, adding a (virtual) visit on the way.

    It stops at an end or at a node that is due to grow; `grown` says that the last node just did. The score is
    Q + c P sqrt(N) / (1 + n), see `weights_of`; a child never visited has its reward-model score as Q, or its parent's
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
    log_probs: Sequence[float | None],
    children: Sequence[int],
    drawn: Sequence[int],
    temperature: float,
) -> list[float]:
    """Return the priors of siblings, which add up to 1.

    They are proportional to probability ** (1 / temperature); where a policy gives no log-probabilities, to how
    often each child was drawn in this proposal.
    """
    try:
        top = max(log_probs)  # type: ignore[type-var]
    except TypeError:  # `None` does not compare; looking for it would take longer than all the rest
        top = None
    if top is None:
        weights = [float(max(1, drawn.count(child))) for child in children]
    else:
        weights = (
            [exp(own - top) for own in log_probs]  # type: ignore[operator]
            if temperature == 1.0
            else [exp((own - top) / temperature) for own in log_probs]  # type: ignore[operator]
        )
    scale = 1.0 / sum(weights)
    return [weight * scale for weight in weights]


def set_priors(
    walks: Walks, tree: SearchTree, node: int, drawn: Sequence[int], temperature: float
) -> None:
    """Set the priors among all children of `node` anew."""
    children = tree.children[node]
    if not children:
        return
    states, visits, prior, pull = tree.states, tree.visits, tree.prior, walks.pull
    log_probs = [states[child].steps[-1].log_prob for child in children]
    for child, weight in zip(children, priors_of(log_probs, children, drawn, temperature)):
        prior[child] = weight
        pull[child] = weight / (1 + visits[child])


def known_already(tree: SearchTree, node: int, known: int) -> bool:
    """Say whether asking `node` changed nothing: all its children were among the first `known` nodes, and their
    priors neither count draws nor get noise."""
    children, states = tree.children[node], tree.states
    return (
        node != ROOT
        and bool(children)
        and children[-1] < known
        and not [child for child in children if states[child].steps[-1].log_prob is None]
    )


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

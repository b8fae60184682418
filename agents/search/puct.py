"""PUCT over flat arrays: the formula, the priors, and what MCTS remembers between rounds.

A child's score is Q + U with U = c(N) sqrt(N) P / (1 + n): P its prior, n its visits, N its parent's visits, and
c(N) = log((1 + N + base) / base) + exploration (Silver et al. 2018, AlphaZero).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import exp, inf, log, sqrt

from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, SearchTree

ENDED, FAILED, OPEN, PRUNED = (
    NodeStatus.ENDED,
    NodeStatus.FAILED,
    NodeStatus.OPEN,
    NodeStatus.PRUNED,
)  # bound once: looking a member up costs seven times the comparison
UNKNOWN_Q = 0.5
"""Q of a node about which nothing is known."""
NONE_OPEN: list[int] = []
"""Shared by all nodes without open children."""


@dataclass(slots=True)
class MCTSMemory:
    """Simulations in flight, and numbers per node as arrays parallel to the tree's."""

    open_children: list[list[int]] = field(default_factory=list)
    """Children that simulations may still enter. A list is replaced, never changed in place: it may be the tree's own."""
    total_value: list[float] = field(default_factory=list)
    """Sum of the backed-up values; `SearchTree.value` is this divided by the visits."""
    q: list[float] = field(default_factory=list)
    """Q: total value / visits, where simulations in flight count as visits of value 0 (virtual loss).

    Before the first visit it is the reward model's score, or else the parent's value at that time.
    """
    prior_term: list[float] = field(default_factory=list)
    """P / (1 + visits), the child's part of U."""
    next_widening: list[float] = field(default_factory=list)
    """Visits at which a simulation stops at a node to ask for more steps: 0 is at once, infinity never."""
    paths: dict[int, list[int]] = field(default_factory=dict)
    """Node that waits for steps -> path of the simulation that waits there."""
    first_leaf: dict[int, int] = field(default_factory=dict)
    """Node that waits for steps -> first new leaf of its simulation, if that is another node."""
    by_state: dict[int, dict[Hashable, int]] = field(default_factory=dict)
    """Depth -> `State.public` -> the node that represents all equal states."""
    merged: dict[int, int] = field(default_factory=dict)
    """Pruned node -> the node that represents its state."""
    coefficients: Sequence[float] = field(default=(), compare=False)
    """c(N) sqrt(N) by N, longer than any node will have visits."""
    started: int = 0
    """Simulations so far."""

    def extend(self, size: int) -> None:
        """Make room for the nodes of a tree of `size` nodes."""
        missing = size - len(self.q)
        self.open_children += [NONE_OPEN] * missing
        self.total_value += [0.0] * missing
        self.q += [0.0] * missing
        self.prior_term += [0.0] * missing
        self.next_widening += [0.0] * missing

    def add_visit(self, tree: SearchTree, node: int) -> None:
        """Count a simulation in flight through a node."""
        n = tree.visits[node] = tree.visits[node] + 1
        self.q[node] = self.total_value[node] / n
        self.prior_term[node] = tree.prior[node] / (1 + n)

    def remove_visit(self, tree: SearchTree, node: int) -> None:
        """Undo `add_visit`, for a simulation that met another one, whose visit remains."""
        n = tree.visits[node] = tree.visits[node] - 1
        self.q[node] = self.total_value[node] / n
        self.prior_term[node] = tree.prior[node] / (1 + n)

    def first_q(self, tree: SearchTree, node: int) -> float:
        """Return Q before the first visit."""
        score = tree.score[node]
        if score is not None:
            return score
        parent = tree.parent[node]
        return UNKNOWN_Q if parent == NO_PARENT else self.mean_value(tree, parent)

    def mean_value(self, tree: SearchTree, node: int) -> float:
        """Return the mean of the values backed up through a node."""
        return self.total_value[node] / tree.visits[node] if tree.visits[node] else UNKNOWN_Q

    def add_first_children(
        self,
        tree: SearchTree,
        node: int,
        children: Sequence[int],
        *,
        merge: bool,
        temperature: float,
    ) -> bool:
        """Do what `add_children` and `set_priors` do for the first children of a node, which have adjacent indices.

        Return whether simulations may enter any of them.
        """
        first, end = children[0], children[-1] + 1
        states, scores = tree.states[first:end], tree.score[first:end]
        if [score for score in scores if score is None]:
            around = self.mean_value(tree, node)
            scores = [around if score is None else score for score in scores]
        self.q[first:end] = scores  # type: ignore[assignment]
        log_probs = [state.steps[-1].log_prob for state in states]
        tree.prior[first:end] = self.prior_term[first:end] = priors_of(
            log_probs, children, drawn=children, temperature=temperature
        )
        status = tree.status
        barred: list[int] = []
        if tree.notes:  # every failure has one
            barred = [child for child in children if status[child] is FAILED]
        if merge:
            start = tree.states[ROOT].public
            depth = len(states[0].steps)
            by_state = self.by_state.get(depth)
            if by_state is None:
                by_state = self.by_state[depth] = {}
            for child, state in zip(children, states):  # states met elsewhere are pruned
                public = state.public
                if public is not None and public != start and status[child] is OPEN:
                    other = by_state.setdefault(public, child)
                    if other != child:
                        self.merged[child] = other
                        status[child] = PRUNED
                        barred.append(child)
        enterable = tree.children[node]
        if barred:
            enterable = [child for child in enterable if child not in barred]
        self.open_children[node] = enterable
        return bool(enterable)

    def add_children(
        self, tree: SearchTree, node: int, drawn: Sequence[int], *, num_known: int, merge: bool
    ) -> bool:
        """Open the children that were drawn and are not open yet; return whether there is any.

        Nodes from `num_known` on are new.
        """
        before = self.open_children[node]
        after = self._enterable_more(tree, node, drawn, merge=merge)
        around = self.mean_value(tree, node)
        for child in tree.children[node]:
            if child >= num_known:
                score = tree.score[child]
                self.q[child] = around if score is None else score
        self.open_children[node] = after
        return len(after) > len(before)

    def _enterable_more(
        self, tree: SearchTree, node: int, drawn: Sequence[int], *, merge: bool
    ) -> list[int]:
        """Return the open children and those drawn now that may be opened; states met elsewhere are pruned."""
        found = [*self.open_children[node]]
        status, states = tree.status, tree.states
        start = states[ROOT].public
        by_state = self.by_state.setdefault(len(states[node].steps) + 1, {})
        for child in dict.fromkeys(drawn):
            if status[child] is FAILED or child in found or tree.visits[child]:
                continue
            if merge and status[child] is OPEN:
                public = states[child].public
                if public is not None and public != start:
                    first = by_state.setdefault(public, child)
                    if first != child:
                        self.merged[child] = first
                        status[child] = PRUNED
                        continue
            elif status[child] is PRUNED:
                continue
            found.append(child)
        return found

    def set_priors(
        self, tree: SearchTree, node: int, drawn: Sequence[int], *, temperature: float
    ) -> None:
        """Set the priors among all children of `node` anew."""
        children = tree.children[node]
        if not children:
            return
        log_probs = [tree.states[child].steps[-1].log_prob for child in children]
        priors = priors_of(log_probs, children, drawn=drawn, temperature=temperature)
        for child, prior in zip(children, priors):
            tree.prior[child] = prior
            self.prior_term[child] = prior / (1 + tree.visits[child])

    def descend(self, tree: SearchTree, path: list[int], *, has_grown: bool = False) -> None:
        """Extend `path` from its last node by PUCT, adding a virtual visit to each node on the way.

        It stops at an ended node or at one that is to be widened; `has_grown` says that the last node just was.
        """
        visits, prior, open_children = tree.visits, tree.prior, self.open_children
        q, prior_term, total_value = self.q, self.prior_term, self.total_value
        next_widening, coefficients = self.next_widening, self.coefficients
        node = path[-1]
        n = visits[node]
        while has_grown or n < next_widening[node]:
            has_grown = False
            coefficient = coefficients[n]
            best, highest = -1, -inf
            for child in open_children[node]:
                score = q[child] + coefficient * prior_term[child]
                if score > highest:
                    best, highest = child, score
            if best < 0:
                return
            n = visits[best] = visits[best] + 1
            q[best] = total_value[best] / n
            prior_term[best] = prior[best] / (1 + n)
            path.append(best)
            node = best

    def close(self, tree: SearchTree, node: int) -> None:
        """Remove a finished node from its parent's open children, and the parent too if it was the last.

        A parent that may still be widened is widened at the next visit instead.
        """
        while True:
            if tree.status[node] is OPEN:
                tree.status[node] = PRUNED
            self.next_widening[node] = 0.0
            parent = tree.parent[node]
            if parent == NO_PARENT:
                return
            siblings = self.open_children[parent]
            if node in siblings:
                siblings = [child for child in siblings if child != node]
                self.open_children[parent] = siblings
            if siblings or parent in self.paths:
                return
            if self.next_widening[parent] < inf:
                self.next_widening[parent] = 0.0
                return
            node = parent


@lru_cache(maxsize=8)
def coefficients_of(exploration: float, base: float, size: int) -> tuple[float, ...]:
    """Return c(N) sqrt(N) for N below `size`."""
    return tuple([(log((1.0 + n + base) / base) + exploration) * sqrt(n) for n in range(size)])


def priors_of(
    log_probs: Sequence[float | None],
    children: Sequence[int],
    *,
    drawn: Sequence[int],
    temperature: float,
) -> list[float]:
    """Return the priors of siblings, which add up to 1.

    They are proportional to probability ** (1 / temperature); if the policy gives no log-probabilities, to how often
    each child was drawn in this proposal.
    """
    try:
        top = max(log_probs)  # type: ignore[type-var]
    except (
        TypeError
    ):  # `None` cannot be compared; searching for it would cost more than all the rest
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


def brought_nothing(tree: SearchTree, node: int, *, num_known: int) -> bool:
    """Return whether asking `node` changed nothing.

    All its children are among the first `num_known` nodes, and their priors depend neither on draws nor on noise.
    """
    children, states = tree.children[node], tree.states
    return (
        node != ROOT
        and bool(children)
        and children[-1] < num_known
        and not [child for child in children if states[child].steps[-1].log_prob is None]
    )


def memory_from(tree: SearchTree, *, widen_at: Callable[[int], float]) -> MCTSMemory:
    """Return the memory for a tree that comes with visits from an earlier search (tree reuse).

    `widen_at` gives the visits at which a node that was asked for so many steps is widened.
    """
    memory = MCTSMemory()
    memory.extend(len(tree))
    for node, visits in enumerate(tree.visits):
        memory.total_value[node] = tree.value[node] * visits
        memory.open_children[node] = [
            child
            for child in tree.children[node]
            if tree.status[child] is OPEN
            or (tree.status[child] is ENDED and not tree.visits[child])
        ]
        memory.q[node] = memory.total_value[node] / visits if visits else memory.first_q(tree, node)
        memory.prior_term[node] = tree.prior[node] / (1 + visits)
        if tree.status[node] is OPEN and memory.open_children[node]:
            memory.next_widening[node] = widen_at(tree.asked[node])
    return memory

"""MCTS on many trees at once: the walks of all trees go down, and come back up, together.

What is here does to many trees what `MCTS.select` and `MCTS.backup` do to one, number for number: every tree comes
out the same either way. The first walks of all trees are one step, then the second walks, and so on, because a walk
depends on those before it in its own tree alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import exp, inf
from typing import TYPE_CHECKING

import numpy as np

from stepgym.agents.search.arena import NOBODY, Arena, Floats, Ints
from stepgym.agents.search.puct import known_already, priors_of, walks_of, weights_of
from stepgym.agents.search.root import RootNoise, dirichlet
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree

if TYPE_CHECKING:
    from stepgym.agents.search.mcts import MCTS

new_request = partial(tuple.__new__, Request)
"""What `Request(node, n, None)` does, in half the time."""
OPEN, PRUNED = NodeStatus.OPEN, NodeStatus.PRUNED
"""Bound once: looking a member up costs seven times the comparison."""


class Grove:
    """Many trees that MCTS grows in lock-step. Between `Grove(...)` and `settle` the trees' visits, priors and values
    and MCTS's notes are in the arena; what the driver writes (states, children, statuses, scores) is in the trees."""

    def __init__(self, search: MCTS, trees: Sequence[SearchTree]) -> None:
        self._search, self._trees = search, trees
        self._walks = [walks_of(search, tree) for tree in trees]
        self._arena = Arena(search.width)
        self._dues: dict[int, float] = {}
        self._unscored: dict[int, list[int]] = {}
        """Node that grew in this round -> its new children without a score."""
        size = len(trees)
        self._started: Ints = np.array([walks.started for walks in self._walks], np.intp)
        self._count: Ints = np.zeros(size, np.intp)
        """Tree -> walks in flight, which are in the first places of the following."""
        self._node: Ints = np.zeros((size, search.leaves), np.intp)
        self._leaf: Ints = np.zeros((size, search.leaves), np.intp)
        self._length: Ints = np.zeros((size, search.leaves), np.intp)
        self._paths: Ints = np.zeros((size, search.leaves, 8), np.intp)
        most = max((max(tree.visits) for tree in trees), default=0)
        weights = weights_of(search.exploration, search.exploration_base, 64 + search.simulations + most)
        self._weights: Floats = np.array(weights)
        for at, (tree, walks) in enumerate(zip(trees, self._walks)):
            self._arena.load(tree, walks)
            slots = self._arena.slots[at]
            for node, path in walks.paths.items():
                row = np.array([[slots[on_path] for on_path in path]])
                leaf = slots[walks.leaf.get(node, node)]
                self._stand(np.array([at]), row, np.array([len(path)]), row[:, -1], np.array([leaf]))
        self._roots: Ints = np.array([slots[ROOT] for slots in self._arena.slots], np.intp)

    def select(self, which: Sequence[int]) -> list[list[Request]]:
        """Return what `MCTS.select` asks for in each of these trees."""
        search, trees, count, arena = self._search, self._trees, self._count, self._arena
        going = [at for at in which if not search.is_done(trees[at])]
        active = np.array([at for at in going if trees[at].status[ROOT] is OPEN], np.intp)
        while active.size:
            active = active[(count[active] < search.leaves) & (self._started[active] < search.simulations)]
            if active.size:
                active = self._launch(active)
        alive = set(going)
        counts = [here if at in alive else 0 for at, here in zip(which, count[list(which)].tolist())]
        slots = self._node[list(which)]
        nodes, visits = arena.local[slots].tolist(), arena.visits[slots].tolist()
        leaves = (slots == self._leaf[list(which)]).tolist()
        wanted = search.wanted
        requests: list[list[Request]] = []
        for at, here, *rows in zip(which, counts, nodes, visits, leaves):
            asked = trees[at].asked
            requests.append(
                [
                    new_request((node, wanted(asked[node], n, is_leaf), None))
                    for node, n, is_leaf, _ in zip(*rows, range(here))
                ]
            )
        return requests

    def _launch(self, which: Ints) -> Ints:
        """Start one walk in each of these trees; return those of them where another may start."""
        arena = self._arena
        roots = self._roots[which]
        self._enter(roots)
        paths = np.zeros((len(which), self._paths.shape[2]), np.intp)
        paths[:, 0] = roots
        paths, lengths, ends = self._follow(paths, np.ones(len(which), np.intp), roots)
        met = arena.waiting[ends]
        if np.count_nonzero(met):
            self._leave(paths[met])
            on = ~met
            which, paths, lengths, ends = which[on], paths[on], lengths[on], ends[on]
        self._started[which] += 1
        trees = self._trees
        local = arena.local[ends].tolist()
        opens = [trees[at].status[node] is OPEN for at, node in zip(which.tolist(), local)]
        if False not in opens:
            self._stand(which, paths, lengths, ends, ends)
            still_open = which
        else:
            is_open = np.array(opens, bool)
            self._stand(which[is_open], paths[is_open], lengths[is_open], ends[is_open], ends[is_open])
            shut = ~is_open
            self._finish(which[shut], paths[shut], ends[shut], ends[shut])
            still_open = np.array([at for at in which.tolist() if trees[at].status[ROOT] is OPEN], np.intp)
        return still_open

    def _stand(self, which: Ints, paths: Ints, lengths: Ints, ends: Ints, leaves: Ints) -> None:
        """Let a walk in each of these trees wait where it stands, until the node has grown."""
        depth = paths.shape[1]
        if depth > self._paths.shape[2]:
            self._paths = np.pad(self._paths, ((0, 0), (0, 0), (0, depth - self._paths.shape[2])))
        place = self._count[which]
        self._paths[which, place, :depth] = paths
        self._paths[which, place, depth:] = NOBODY
        self._node[which, place] = ends
        self._leaf[which, place] = leaves
        self._length[which, place] = lengths
        self._count[which] += 1
        self._arena.waiting[ends] = True

    def _enter(self, slots: Ints) -> None:
        """Count a walk in flight through these nodes, no two of them the same."""
        arena = self._arena
        n = arena.visits[slots] + 1
        arena.visits[slots] = n
        arena.worth[slots] = arena.total[slots] / n
        arena.pull[slots] = arena.prior[slots] / (1 + n)

    def _leave(self, paths: Ints) -> None:
        """Take back `_enter` along paths that end where another walk waits, so that every node keeps a visit."""
        arena = self._arena
        slots = paths[paths > NOBODY]
        n = arena.visits[slots] - 1
        arena.visits[slots] = n
        arena.worth[slots] = arena.total[slots] / n
        arena.pull[slots] = arena.prior[slots] / (1 + n)

    def _follow(
        self, paths: Ints, lengths: Ints, nodes: Ints, *, grown: bool = False
    ) -> tuple[Ints, Ints, Ints]:
        """Extend all paths from `nodes`, no two in one tree; return them, their lengths and their ends.

        See `stepgym.agents.search.puct.follow`, which does it for one.
        """
        arena, weights = self._arena, self._weights
        kids_of, due, worth, pull = arena.kids, arena.due, arena.worth, arena.pull
        visits, total, prior = arena.visits, arena.total, arena.prior
        ends = nodes.copy()
        every = rows = np.arange(len(nodes))
        longest = int(lengths.max())
        n = visits[nodes]
        on = (n < due[nodes]).nonzero()[0] if not grown else rows
        while on.size:
            if on.size < rows.size:
                rows, nodes, n = rows[on], nodes[on], n[on]
            kids = kids_of[nodes]
            most = (worth[kids] + weights[n][:, None] * pull[kids]).argmax(1)
            best = kids[every[: rows.size], most]
            on = best.nonzero()[0]
            if on.size < rows.size:  # some have no child that may be entered
                rows, best = rows[on], best[on]
                if not rows.size:
                    break
            n = visits[best] + 1
            visits[best] = n
            worth[best] = total[best] / n
            pull[best] = prior[best] / (1 + n)
            if longest == paths.shape[1]:
                paths = np.pad(paths, ((0, 0), (0, longest)))
            longest += 1
            place = lengths[rows]
            paths[rows, place] = best
            lengths[rows] = place + 1
            ends[rows] = nodes = best
            on = (n < due[best]).nonzero()[0]
        return paths, lengths, ends

    def backup(self, which: Sequence[int], grown: Sequence[Mapping[int, Sequence[int]]]) -> None:
        """Take in what grew in each of these trees."""
        turns = self._adopt(which, grown)
        arena, trees = self._arena, self._trees
        self._count[list(which)] = 0
        for place, turn in enumerate(turns):
            at = np.array([tree for tree, _, _ in turn], np.intp)
            nodes, leaves, lengths = self._node[at, place], self._leaf[at, place], self._length[at, place]
            paths = self._paths[at, place, : lengths.max()]
            arena.waiting[nodes] = False
            arena.due[nodes] = [
                self._due_at(trees[tree].asked[node]) if has_more else inf for tree, node, has_more in turn
            ]
            if self._unscored:
                self._guess(nodes)
            if self._search.until_end:
                self._go_on(at, paths, lengths, nodes, leaves)
            else:
                self._finish(at, paths, nodes, leaves)

    def _due_at(self, asked: int) -> float:
        due = self._dues.get(asked)
        if due is None:
            due = self._dues[asked] = self._search.due_at(asked)
        return due

    def _guess(self, nodes: Ints) -> None:
        """Let new children without a score count what their parent is worth."""
        arena = self._arena
        for slot in nodes.tolist():
            if slot in self._unscored:
                n = arena.visits[slot]
                arena.worth[self._unscored.pop(slot)] = arena.total[slot] / n if n else 0.5

    def _go_on(self, which: Ints, paths: Ints, lengths: Ints, nodes: Ints, leaves: Ints) -> None:
        """Let the walks go on through the new children; those that stop at a node that can grow wait there."""
        arena, trees = self._arena, self._trees
        grew = arena.kids[nodes, 0] > NOBODY
        paths, lengths, ends = self._follow(paths, lengths, nodes, grown=True)
        local = arena.local[ends].tolist()
        is_open = [trees[at].status[node] is OPEN for at, node in zip(which.tolist(), local)]
        on = grew & np.array(is_open, bool) & ~arena.waiting[ends]
        if on.any():
            self._stand(which[on], paths[on], lengths[on], ends[on], leaves[on])
        if not on.all():
            off = ~on
            self._finish(which[off], paths[off], ends[off], leaves[off])

    def _adopt(
        self, which: Sequence[int], grown: Sequence[Mapping[int, Sequence[int]]]
    ) -> list[list[tuple[int, int, bool]]]:
        """Give the new nodes their slots, first numbers and places among the children that walks may enter.

        Return, for each place of the walks in flight, the trees that have one there, its node, and whether that got
        a child that may be entered.
        """
        arena, trees = self._arena, self._trees
        known = [len(arena.slots[at]) for at in which]
        base = arena.add(trees, which)
        scores = [score for at, size in zip(which, known) for score in trees[at].score[size:]]
        arena.worth[base : arena.size] = np.array(scores, float)  # NaN for none: see `_guess`
        self._unscored, is_unscored = {}, None in scores
        fresh = _Fresh()
        turns: list[list[tuple[int, int, bool]]] = [[] for _ in range(max(map(len, grown), default=0))]
        for at, own, size in zip(which, grown, known):
            self._adopt_in(at, own, size, fresh, turns)
            if is_unscored:
                self._note_unscored(at, own, size)
        if fresh.nodes:
            fresh.place(arena, self._search.prior_temperature)
        if self._search.root_noise == RootNoise.DIRICHLET:
            for at, own in zip(which, grown):
                if ROOT in own:
                    self._add_noise(at)
        return turns

    def _note_unscored(self, at: int, own: Iterable[int], known: int) -> None:
        tree, slots = self._trees[at], self._arena.slots[at]
        for node in own:
            new = [child for child in tree.children[node] if child >= known and tree.score[child] is None]
            self._unscored[slots[node]] = [slots[child] for child in new]

    def _adopt_in(
        self,
        at: int,
        own: Mapping[int, Sequence[int]],
        known: int,
        fresh: _Fresh,
        turns: Sequence[list[tuple[int, int, bool]]],
    ) -> None:
        """See `Walks.adopt_new`, for all nodes of a tree that grew; numbers of new nodes' children wait in `fresh`."""
        tree, slots, walks, merge = self._trees[at], self._arena.slots[at], self._walks[at], self._search.merge
        children_of, states = tree.children, tree.states
        for turn, (node, children) in zip(turns, own.items()):
            if children is children_of[node] and children and children[0] >= known:
                slot, first, count = slots[node], children[0], len(children)
                new = states[first : first + count]
                live = walks.enterable(tree, children, new, merge=merge)
                fresh.nodes.append(slot)
                fresh.firsts.append(slots[first])
                fresh.counts.append(count)
                fresh.log_probs += [state.steps[-1].log_prob for state in new]
                if len(live) < count:
                    fresh.odd[slot] = [slots[child] for child in live]
                turn.append((at, node, bool(live)))
            elif known_already(tree, node, known):
                turn.append((at, node, False))
            else:
                turn.append((at, node, self._adopt_more(at, node, children)))

    def _adopt_more(self, at: int, node: int, children: Sequence[int]) -> bool:
        """See `Walks.adopt` and `set_priors`."""
        arena, tree, slots, walks = self._arena, self._trees[at], self._arena.slots[at], self._walks[at]
        slot = slots[node]
        before = [int(arena.local[kid]) for kid in arena.kids[slot] if kid > NOBODY]
        live = walks.enterable_more(
            tree, node, children, before, lambda child: bool(arena.visits[slots[child]]), merge=self._search.merge
        )
        arena.set_kids(slot, [slots[child] for child in live])
        own = tree.children[node]
        if own:
            log_probs = [tree.states[child].steps[-1].log_prob for child in own]
            mine = [slots[child] for child in own]
            priors = np.array(priors_of(log_probs, own, children, self._search.prior_temperature))
            arena.prior[mine] = priors
            arena.pull[mine] = priors / (1 + arena.visits[mine])
        return len(live) > len(before)

    def _add_noise(self, at: int) -> None:
        """See `stepgym.agents.search.root.add_dirichlet`."""
        arena, tree, slots = self._arena, self._trees[at], self._arena.slots[at]
        children = [slots[child] for child in tree.children[ROOT]]
        noisy = dirichlet(self._search, tree.problem_id, arena.prior[children].tolist())
        arena.prior[children] = noisy
        arena.pull[children] = arena.prior[children] / (1 + arena.visits[children])

    def _finish(self, which: Ints, paths: Ints, ends: Ints, leaves: Ints) -> None:
        """Carry values up paths, no two in one tree, and close what has nothing left to try."""
        arena, trees, value_of = self._arena, self._trees, self._search.value_of
        local = arena.local
        walks = list(zip(which.tolist(), local[ends].tolist(), local[leaves].tolist()))
        values = np.array([value_of(trees[at], end, leaf) for at, end, leaf in walks])
        total = arena.total[paths] + values[:, None]
        worth = total / arena.visits[paths]
        arena.total[paths] = total
        arena.worth[paths] = worth
        arena.value[paths] = worth
        arena.total[NOBODY] = 0.0
        arena.worth[NOBODY] = -inf
        bare = arena.kids[ends, 0] == NOBODY
        if not bare.any():
            return
        for row in np.flatnonzero(bare).tolist():
            (at, end, _), slot = walks[row], int(ends[row])
            if trees[at].status[end] is not OPEN:
                self._close(at, slot)
            elif trees[at].asked[end] and not arena.waiting[slot]:
                if arena.due[slot] == inf:
                    self._close(at, slot)
                else:
                    arena.due[slot] = 0.0

    def _close(self, at: int, slot: int) -> None:
        """See `stepgym.agents.search.puct.close`."""
        arena, status = self._arena, self._trees[at].status
        while True:
            node = int(arena.local[slot])
            if status[node] is OPEN:
                status[node] = PRUNED
            arena.due[slot] = 0.0
            parent = int(arena.parent[slot])
            if parent == NOBODY:
                return
            arena.drop_kid(parent, slot)
            if arena.kids[parent, 0] > NOBODY or arena.waiting[parent]:
                return
            if arena.due[parent] < inf:
                arena.due[parent] = 0.0
                return
            slot = parent

    def settle(self) -> None:
        """Write everything back into the trees and MCTS's notes."""
        arena = self._arena
        for at, (tree, walks) in enumerate(zip(self._trees, self._walks)):
            arena.store(at, tree, walks)
            walks.started = int(self._started[at])
            walks.paths, walks.leaf = {}, {}
            for place in range(int(self._count[at])):
                length = int(self._length[at, place])
                path = arena.local[self._paths[at, place, :length]].tolist()
                walks.paths[path[-1]] = path
                leaf = int(arena.local[self._leaf[at, place]])
                if leaf != path[-1]:
                    walks.leaf[path[-1]] = leaf


@dataclass(slots=True)
class _Fresh:
    """The first children of nodes that had none, all of one round."""

    nodes: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    """The first child's slot; a node's children lie side by side."""
    counts: list[int] = field(default_factory=list)
    log_probs: list[float | None] = field(default_factory=list)
    odd: dict[int, list[int]] = field(default_factory=dict)
    """Nodes some of whose children walks may not enter -> those they may."""

    def place(self, arena: Arena, temperature: float) -> None:
        """Set priors, and the children that walks may enter."""
        counts, firsts = np.array(self.counts), np.array(self.firsts)
        starts = np.cumsum(counts) - counts
        slots = np.arange(len(self.log_probs)) + np.repeat(firsts - starts, counts)
        arena.prior[slots] = arena.pull[slots] = self._priors(counts, starts, temperature)
        width = max(self.counts)
        arena.widen(width)
        kids = firsts[:, None] + np.arange(width)
        kids[np.arange(width) >= counts[:, None]] = NOBODY
        arena.kids[self.nodes, :width] = kids
        for node, live in self.odd.items():
            arena.set_kids(node, live)

    def _priors(self, counts: Ints, starts: Ints, temperature: float) -> Floats:
        """See `priors_of`. Exponentials and sums are Python's own, which numpy's need not equal to the last bit."""
        ends = (starts + counts).tolist()
        if None in self.log_probs:
            rows = [self.log_probs[start:end] for start, end in zip(starts.tolist(), ends)]
            drawn = [range(len(row)) for row in rows]
            return np.array([p for row, own in zip(rows, drawn) for p in priors_of(row, own, own, temperature)])
        log_probs = np.array(self.log_probs, float)
        top = np.repeat(np.maximum.reduceat(log_probs, starts), counts)
        weights = list(map(exp, ((log_probs - top) / temperature).tolist()))
        sums = [sum(weights[start:end]) for start, end in zip(starts.tolist(), ends)]
        return np.array(weights) * np.repeat(1.0 / np.array(sums), counts)

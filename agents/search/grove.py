"""MCTS on many trees at once: the walks of all trees go down, and come back up, together.

What is here does to many trees what `MCTS.select` and `MCTS.backup` do to one, number for number: every tree comes
out the same either way. The first walks of all trees are one step, then the second walks, and so on, because a walk
depends on those before it in its own tree alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import repeat
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from stepgym.agents.search.arena import NOBODY, Arena, Floats, Ints
from stepgym.agents.search.descent import follow, leave
from stepgym.agents.search.fresh import Fresh
from stepgym.agents.search.puct import known_already, priors_of, walks_of, weights_of
from stepgym.agents.search.root import RootNoise, dirichlet
from stepgym.agents.types import ROOT, NodeStatus, Request, SearchTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stepgym.agents.search.mcts import MCTS

new_request = partial(tuple.__new__, Request)
"""What `Request(node, n, None)` does, in half the time."""
_Turn = tuple[list[int], list[bool]]
OPEN, PRUNED = NodeStatus.OPEN, NodeStatus.PRUNED
"""Bound once: looking a member up costs seven times the comparison."""


class Grove:
    """Many trees that MCTS grows in lock-step. Between `Grove(...)` and `settle` the trees' visits, priors and values
    and MCTS's notes are in the arena; what the driver writes (states, children, statuses, scores) is in the trees."""

    def __init__(self, search: MCTS, trees: Sequence[SearchTree]) -> None:
        self._search, self._trees = search, trees
        self._walks = [walks_of(search, tree) for tree in trees]
        self._arena = Arena(search.width)
        self._unscored: dict[int, list[int]] = {}
        """Node that grew in this round -> its new children without a score."""
        size = len(trees)
        self._started: Ints = np.array([walks.started for walks in self._walks], np.intp)
        self._count: Ints = np.zeros(size, np.intp)
        """Tree -> walks in flight, which are in the first places of the following."""
        places = max([search.leaves, *(len(walks.paths) for walks in self._walks)])
        self._node: Ints = np.zeros((size, places), np.intp)
        self._leaf: Ints = np.zeros((size, places), np.intp)
        self._length: Ints = np.zeros((size, places), np.intp)
        self._paths: Ints = np.zeros((size, places, 8), np.intp)
        most = max((max(tree.visits) for tree in trees), default=0)
        weights = weights_of(
            search.exploration, search.exploration_base, 64 + search.simulations + most
        )
        self._weights: Floats = np.array(weights)
        self._allowed: Ints = np.array([search.allowed(n) for n in range(len(weights))])
        self._dues: Floats = np.array([search.due_at(0)])
        for at, (tree, walks) in enumerate(zip(trees, self._walks)):
            self._arena.load(tree, walks)
            slots = self._arena.slots[at]
            for node, path in walks.paths.items():
                row = np.array([[slots[on_path] for on_path in path]])
                leaf = slots[walks.leaf.get(node, node)]
                self._stand(
                    np.array([at]), row, np.array([len(path)]), row[:, -1], np.array([leaf])
                )
        self._roots: Ints = np.array([slots[ROOT] for slots in self._arena.slots], np.intp)

    def select(self, which: Sequence[int]) -> list[list[Request]]:
        """Return what `MCTS.select` asks for in each of these trees."""
        search, trees, count, arena = self._search, self._trees, self._count, self._arena
        going = [at for at in which if not search.is_done(trees[at])]
        active = np.array(going, np.intp)
        active = active[arena.is_open[self._roots[active]]]
        while active.size:
            active = active[
                (count[active] < search.leaves) & (self._started[active] < search.simulations)
            ]
            if active.size:
                active = self._launch(active)
        alive = set(going)
        trees_at = np.array(which, np.intp)
        slots = self._node[trees_at]
        wanted = self._wanted(slots, slots == self._leaf[trees_at])
        nodes, steps = arena.local[slots].tolist(), wanted.tolist()
        counts = [here if at in alive else 0 for at, here in zip(which, count[trees_at].tolist())]
        asked_for = np.arange(slots.shape[1]) < np.array(counts)[:, None]
        arena.asked[slots[asked_for]] += wanted[asked_for]
        return [
            list(map(new_request, zip(own[:here], n[:here], repeat(None))))
            for here, own, n in zip(counts, nodes, steps)
        ]

    def _wanted(self, slots: Ints, is_leaf: NDArray[np.bool_]) -> Ints:
        """See `MCTS.wanted`."""
        search, arena = self._search, self._arena
        asked = arena.asked[slots]
        missing = np.where(is_leaf, search.width, search.rollout_width or search.width) - asked
        return np.where(
            missing > 0, missing, np.maximum(1, self._allowed[arena.visits[slots]] - asked)
        )

    def _launch(self, which: Ints) -> Ints:
        """Start one walk in each of these trees; return those of them where another may start."""
        arena = self._arena
        roots = self._roots[which]
        arena.visits[roots] += 1
        paths = np.zeros((len(which), self._paths.shape[2]), np.intp)
        paths[:, 0] = roots
        paths, lengths, ends = follow(
            arena, self._weights, paths, np.ones(len(which), np.intp), roots
        )
        met = arena.waiting[ends]
        if np.count_nonzero(met):
            leave(arena, paths[met])
            on = ~met
            which, paths, lengths, ends = which[on], paths[on], lengths[on], ends[on]
        self._started[which] += 1
        on = arena.is_open[ends]
        if np.count_nonzero(on) == on.size:
            self._stand(which, paths, lengths, ends, ends)
            return which
        self._stand(which[on], paths[on], lengths[on], ends[on], ends[on])
        off = ~on
        self._finish(which[off], paths[off], ends[off], ends[off])
        return which[arena.is_open[self._roots[which]]]

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

    def backup(self, which: Sequence[int], grown: Sequence[Mapping[int, Sequence[int]]]) -> None:
        """Take in what grew in each of these trees."""
        turns = self._adopt(which, grown)
        arena = self._arena
        self._count[list(which)] = 0
        for place, (trees, has_more) in enumerate(turns):
            at = np.array(trees, np.intp)
            nodes, leaves, lengths = (
                self._node[at, place],
                self._leaf[at, place],
                self._length[at, place],
            )
            paths = self._paths[at, place, : lengths.max()]
            arena.waiting[nodes] = False
            arena.due[nodes] = np.where(has_more, self._due_at(arena.asked[nodes]), inf)
            if self._unscored:
                self._guess(nodes)
            if self._search.until_end:
                self._go_on(at, paths, lengths, nodes, leaves)
            else:
                self._finish(at, paths, nodes, leaves)

    def _due_at(self, asked: Ints) -> Floats:
        most = int(asked.max())
        if most >= len(self._dues):
            self._dues = np.array([self._search.due_at(n) for n in range(2 * most)])
        return self._dues[asked]

    def _guess(self, nodes: Ints) -> None:
        """Let new children without a score count what their parent is worth."""
        arena = self._arena
        for slot in nodes.tolist():
            if slot in self._unscored:
                n = arena.visits[slot]
                arena.worth[self._unscored.pop(slot)] = arena.total[slot] / n if n else 0.5

    def _go_on(self, which: Ints, paths: Ints, lengths: Ints, nodes: Ints, leaves: Ints) -> None:
        """Let the walks go on through the new children; those that stop at a node that can grow wait there."""
        arena = self._arena
        grew = arena.kids[nodes, 0] > NOBODY
        paths, lengths, ends = follow(arena, self._weights, paths, lengths, nodes, grown=True)
        on = grew & arena.is_open[ends] & ~arena.waiting[ends]
        num_on = np.count_nonzero(on)
        if num_on:
            self._stand(which[on], paths[on], lengths[on], ends[on], leaves[on])
        if num_on < on.size:
            off = ~on
            self._finish(which[off], paths[off], ends[off], leaves[off])

    def _adopt(
        self, which: Sequence[int], grown: Sequence[Mapping[int, Sequence[int]]]
    ) -> list[_Turn]:
        """Give the new nodes their slots, first numbers and places among the children that walks may enter.

        Return, for each place of the walks in flight, the trees that have one there, and whether its node got a
        child that may be entered.
        """
        arena, trees = self._arena, self._trees
        known = [len(arena.slots[at]) for at in which]
        base = arena.add(trees, which, known)
        log_probs = [
            state.steps[-1].log_prob
            for at, size in zip(which, known)
            for state in trees[at].states[size:]
        ]
        fresh = Fresh(base, log_probs)
        turns: list[_Turn] = [([], []) for _ in range(max(map(len, grown), default=0))]
        self._unscored = {}
        is_unscored = bool(np.isnan(arena.worth[base : arena.size]).any())
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
            new = [
                child
                for child in tree.children[node]
                if child >= known and tree.score[child] is None
            ]
            self._unscored[slots[node]] = [slots[child] for child in new]

    def _adopt_in(
        self,
        at: int,
        own: Mapping[int, Sequence[int]],
        known: int,
        fresh: Fresh,
        turns: Sequence[_Turn],
    ) -> None:
        """See `Walks.adopt_new`, for all nodes of a tree that grew; numbers of new nodes' children wait in `fresh`."""
        tree, slots, walks, merge = (
            self._trees[at],
            self._arena.slots[at],
            self._walks[at],
            self._search.merge,
        )
        children_of, states, enterable = tree.children, tree.states, walks.enterable
        nodes, firsts, counts = fresh.nodes, fresh.firsts, fresh.counts
        for (trees, has_more), (node, children) in zip(turns, own.items()):
            trees.append(at)
            if children is children_of[node] and children and children[0] >= known:
                first, count = children[0], len(children)
                nodes.append(slots[node])
                firsts.append(slots[first])
                counts.append(count)
                live = enterable(tree, children, states[first : first + count], merge=merge)
                if len(live) < count:
                    self._bar(at, node, children, live, fresh)
                has_more.append(bool(live))
            else:
                is_known = known_already(tree, node, known)
                has_more.append(not is_known and self._adopt_more(at, node, children))

    def _bar(
        self, at: int, node: int, children: Sequence[int], live: Sequence[int], fresh: Fresh
    ) -> None:
        """Keep walks away from some of a node's first children."""
        arena, slots = self._arena, self._arena.slots[at]
        fresh.odd[slots[node]] = [slots[child] for child in live]
        arena.is_open[[slots[child] for child in children if child not in live]] = False

    def _adopt_more(self, at: int, node: int, children: Sequence[int]) -> bool:
        """See `Walks.adopt` and `set_priors`."""
        arena, tree, slots, walks = (
            self._arena,
            self._trees[at],
            self._arena.slots[at],
            self._walks[at],
        )
        slot = slots[node]
        before = [int(arena.local[kid]) for kid in arena.kids[slot] if kid > NOBODY]
        live = walks.enterable_more(
            tree,
            node,
            children,
            before,
            lambda child: bool(arena.visits[slots[child]]),
            merge=self._search.merge,
        )
        arena.set_kids(slot, [slots[child] for child in live])
        own = tree.children[node]
        arena.is_open[slot] = tree.status[node] is OPEN
        if own:
            log_probs = [tree.states[child].steps[-1].log_prob for child in own]
            mine = [slots[child] for child in own]
            arena.is_open[mine] = [tree.status[child] is OPEN for child in own]
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
        arena, trees = self._arena, self._trees
        values = arena.score[ends]
        is_plain = arena.is_open[ends]
        if self._search.outcome_weight < 1.0:
            is_plain[:] = False
        for row in np.flatnonzero(~is_plain).tolist():
            at, end, leaf = which[row], int(arena.local[ends[row]]), int(arena.local[leaves[row]])
            values[row] = self._search.value_of(trees[at], end, leaf)
        total = arena.total[paths] + values[:, None]
        worth = total / arena.visits[paths]
        arena.total[paths] = total
        arena.worth[paths] = worth
        arena.value[paths] = worth
        arena.total[NOBODY] = 0.0
        arena.worth[NOBODY] = -inf
        bare = arena.kids[ends, 0] == NOBODY
        for slot in ends[bare].tolist():
            if not arena.is_open[slot]:
                self._close(slot)
            elif arena.asked[slot] and not arena.waiting[slot]:
                if arena.due[slot] == inf:
                    self._close(slot)
                else:
                    arena.due[slot] = 0.0

    def _close(self, slot: int) -> None:
        """See `stepgym.agents.search.puct.close`."""
        arena = self._arena
        status = self._trees[arena.tree[slot]].status
        while True:
            node = int(arena.local[slot])
            if status[node] is OPEN:
                status[node] = PRUNED
                arena.is_open[slot] = False
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

"""The numbers of many trees' nodes side by side, so that one numpy call serves all trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from stepgym.agents.search.puct import NOTHING, Walks
from stepgym.agents.types import NO_PARENT, NodeStatus, SearchTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Ints: TypeAlias = "NDArray[np.intp]"
OPEN = NodeStatus.OPEN
NOBODY = 0
"""The slot that stands where a row of children or a path is shorter than others: never chosen, no number to keep."""
COLUMNS = (
    *("tree", "local", "parent", "visits", "asked", "waiting", "is_open"),
    *("total", "worth", "pull", "prior", "value", "score", "due", "kids"),
)


class Arena:
    """Columns over slots. A node keeps its slot; slots are given out in the order of growth, whatever the tree."""

    def __init__(self, width: int) -> None:
        self.size = 1
        self.slots: list[list[int]] = []
        """Tree -> node -> slot."""
        room = 1024
        self.tree: Ints = np.zeros(room, np.intp)
        self.local: Ints = np.zeros(room, np.intp)
        """The node's index in its own tree."""
        self.parent: Ints = np.zeros(room, np.intp)
        self.visits: Ints = np.zeros(room, np.intp)
        self.asked: Ints = np.zeros(room, np.intp)
        self.is_open: NDArray[np.bool_] = np.zeros(room, np.bool_)
        self.waiting: NDArray[np.bool_] = np.zeros(room, np.bool_)
        """A walk stands here until the node has grown."""
        self.total: Floats = np.zeros(room)
        self.worth: Floats = np.zeros(room)
        self.pull: Floats = np.zeros(room)
        self.prior: Floats = np.ones(room)
        self.value: Floats = np.zeros(room)
        self.score: Floats = np.zeros(room)
        """1/2 where there is none."""
        self.due: Floats = np.zeros(room)
        self.kids: Ints = np.zeros((room, width), np.intp)
        """Children that walks may still enter, in order, then `NOBODY`."""
        self.visits[NOBODY] = 1
        self.worth[NOBODY] = -np.inf

    def claim(self, count: int) -> int:
        """Make room for `count` new slots and return the first."""
        first, self.size = self.size, self.size + count
        room = len(self.tree)
        if self.size > room:
            for name in COLUMNS:
                column: NDArray[Any] = getattr(self, name)
                bigger = np.zeros((max(2 * room, self.size), *column.shape[1:]), column.dtype)
                bigger[:room] = column
                setattr(self, name, bigger)
        return first

    def widen(self, width: int) -> None:
        """Make room for `width` children a node."""
        missing = width - self.kids.shape[1]
        if missing > 0:
            self.kids = np.pad(self.kids, ((0, 0), (0, max(missing, self.kids.shape[1]))))

    def add(self, trees: Sequence[SearchTree], which: Sequence[int], known: Sequence[int]) -> int:
        """Give slots to what grew in some trees, each from its first new node on, tree after tree; return the first.

        Their numbers are those of a node that nobody has visited, without a prior; `worth` is NaN without a score.
        """
        counts = [len(trees[at].states) - size for at, size in zip(which, known)]
        base = first = self.claim(sum(counts))
        parents: list[int] = []
        is_open: list[bool] = []
        scores: list[float | None] = []
        for at, size, count in zip(which, known, counts):
            tree, slots = trees[at], self.slots[at]
            slots += range(first, first + count)
            first += count
            parents += [slots[node] for node in tree.parent[size:]]
            is_open += [status is OPEN for status in tree.status[size:]]
            scores += tree.score[size:]
        new = slice(base, first)
        self.tree[new] = np.repeat(np.array(which, np.intp), counts)
        ahead = np.cumsum(counts) - counts - known
        self.local[new] = np.arange(first - base) - np.repeat(ahead, counts)
        self.parent[new], self.is_open[new] = parents, is_open
        self._set_scores(new, scores)
        return base

    def _set_scores(self, new: slice, scores: Sequence[float | None]) -> None:
        given = np.array(scores, float)
        self.worth[new] = given
        self.score[new] = np.where(np.isnan(given), 0.5, given)

    def load(self, tree: SearchTree, walks: Walks) -> None:
        """Take in a tree as it is."""
        size = len(tree)
        first = self.claim(size)
        mine = slice(first, first + size)
        at = len(self.slots)
        self.slots.append(list(range(first, first + size)))
        self.tree[mine] = at
        self.local[mine] = np.arange(size)
        self.parent[mine] = [NOBODY if node == NO_PARENT else first + node for node in tree.parent]
        self.visits[mine], self.prior[mine], self.value[mine] = tree.visits, tree.prior, tree.value
        self.asked[mine], self.is_open[mine] = (
            tree.asked,
            [status is OPEN for status in tree.status],
        )
        self._set_scores(mine, tree.score)
        self.total[mine], self.worth[mine] = walks.total, walks.worth
        self.pull[mine], self.due[mine] = walks.pull, walks.due_at
        for node, live in enumerate(walks.live):
            if live:
                self.set_kids(first + node, [first + child for child in live])

    def set_kids(self, slot: int, kids: Sequence[int]) -> None:
        """Set the children that walks may enter."""
        self.widen(len(kids))
        row = self.kids[slot]
        row[: len(kids)] = kids
        row[len(kids) :] = NOBODY

    def drop_kid(self, slot: int, kid: int) -> None:
        """Take one child out of those that walks may enter, where it is among them."""
        row = self.kids[slot].tolist()
        if kid in row:
            row.remove(kid)
            self.kids[slot] = [*row, NOBODY]

    def store(self, at: int, tree: SearchTree, walks: Walks) -> None:
        """Write a tree's numbers back into its own lists and into MCTS's notes."""
        mine = np.array(self.slots[at])
        size = len(
            mine
        )  # a round that was broken off may have left nodes of which the arena knows nothing
        tree.visits[:size] = self.visits[mine].tolist()
        tree.prior[:size], tree.value[:size] = self.prior[mine].tolist(), self.value[mine].tolist()
        walks.total, walks.worth = self.total[mine].tolist(), self.worth[mine].tolist()
        walks.pull, walks.due_at = self.pull[mine].tolist(), self.due[mine].tolist()
        walks.live = [NOTHING] * len(mine)
        kids = self.kids[mine]
        parents = np.flatnonzero(kids[:, 0])
        kids = kids[parents]
        for node, own, count in zip(
            parents.tolist(), self.local[kids].tolist(), (kids > NOBODY).sum(1).tolist()
        ):
            walks.live[node] = own[:count]

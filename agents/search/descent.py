"""Walks down many trees at once: what `stepgym.agents.search.puct` does to one, on the columns of an `Arena`."""

from __future__ import annotations

import numpy as np

from stepgym.agents.search.arena import NOBODY, Arena, Floats, Ints


def leave(arena: Arena, paths: Ints) -> None:
    """Take back the visits of walks in flight along paths that end where another walk waits, so that every node keeps a visit."""
    slots = paths[paths > NOBODY]
    n = arena.visits[slots] - 1
    arena.visits[slots] = n
    arena.worth[slots] = arena.total[slots] / n
    arena.pull[slots] = arena.prior[slots] / (1 + n)


def follow(
    arena: Arena, weights: Floats, paths: Ints, lengths: Ints, nodes: Ints, *, grown: bool = False
) -> tuple[Ints, Ints, Ints]:
    """Extend all paths from `nodes`, no two in one tree; return them, their lengths and their ends.

    See `stepgym.agents.search.puct.follow`, which does it for one.
    """
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

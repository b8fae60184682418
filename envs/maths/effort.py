"""A limit on the work that one pair may cost the calling process, counted in steps of about a microsecond.

Steps and not seconds, so that a verdict is the same on every machine. A pair that runs out of steps is decided in a
worker process, where the limit is CPU time. Loops that repeat work (terms of a sum, points, pairs of items, balls of
many bits) spend steps; reading a text and walking its tree are linear in its length and are not counted.
"""

from __future__ import annotations

import threading
from typing import Any

from stepgym.envs.maths.tree import Node

STEPS = 60_000
"""What a pair may cost the calling process."""
MAX_NODES = 20_000
"""The largest tree that a rewriting (a product of matrices, a derivative) may build."""
_UNLIMITED = 1 << 62


class TooMuchWork(Exception):
    """The steps of this pair are used up."""


class _Account(threading.local):
    left = _UNLIMITED


_account = _Account()


class limited_to:
    """Allow `steps` in a `with` block, in this thread; `None` is no limit."""

    __slots__ = ("before", "steps")

    def __init__(self, steps: int | None) -> None:
        self.steps = _UNLIMITED if steps is None else steps

    def __enter__(self) -> None:
        self.before = _account.left
        _account.left = self.steps

    def __exit__(self, *_: object) -> None:
        _account.left = self.before


def spend(steps: int) -> None:
    """Take steps off the account; raises `TooMuchWork` if it is empty."""
    _account.left -= steps
    if _account.left < 0:
        raise TooMuchWork


def num_nodes(node: Node, most: int = MAX_NODES) -> int:
    """Nodes of a tree, each counted as often as it occurs; raises `TooMuchWork` above `most`."""
    count, stack = 0, [node]
    while stack:
        top: Any = stack.pop()
        if type(top) is tuple:
            count += 1
            if count > most:
                raise TooMuchWork
            stack.extend(top)
    return count

"""How many processors this process may keep busy. Processes that share a machine are each told their part of it."""

from __future__ import annotations

import os

_share: list[int] = []


def num_processors() -> int:
    """Return how many processors this process may keep busy, at least 1; of a worker process, its part."""
    return _share[0] if _share else len(os.sched_getaffinity(0))


def use_processors(count: int) -> None:
    """Keep at most so many processors busy from now on, because other processes work beside this one."""
    _share[:] = [max(1, count)]

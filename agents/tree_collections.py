"""Fewer full garbage collections while search trees grow.

A full collection of Python's cyclic garbage visits every node of every tree, and a growing tree has no garbage. With 256
trees and a scripted policy, full collections took a sixth of the CPU time. Collections of young objects do not change.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

RARER = 10
"""How many times rarer full collections are. They are not switched off, because policies may make cyclic garbage."""


class _Thresholds:
    """The collector's thresholds before the outermost search of this process started, and during searches."""

    lock = threading.Lock()
    num_searches = 0
    before = during = gc.get_threshold()


@contextmanager
def rare_full_collections() -> Iterator[None]:
    """Make full collections rarer within the context, also if several threads enter it.

    The last search that ends restores the thresholds, unless the caller has changed them meanwhile.
    """
    state = _Thresholds
    with state.lock:
        if state.num_searches == 0:
            young, middle, full = state.before = gc.get_threshold()
            state.during = (young, middle, full * RARER)
            gc.set_threshold(*state.during)
        state.num_searches += 1
    try:
        yield
    finally:
        with state.lock:
            state.num_searches -= 1
            if state.num_searches == 0 and gc.get_threshold() == state.during:
                gc.set_threshold(*state.before)

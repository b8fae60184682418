"""Prepare this process's memory before it is forked, so that a fork writes to few of the pages it shares.

Each page that a fork writes is copied first, which takes most of a small program's time. A fork that takes its memory
from gaps between older objects writes all over the place; without gaps it takes fresh memory in one piece.
"""

from __future__ import annotations

import ctypes
import gc
import itertools

from stepgym.sandbox.runner.confine import LIBC

POOL_BYTES, POOL_HEADER_BYTES = 1 << 14, 48
"""Python's allocator serves objects of one size from pools of this size."""
SMALL_BYTES = range(32, 513, 16)
"""Sizes of Python objects that pools serve; the smallest have other uses than the blocks here."""
LARGE_BYTES = [1 << i for i in range(16, 8, -1)]
"""Sizes of blocks that fill gaps of C's allocator, the largest gaps first."""
MAX_BLOCKS = 20_000
_KEPT: list[object] = []


class _Usage(ctypes.Structure):
    """What glibc's `mallinfo2` returns."""

    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split()]
    _fields_ += [(name, ctypes.c_size_t) for name in "usmblks fsmblks uordblks fordblks".split()]
    _fields_ += [("keepcost", ctypes.c_size_t)]


def settle() -> None:
    """Collect garbage, fill gaps, and leave what there is now out of future collections."""
    gc.collect()
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)  # a child gets fresh pages faster than copies of free ones
    _fill_pools()
    _fill_heap()
    gc.freeze()


def _fill_pools() -> None:
    """Fill the gaps in pools: allocate blocks of each size until one is the first of its pool."""
    empty = bytes.__basicsize__
    for size in SMALL_BYTES:
        for number in range(MAX_BLOCKS):
            block: object = bytes(size - empty) if size > empty else 0.5 + number
            _KEPT.append(block)
            if id(block) % POOL_BYTES == POOL_HEADER_BYTES:
                break


def _fill_heap() -> None:
    """Fill the gaps of C's heap: allocate blocks until one comes from its end."""
    if not hasattr(LIBC, "mallinfo2"):
        return
    usage, malloc, free, sbrk = LIBC.mallinfo2, LIBC.malloc, LIBC.free, LIBC.sbrk
    usage.restype, malloc.restype, sbrk.restype = _Usage, ctypes.c_void_p, ctypes.c_void_p
    malloc.argtypes, free.argtypes, sbrk.argtypes = (
        [ctypes.c_size_t],
        [ctypes.c_void_p],
        [ctypes.c_ssize_t],
    )
    end = (sbrk(0) or 0) - usage().keepcost
    for size in itertools.chain(LARGE_BYTES, range(496, 24, -16)):
        for _ in range(MAX_BLOCKS):
            block = malloc(size)
            if block is None or block >= end:
                free(block)
                break

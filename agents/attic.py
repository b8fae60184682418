"""Spares Python's cyclic garbage collector from walking over all nodes of growing trees again and again.

A tree only grows while it is searched, so that looking for garbage in it finds none; with 256 trees under way it was
a quarter of the search's own time.
"""

from __future__ import annotations

import gc
import threading
from types import TracebackType
from typing import Self

NODES = 8192
"""New nodes after which all that has lived so long is put away."""


class Attic:
    """Within `with`, objects that outlive a few rounds are put where the collector does not look (`gc.freeze`); they
    come back at the end of the outermost one. Garbage of the young generations is still collected throughout.

    It leaves alone a process that has switched the collector off or has frozen objects of its own.
    """

    _lock = threading.Lock()
    _open = 0
    _is_ours = False

    def __init__(self) -> None:
        self._left = NODES

    def __enter__(self) -> Self:
        with Attic._lock:
            if Attic._open == 0:
                Attic._is_ours = gc.isenabled() and gc.get_freeze_count() == 0
            Attic._open += 1
        return self

    def put(self, nodes: int) -> None:
        """Note that so many nodes are new."""
        self._left -= nodes
        if self._left <= 0 and Attic._is_ours:
            self._left = NODES
            gc.collect(1)  # so that no garbage is kept
            gc.freeze()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        with Attic._lock:
            Attic._open -= 1
            if Attic._open == 0 and Attic._is_ours:
                gc.unfreeze()

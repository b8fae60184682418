"""Independent trainings in parallel: one process each, one thread per process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_jobs(function: Callable[[Item], Result], items: Sequence[Item], jobs: int) -> list[Result]:
    """Return the results in order; with more than one job, function and items must be picklable.

    Ctrl-C, an error in one job, or the end of this process ends the other jobs at once.
    """
    if min(jobs, len(items)) <= 1:
        return [function(item) for item in items]
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(
        min(jobs, len(items)), multiprocessing.get_context("spawn"), initializer=_begin
    )
    try:
        return list(pool.map(function, items))
    except BaseException:  # Ctrl-C above all; re-raised once the other jobs are ended
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Limit torch to one thread and leave Ctrl-C to the parent process; end if the parent ends."""
    import torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)

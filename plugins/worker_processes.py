"""Worker processes on this machine: started afresh (never forked), with one thread for arithmetic, ended with their parent.

Not covered: a parent that is killed on another system than Linux leaves its workers.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from stepgym.plugins.errors import UserError

Part = TypeVar("Part")
Result = TypeVar("Result")

AHEAD = 2
"""Parts per worker that are sent ahead, so that no worker waits for the next."""


def num_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def start_workers(count: int) -> ProcessPoolExecutor:
    """Return a pool of worker processes; end it with `kill_workers`."""
    return ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(list(sys.path), os.getpid()),
    )


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes at once, whatever they do."""
    processes = list((pool._processes or {}).values())  # no public way before Python 3.14
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def map_in_order(
    function: Callable[[Part], Result], parts: Iterable[Part], *, num_workers: int | None
) -> Iterator[Result]:
    """Yield the function's results in the order of the parts; `None` workers calls it in this process.

    The function is a module's own, and parts and results can be pickled. What it raises is raised here. Raises
    `UserError` if a worker dies.
    """
    if num_workers is None:
        yield from map(function, parts)
        return
    pool, stream = start_workers(num_workers), iter(parts)
    try:
        ahead = islice(stream, AHEAD * num_workers)
        running: deque[Future[Result]] = deque(pool.submit(function, part) for part in ahead)
        while running:
            result = running.popleft().result()
            running.extend(pool.submit(function, part) for part in islice(stream, 1))
            yield result
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died (killed, or out of memory); run the command again with fewer --workers"
        ) from error
    finally:
        kill_workers(pool)


def _start_worker(path: Sequence[str], parent: int) -> None:
    """Prepare a worker: Ctrl-C is its parent's business, and it does not outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = path
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

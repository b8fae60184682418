"""Worker processes on this machine: one thread for arithmetic each, ended with their parent.

Workers are forked from a server process that has imported the heavy modules once, so that each starts in milliseconds; the
calling process itself, which may have threads and a GPU, is never forked.

Not covered: a worker in a long call of C code that holds Python's global lock ends only after that call, if its parent is
killed.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from multiprocessing import forkserver
from typing import Any, TypeVar

from stepgym.plugins.errors import UserError
from stepgym.plugins.processors import num_processors, use_processors

Part = TypeVar("Part")
Result = TypeVar("Result")

TOGETHER = 4
"""Parts that are sent to a worker in one call, which costs this process a third of a millisecond."""
AHEAD = 2
"""Calls per worker that are sent ahead, so that no worker waits for the next."""
CHECK_S = 2.0
"""Seconds without a result after which it is checked that all workers live."""
PRELOADED = "stepgym."
"""Only modules of this package are imported before workers are forked: they start no threads when they are imported."""
ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def start_workers(count: int, modules: Iterable[str] = ()) -> ProcessPoolExecutor:
    """Return a pool of worker processes; end it with `kill_workers`.

    Each worker has this process's working folder, `sys.path` and environment of now. `modules` are those that the first
    pool of this process should import only once, for all workers.
    """
    _start_server(modules)
    return ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=_start_worker,
        initargs=(list(sys.path), dict(os.environ), num_processors() // count),
    )


def _start_server(modules: Iterable[str]) -> None:
    """Start the process that forks workers, unless it runs already."""
    ours = [module for module in (__name__, *modules) if module.startswith(PRELOADED)]
    multiprocessing.get_context("forkserver").set_forkserver_preload(ours)
    path = os.pathsep.join(place or os.getcwd() for place in sys.path)
    with _environment({"PYTHONPATH": path, **ONE_THREAD}):
        forkserver.ensure_running()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that is started inside."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def submit(
    pool: ProcessPoolExecutor, function: Callable[..., Result], *arguments: Any
) -> Future[Result]:
    """Give a pool a call. Raises `BrokenProcessPool` also if the process that forks the workers has died."""
    try:
        return pool.submit(function, *arguments)
    except (OSError, EOFError) as error:
        raise BrokenProcessPool(f"no worker can be started: {error}") from error


def kill_workers(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes at once, whatever they do."""
    processes = list((pool._processes or {}).values())  # no public way before Python 3.14
    results: Any = pool._result_queue
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
    # A worker that was killed while it wrote a result leaves the pool's thread waiting for the rest of it.
    with suppress(OSError):
        results._writer.close()


def first_done(pool: ProcessPoolExecutor, calls: Collection[Future[Result]]) -> set[Future[Result]]:
    """Wait until one of the calls is done or more; return those that are. Raises `BrokenProcessPool` for a dead worker.

    The pool itself waits for ever for the rest of a result if its worker was killed while it wrote it.
    """
    while True:
        done, _ = wait(calls, timeout=CHECK_S, return_when=FIRST_COMPLETED)
        if done:
            return done
        if not all(process.is_alive() for process in list((pool._processes or {}).values())):
            raise BrokenProcessPool("a worker process died")


def map_in_order(
    function: Callable[[Part], Result], parts: Iterable[Part], *, num_workers: int | None = None
) -> Iterator[Result]:
    """Yield the function's results in the order of the parts; `None` workers calls it in this process.

    The function is a module's own, and parts and results can be pickled. What it raises is raised here. Raises
    `UserError` if a worker dies.
    """
    if num_workers is None:
        yield from map(function, parts)
        return
    pool, stream = start_workers(num_workers, [function.__module__]), iter(parts)
    calls = iter(lambda: list(islice(stream, TOGETHER)), [])
    try:
        ahead = islice(calls, AHEAD * num_workers)
        running = deque(submit(pool, _call, function, some) for some in ahead)
        while running:
            first_done(pool, [running[0]])
            results, error = running.popleft().result()
            running.extend(submit(pool, _call, function, some) for some in islice(calls, 1))
            yield from results
            if error is not None:
                raise error
    except BrokenProcessPool as error:
        raise UserError(
            "a worker process died (killed, or out of memory); run the command again with fewer --workers"
        ) from error
    finally:
        kill_workers(pool)


def _call(
    function: Callable[[Part], Result], parts: Sequence[Part]
) -> tuple[list[Result], Exception | None]:
    """Return the function's results, up to the first part at which it raises, and what it raises there."""
    results: list[Result] = []
    try:
        for part in parts:
            results.append(function(part))
    except Exception as error:  # noqa: BLE001 - raised in the process that asked
        error.add_note(traceback.format_exc())
        return results, error
    return results, None


def _start_worker(path: Sequence[str], environment: Mapping[str, str], share: int) -> None:
    """Prepare a worker: Ctrl-C is its parent's business, and it does not outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.path[:] = path
    os.environ.clear()
    os.environ.update({**ONE_THREAD, **environment})
    use_processors(share)
    gc.freeze()  # what the server imported is here for good; no collection need look at it


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGKILL)

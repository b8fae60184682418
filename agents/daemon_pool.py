"""A pool of daemon threads, for work that waits for servers.

The interpreter and a run that is stopped do not wait for these threads; those of `ThreadPoolExecutor` keep both until
their last request has been answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonPool:
    """Runs functions in at most `num_threads` threads, in the order they were submitted."""

    def __init__(self, num_threads: int) -> None:
        self._num_threads = num_threads
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._num_started = self._num_unfinished = 0

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Run `function(*arguments)` in a thread; a thread is started only if no other is free."""
        future: Future[T] = Future()
        with self._lock:
            self._num_unfinished += 1
            if self._num_started < min(self._num_unfinished, self._num_threads):
                self._num_started += 1
                threading.Thread(target=self._work, daemon=True).start()
        self._jobs.put((future, lambda: function(*arguments)))
        return future

    def close(self) -> None:
        """End each thread after its current job; jobs that wait are not run."""
        for _ in range(self._num_threads):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the result
                    future.set_exception(error)
            del job, future, call  # an idle thread keeps no result alive
            with self._lock:
                self._num_unfinished -= 1

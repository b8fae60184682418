"""Sandboxes of warm workers: every backend whose programs run in runners shares this."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import Any, Generic, Self, TypeVar

from stepgym.plugins.processors import num_processors
from stepgym.sandbox.languages import check_language
from stepgym.sandbox.packages import find as find_packages
from stepgym.sandbox.runner_client import RunnerClient, RunnerLost
from stepgym.sandbox.sessions import PooledSession, SessionPool
from stepgym.sandbox.types import ExecutionResult, Limits, Pair, PairResult, Program, SandboxError
from stepgym.sandbox.worker import CLOSED, Worker

Task = TypeVar("Task")
Result = TypeVar("Result")
RUNNER_SETTINGS = {
    "LD_BIND_NOW": "1",
    "MALLOC_ARENA_MAX": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}
"""The environment of every runner.

C functions are found once, not in each fork; one memory arena (threads reserve no address space); one thread for BLAS.
"""
MAX_STARTS = 8
CLOSE_S = 10.0
"""How long `close` waits for workers that run a program or start a runner."""


class PooledSandbox:
    """A sandbox of warm workers. A backend says how a runner of some kind is opened.

    Any thread may call `run`; programs of all callers share the workers. After a fork the child process opens its own
    runners and leaves the parent's alone; a sandbox that was closed before the fork stays closed. A pickled sandbox
    is loaded as a new one with the same options.
    """

    def __init__(
        self,
        *,
        workers: int | None,
        max_programs: int,
        packages: Sequence[str] | None,
        max_sessions: int,
        options: dict[str, Any],
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.workers = workers or num_processors()
        self.max_programs = max_programs
        self.packages = find_packages(packages)
        self.options = {"workers": workers, "max_programs": max_programs, "packages": packages}
        self.options |= {"max_sessions": max_sessions, **options}
        self.closed = False
        self.sessions = SessionPool(
            lambda: self.start_runner("session", sorted(self.packages.modules & {"numpy"})),
            num_runners=self.workers,
            max_live=max_sessions,
        )
        self._make_workers()
        _OPEN.add(self)

    def open_runner(self, kind: str, preload: Sequence[str] = ()) -> RunnerClient:
        """Start a runner for `kind` "python", "tester", "tools" or "session" that has loaded the modules `preload`.

        Raises `RunnerLost` when this runner was ended before it was ready, `SandboxError` when none can start.
        """
        raise NotImplementedError

    def start_runner(self, kind: str, preload: Sequence[str] = ()) -> RunnerClient:
        """Open a runner as `open_runner` does. One that was ended while it started is no program's fault: open another.

        Raises `SandboxError` after `MAX_STARTS` of these.
        """
        lost = ""
        for _ in range(MAX_STARTS):
            try:
                return self.open_runner(kind, preload)
            except RunnerLost as error:
                lost = str(error)
        raise SandboxError(f"{MAX_STARTS} sandboxes in a row were ended while they started: {lost}")

    def run(self, programs: Sequence[Program]) -> list[ExecutionResult]:
        """See `Sandbox.run`."""
        for program in programs:
            check_language(program.language)
        return self._map(Worker.run, programs)

    def run_pairs(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """See `Sandbox.run_pairs`."""
        return self._map(Worker.run_pair, pairs)

    def open_session(
        self, *, files: Mapping[str, bytes] = MappingProxyType({}), limits: Limits | None = None
    ) -> PooledSession:
        """See `Sandbox.open_session`."""
        if self.closed:
            raise SandboxError(CLOSED)
        return PooledSession(self.sessions, dict(files), limits or Limits())

    def close(self) -> None:
        """See `Sandbox.close`. Programs of other threads are ended; their `run` raises `SandboxError`."""
        self.closed = True
        self.sessions.close()
        for worker in self.all_workers:
            worker.stop()
        # A runner is closed only after the thread that used it has returned its worker.
        returned: list[Worker] = []
        give_up = time.monotonic() + CLOSE_S
        with contextlib.suppress(queue.Empty):
            while len(returned) < len(self.all_workers):
                returned.append(self.idle.get(timeout=max(0.0, give_up - time.monotonic())))
        for worker in self.all_workers:
            worker.drop()
        for worker in returned:
            self.idle.put(worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self.options)

    def after_fork(self) -> None:
        """In a forked child: leave the parent's runners alone. No other thread runs yet, so no lock is needed."""
        for worker in self.all_workers:
            worker.forget()
        self.sessions.forget()
        self._make_workers()

    def _make_workers(self) -> None:
        self.all_workers = [
            Worker(self.start_runner, self.max_programs, self.packages.modules)
            for _ in range(self.workers)
        ]
        self.idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self.all_workers):
            self.idle.put(worker)

    def _map(self, call: Callable[[Worker, Task], Result], tasks: Sequence[Task]) -> list[Result]:
        if self.closed:
            raise SandboxError(CLOSED)
        batch = _Batch(tasks, self.idle, call)
        helpers = _started(batch.work, min(self.workers, len(tasks)) - 1)
        try:
            batch.work()
            for helper in helpers:
                helper.join()
        except BaseException:
            batch.stopped = True
            raise
        if batch.error is not None:
            if isinstance(batch.error, SandboxError):
                batch.error.finished = tuple(batch.found)
            raise batch.error
        return batch.results()


_OPEN: weakref.WeakSet[PooledSandbox] = weakref.WeakSet()


def _after_fork() -> None:
    for sandbox in list(_OPEN):
        sandbox.after_fork()


os.register_at_fork(after_in_child=_after_fork)


def _reopen(kind: type[PooledSandbox], options: dict[str, Any]) -> PooledSandbox:
    return kind(**options)


def _started(work: Callable[[], None], count: int) -> list[threading.Thread]:
    """Start up to `count` threads; fewer when this process may have no more."""
    threads = []
    for _ in range(count):
        thread = threading.Thread(target=work, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            break
        threads.append(thread)
    return threads


class _Batch(Generic[Task, Result]):
    """One call's tasks, taken one by one by as many threads as there are workers."""

    def __init__(
        self,
        tasks: Sequence[Task],
        idle: queue.LifoQueue[Worker],
        call: Callable[[Worker, Task], Result],
    ) -> None:
        self.idle = idle
        self.call = call
        self.left: Iterator[tuple[int, Task]] = iter(list(enumerate(tasks)))
        self.lock = threading.Lock()
        self.found: list[Result | None] = [None] * len(tasks)
        self.error: BaseException | None = None
        self.stopped = False

    def work(self) -> None:
        """Do tasks until none is left or one has failed."""
        while not self.stopped:
            with self.lock:
                entry = next(self.left, None)
            if entry is None:
                return
            worker = self.idle.get()
            try:
                self.found[entry[0]] = self.call(worker, entry[1])
            except Exception as error:  # noqa: BLE001 - a boundary between threads; the caller's thread raises it
                self.error, self.stopped = error, True
            finally:
                self.idle.put(worker)

    def results(self) -> list[Result]:
        """Return the results in the order of the tasks."""
        return [result for result in self.found if result is not None]

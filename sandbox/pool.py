"""Workers kept warm and busy: every backend whose runners are `Place`s shares this.

A worker has one place for untrusted programs, and, made when first needed, one for testers and one for compiled
languages. A place is replaced when its runner dies, when a canary fails after a program that was cut short, and after a
number of programs. What ran in a lost place runs again in a fresh one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from stepgym.plugins.names import unknown_name
from stepgym.sandbox.languages import LANGUAGES, command
from stepgym.sandbox.place import Job, Place, PlaceLost, Running, result_of, run_all
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    PairResult,
    Program,
    SandboxError,
)

Task = TypeVar("Task")
Result = TypeVar("Result")
ATTEMPTS = 3
COMPILE_LIMITS = Limits(wall_s=60.0, memory_mib=None, max_processes=32, disk_mib=64)
CANARY = "print(sum(range(10)))"
CLOSED = "this sandbox is closed; open another"
CLOSE_S = 10.0
"""How long `close` waits for workers that run a program or start a place."""
SUSPICIOUS = frozenset(Outcome) - {Outcome.OK, Outcome.ERROR}


class Worker:
    """Runs one program, or one pair, at a time."""

    def __init__(self, open_place: Callable[[str], Place], max_programs: int) -> None:
        self.open_place = open_place
        self.max_programs = max_programs
        self.places: dict[str, Place] = {}
        self.num_replaced = 0
        self.closed = False

    def place(self, kind: str) -> Place:
        """Return the place of this kind, starting it when there is none or it has served its time.

        Raises `SandboxError` once the worker is closed, also when that happened while the place started.
        """
        place = self.places.get(kind)
        if place is not None and place.num_programs >= self.max_programs:
            self.drop(kind)
            place = None
        if place is None and not self.closed:
            place = self.places[kind] = self.open_place(kind)
        if place is None or self.closed:
            self.drop()
            raise SandboxError(CLOSED)
        return place

    def stop(self) -> None:
        """From another thread: have what runs here end, and nothing start any more."""
        self.closed = True
        for place in tuple(self.places.values()):
            place.hang_up()

    def drop(self, *kinds: str) -> None:
        """Get rid of places; the next use starts fresh ones."""
        for kind in kinds or tuple(self.places):
            if kind in self.places:
                self.num_replaced += 1
                self.places.pop(kind).close()

    def run(self, program: Program) -> ExecutionResult:
        """Run one program; a place that is lost on the way is replaced and the program started again."""
        jobs = jobs_of(program)
        kind = "python" if program.language == "python" else "tools"
        return self._again(
            lambda: self._run_stages(kind, jobs), ExecutionResult(Outcome.KILLED, reason=LOST), kind
        )

    def run_pair(self, pair: Pair) -> PairResult:
        """Run one pair, likewise."""
        lost = ExecutionResult(Outcome.KILLED, reason=LOST)
        return self._again(
            lambda: self._run_pair(pair), PairResult(lost, lost, None), "python", "tester"
        )

    def _again(self, attempt: Callable[[], Result], lost: Result, *kinds: str) -> Result:
        for _ in range(ATTEMPTS):
            try:
                return attempt()
            except PlaceLost:
                self.drop(*kinds)
            except BaseException:
                self.drop(*kinds)  # a program may still be running in there
                raise
        # Fresh places that work well for others die of this program alone.
        for kind in kinds:
            self.check(kind, must=True)
        return lost

    def check(self, kind: str, *, must: bool = False) -> None:
        """Run a program whose output is known; replace the place when it does not run right."""
        if kind == "tester":
            return
        try:
            job = Job("program", _payload(CANARY), Limits(wall_s=5.0))
            with contextlib.closing(Running(self.place(kind), job)) as running:
                run_all([running])
                well = bytes(running.streams[1]) == b"45\n"
        except PlaceLost:
            well = False
        if not well:
            self.drop(kind)
            if must:
                raise SandboxError(
                    "fresh sandboxes die before a trivial program ends; is the machine out of memory?"
                )

    def _run_stages(self, kind: str, jobs: Sequence[Job]) -> ExecutionResult:
        place = self.place(kind)
        for job in jobs:
            with contextlib.closing(Running(place, job)) as running:
                run_all([running])
                result = result_of(running)
                if (
                    running.reply is not None
                    and job.kind == "command"
                    and running.reply["hint"] == "missing"
                ):
                    raise SandboxError(
                        f"{job.payload['command'][0]!r} is not in this sandbox; {TOOLS_WAY_OUT}"
                    )
            if result.outcome in SUSPICIOUS:
                self.check(kind)
            if job.more and result.outcome is not Outcome.OK:
                return dataclasses.replace(result, reason=result.reason or "it does not compile")
        return result

    def _run_pair(self, pair: Pair) -> PairResult:
        ours, theirs = socket.socketpair()
        with ours, theirs, contextlib.ExitStack() as stack:
            places = self.place("python"), self.place("tester")
            candidate = Running(places[0], _pair_job("guest", pair.candidate), theirs.fileno())
            stack.callback(candidate.close)
            tester = Running(places[1], _pair_job("tester", pair.tester), ours.fileno())
            stack.callback(tester.close)
            ours.close()
            theirs.close()
            run_all([candidate, tester])
            result = PairResult(result_of(candidate), result_of(tester), tester.read_report())
        if result.candidate.outcome in SUSPICIOUS:
            self.check("python")
        return result


LOST = "it took its sandbox down each time it ran"
TOOLS_WAY_OUT = "build an image with the tools (`stepgym sandbox build --languages`) or install them for the local sandbox"


def _payload(source: str, **more: Any) -> dict[str, Any]:
    return {"source": source, "args": [], "files": {}, **more}


def _pair_job(kind: str, program: Program) -> Job:
    return Job(
        kind, _payload(program.source, files=dict(program.files)), program.limits, program.stdin
    )


def jobs_of(program: Program) -> list[Job]:
    """Turn a program into the stages of its language."""
    if program.language == "python":
        payload = _payload(program.source, args=list(program.args), files=dict(program.files))
        return [Job("program", payload, program.limits, program.stdin)]
    language = LANGUAGES.get(program.language)
    if language is None:
        raise unknown_name("language", program.language, ["python", *LANGUAGES], dotted=False)
    limits = program.limits
    files = {**program.files, language.file: program.source}
    jobs = []
    if language.compile:
        words = command(language.compile, language, (), None)
        jobs.append(Job("command", {"command": words, "files": files}, COMPILE_LIMITS, more=True))
        files = {}
    if limits.max_processes is not None:
        limits = dataclasses.replace(
            limits, max_processes=limits.max_processes + language.num_own_processes
        )
    words = command(language.run, language, program.args, limits.memory_mib)
    jobs.append(
        Job(
            "command",
            {"command": words, "files": files},
            limits,
            program.stdin,
            language.address_space,
        )
    )
    return jobs


class PooledSandbox:
    """A sandbox of warm workers. A backend says how a place of some kind is opened.

    Any thread may call `run`; programs of all callers share the workers. After a fork the child process makes its own
    places and leaves the parent's alone; a pickled sandbox comes back as a new one with the same options.
    """

    def __init__(self, *, workers: int | None, max_programs: int, options: dict[str, Any]) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.workers = workers or len(os.sched_getaffinity(0))
        self.max_programs = max_programs
        self.options = {"workers": workers, "max_programs": max_programs, **options}
        self._fill()

    def open_place(self, kind: str) -> Place:
        """Start a runner for `kind` "python", "tester" or "tools"; raises `SandboxError`."""
        raise NotImplementedError

    def run(self, programs: Sequence[Program]) -> list[ExecutionResult]:
        """See `Sandbox.run`."""
        return self._map(Worker.run, programs)

    def run_pairs(self, pairs: Sequence[Pair]) -> list[PairResult]:
        """See `Sandbox.run_pairs`."""
        return self._map(Worker.run_pair, pairs)

    def close(self) -> None:
        """See `Sandbox.close`. Programs that other threads still run are ended; their `run` raises `SandboxError`."""
        self.closed = True
        if self.owner != os.getpid():
            return
        for worker in self.all_workers:
            worker.stop()
        # A place is only taken from under a thread that has let go of its worker.
        back: list[Worker] = []
        give_up = time.monotonic() + CLOSE_S
        with contextlib.suppress(queue.Empty):
            while len(back) < len(self.all_workers):
                back.append(self.idle.get(timeout=max(0.0, give_up - time.monotonic())))
        for worker in self.all_workers:
            worker.drop()
        for worker in back:
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

    def _fill(self) -> None:
        self.owner = os.getpid()
        self.closed = False
        self.all_workers = [Worker(self.open_place, self.max_programs) for _ in range(self.workers)]
        self.idle: queue.LifoQueue[Worker] = queue.LifoQueue()
        for worker in reversed(self.all_workers):
            self.idle.put(worker)

    def _map(self, call: Callable[[Worker, Task], Result], tasks: Sequence[Task]) -> list[Result]:
        if self.owner != os.getpid():
            self._fill()
        if self.closed:
            raise SandboxError(CLOSED)
        batch = _Batch(tasks, self.idle, call)
        helpers = [
            threading.Thread(target=batch.work, daemon=True)
            for _ in range(min(self.workers, len(tasks)) - 1)
        ]
        for helper in helpers:
            helper.start()
        try:
            batch.work()
            for helper in helpers:
                helper.join()
        except BaseException:
            batch.stopped = True
            raise
        if batch.error is not None:
            raise batch.error
        return batch.results()


def _reopen(kind: type[PooledSandbox], options: dict[str, Any]) -> PooledSandbox:
    return kind(**options)


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

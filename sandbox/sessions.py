"""Sessions on the host: which are live, in which runner, and how one that was dropped is rebuilt.

A session is a cache over its cells. At most `max_live` have a process; the least recently used gives its process up
and is rebuilt by running its cells again when it is next used. So is a session whose runner died, or whose fork was
refused. A runner that cannot keep sessions apart (no PID namespace, no Landlock, no seccomp) has one at a time. A cell whose output then differs from the first time is counted (`PooledSession.num_differences`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepgym.sandbox.outcomes import result_of
from stepgym.sandbox.runner_client import (
    RunnerClient,
    RunnerLost,
    RunningStage,
    Stage,
    run_together,
)
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, SandboxError
from stepgym.sandbox.worker import ATTEMPTS, CLOSED, LOST

KIND = "session"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell that a session has run, and the cells before it."""

    before: Cell | None
    code: str
    limits: Limits
    output: bytes
    """A digest of what it printed."""


class Answer(NamedTuple):
    """What a runner did."""

    result: ExecutionResult
    refused: str | None
    """Why it did not do it."""
    ended: bool
    """Whether the session's process ended meanwhile."""


class SessionRunner:
    """One runner that keeps sessions. It does one thing at a time; hold `lock` to use it."""

    def __init__(self, open_runner: Callable[[], RunnerClient]) -> None:
        self.open_runner = open_runner
        self.lock = threading.RLock()
        self.client: RunnerClient | None = None
        self.single = False
        """Whether it cannot separate sessions: it then has one at a time, without forks."""
        self.generation = 0
        """How many runners this has had; the sessions of an earlier one are gone."""
        self.num_live = 0
        self.unused: deque[tuple[int, int]] = deque()
        """Generation and number of sessions that nobody refers to any more."""
        self.closed = False

    def do(self, kind: str, payload: dict[str, Any], limits: Limits, **about: int) -> Answer:
        """Have the runner do something. Raises `RunnerLost`."""
        if self.closed:
            raise SandboxError(CLOSED)
        if self.client is None:
            self.make_room()
        assert self.client is not None
        while self.unused and kind != "drop":
            generation, number = self.unused.popleft()
            self.drop(generation, number)
        try:
            stage = Stage(kind, payload, limits, about=about)
            with contextlib.closing(RunningStage(self.client, stage)) as running:
                run_together([running])
                assert running.reply is not None
                reply = running.reply
                return Answer(result_of(running), reply.get("refused"), reply.get("ended", False))
        except BaseException as error:
            self.forget(close=True)
            if isinstance(error, OSError):
                raise SandboxError(f"this process cannot reach a runner: {error}") from error
            raise

    def drop(self, generation: int, number: int) -> None:
        """End a session's process, if it is there."""
        if generation == self.generation and self.client is not None and not self.closed:
            self.num_live -= 1
            with contextlib.suppress(RunnerLost):
                self.do("drop", {}, Limits(), session=number)

    def forget(self, *, close: bool) -> None:
        """Give up the runner, and all its sessions with it; without `close` it is the parent process's."""
        if self.client is not None:
            if close:
                self.client.close()
            else:
                self.client.control.close()
        self.client = None
        self.generation += 1
        self.num_live = 0

    def make_room(self) -> None:
        """Before another session starts: give up a runner that can keep only one."""
        if self.client is None and not self.closed:
            self.client = self.open_runner()
            hello = self.client.hello
            self.single = not (hello["exact"] and hello["seccomp"] and hello["landlock"])
        elif self.single and self.num_live:
            self.forget(close=True)
            self.make_room()


class SessionPool:
    """All sessions of one sandbox."""

    def __init__(
        self, open_runner: Callable[[], RunnerClient], *, num_runners: int, max_live: int
    ) -> None:
        if max_live < 1:
            raise ValueError(f"max_sessions must be at least 1, not {max_live}")
        self.open_runner = open_runner
        self.num_runners = num_runners
        self.max_live = max_live
        self.numbers = itertools.count(1)
        self.reset()

    def reset(self) -> None:
        """Start with no runner."""
        self.runners = [SessionRunner(self.open_runner) for _ in range(self.num_runners)]
        self.lock = threading.Lock()
        self.recent: OrderedDict[int, weakref.ref[PooledSession]] = OrderedDict()

    def least_loaded(self) -> SessionRunner:
        """Return the runner with the fewest live sessions."""
        return min(self.runners, key=lambda runner: runner.num_live)

    def touch(self, session: PooledSession) -> None:
        """Note that a session was used, and end the processes of the least recently used over the limit."""
        with self.lock:
            self.recent[session.number] = weakref.ref(session)
            self.recent.move_to_end(session.number)
            excess = len(self.recent) - self.max_live
            oldest = [self.recent[number] for number in list(self.recent)[: max(0, excess)]]
        for reference in oldest:
            other = reference()
            if other is None or (other is not session and other.give_up()):
                with self.lock:
                    self.recent = OrderedDict(
                        (number, kept)
                        for number, kept in self.recent.items()
                        if kept is not reference
                    )

    def remove(self, number: int) -> None:
        """Take a session off the list of live ones."""
        with self.lock:
            self.recent.pop(number, None)

    def forget(self) -> None:
        """In a fork of the process that opened the sandbox: leave its runners alone."""
        for runner in self.runners:
            runner.forget(close=False)
        self.reset()

    def close(self) -> None:
        """End all sessions."""
        for runner in self.runners:
            runner.closed = True
            if runner.client is not None:
                runner.client.hang_up()
        for runner in self.runners:
            if runner.lock.acquire(timeout=10.0):
                runner.forget(close=True)
                runner.lock.release()


class PooledSession:
    """See `stepgym.sandbox.types.Session`."""

    def __init__(
        self,
        pool: SessionPool,
        files: Mapping[str, bytes],
        limits: Limits,
        *,
        last: Cell | None = None,
    ) -> None:
        self.pool = pool
        self.files = files
        self.limits = limits
        self.last = last
        """The last cell that counts."""
        self.runner: SessionRunner | None = None
        self.generation = -1
        self.number = next(pool.numbers)
        self.closed = False
        self.num_rebuilt = 0
        """How often its cells were run again."""
        self.num_differences = 0
        """How many cells then printed something else than the first time."""

    def run(self, code: str, *, limits: Limits | None = None) -> ExecutionResult:
        """See `Session.run`."""
        limits = limits or self.limits
        for _ in range(ATTEMPTS):
            try:
                with self._live() as runner:
                    payload = {"code": code}
                    result, refused, ended = runner.do("cell", payload, limits, session=self.number)
                    if ended:
                        self._gone(runner)
                        return _undone(result)
                    if refused is None:
                        self.last = Cell(self.last, code, limits, _digest(result))
                        return result
                    self._gone(runner)
            except RunnerLost:
                continue
        return ExecutionResult(Outcome.KILLED, reason=LOST)

    def fork(self) -> PooledSession:
        """See `Session.fork`."""
        other = PooledSession(self.pool, self.files, self.limits, last=self.last)
        if self.is_live:
            with contextlib.suppress(RunnerLost), self._live() as runner:
                if runner.single:
                    return other
                about = {"session": self.number, "child": other.number}
                if runner.do("fork", {}, self.limits, **about).refused is None:
                    other._now_in(runner)
        if other.is_live:
            self.pool.touch(other)
        return other

    def close(self) -> None:
        """See `Session.close`."""
        self.closed = True
        self.pool.remove(self.number)
        runner = self.runner
        if runner is not None and self.is_live:
            with runner.lock:
                runner.drop(self.generation, self.number)
        self.runner = None

    @property
    def is_live(self) -> bool:
        """Whether it has a process that is not known to have ended."""
        return self.runner is not None and self.generation == self.runner.generation

    def give_up(self) -> bool:
        """End the process to make room; false when its runner is busy."""
        runner = self.runner
        if runner is None or not self.is_live:
            return True
        if not runner.lock.acquire(blocking=False):
            return False
        try:
            runner.drop(self.generation, self.number)
            self._gone(runner)
        finally:
            runner.lock.release()
        return True

    @contextlib.contextmanager
    def _live(self) -> Iterator[SessionRunner]:
        """Hold the runner's lock with this session live in it."""
        if self.closed:
            raise SandboxError("this session is closed; open another")
        runner = self.runner if self.is_live else None
        runner = runner or self.pool.least_loaded()
        with runner.lock:
            if not self.is_live:
                self._rebuild(runner)
            yield runner
        if self.is_live:
            self.pool.touch(self)

    def _rebuild(self, runner: SessionRunner) -> None:
        """Start a process and run the cells again."""
        runner.make_room()
        self.number = next(self.pool.numbers)
        files = {name: bytes(content) for name, content in self.files.items()}
        answer = runner.do("open", {"files": files}, self.limits, session=self.number)
        if answer.refused is not None:
            raise SandboxError(f"the session does not start: {answer.refused}")
        self._now_in(runner)
        cells: list[Cell] = []
        cell = self.last
        while cell is not None:
            cells.append(cell)
            cell = cell.before
        self.num_rebuilt += bool(cells)
        for cell in reversed(cells):
            payload = {"code": cell.code}
            result, refused, ended = runner.do("cell", payload, cell.limits, session=self.number)
            if refused is not None or ended:
                self._gone(runner)
                raise SandboxError(
                    f"the session cannot be rebuilt: {refused or result.reason or 'its process ended'}"
                )
            self.num_differences += _digest(result) != cell.output

    def _now_in(self, runner: SessionRunner) -> None:
        self.runner, self.generation = runner, runner.generation
        runner.num_live += 1
        weakref.finalize(
            self, runner.unused.append, (runner.generation, self.number)
        ).atexit = False

    def _gone(self, runner: SessionRunner) -> None:
        if self.is_live:
            runner.num_live -= 1
        self.generation = -1
        self.pool.remove(self.number)


def _undone(result: ExecutionResult) -> ExecutionResult:
    """Say of a cell that ended its process what became of it."""
    outcome = Outcome.ERROR if result.outcome is Outcome.OK else result.outcome
    reason = f"{result.reason or 'it ended its process'}; the cell is undone"
    return dataclasses.replace(result, outcome=outcome, reason=reason)


def _digest(result: ExecutionResult) -> bytes:
    text = f"{result.outcome.value}\0{result.stdout}\0{result.stderr}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

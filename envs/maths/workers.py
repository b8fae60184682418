"""Warm worker processes for the dear rungs: started fresh, fed through pipes, killed and replaced on overrun.

No signal handlers, no fork of a threaded parent, no executor: a call writes a line to an idle worker and waits on its
pipe with a deadline, so that it works from any thread, under asyncio, and in forked children (which start their own).
Not covered: a worker that is starved of CPU by the machine counts as overrun.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from stepgym.envs.maths.bounds import whose_fault
from stepgym.envs.maths.ladder import Decision
from stepgym.envs.maths.options import MathOptions
from stepgym.envs.maths.reading import read
from stepgym.envs.types import Fault, Status

START_LIMIT_S = 20.0
FIRST_START_S = 1.0
"""What a lone pair may take beyond its limit when no worker of this process was ever warm."""
MAX_WORKERS = max(1, min(4, os.cpu_count() or 1))
TASKS_PER_WORKER = 500
"""A worker is replaced after so many pairs: SymPy's caches grow."""


class WorkerError(Exception):
    """A worker did not start, died, or overran."""


class Worker:
    """One process and its pipes. `ready` turns true when its imports are done."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "stepgym.envs.maths.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            close_fds=True,
        )
        self.ready = False
        self.served = 0
        self.buffer = b""

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one task; raises `WorkerError` where the process is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise WorkerError(f"a worker is gone: {error}") from error

    def read_line(self) -> dict[str, Any] | None:
        """What is there to read; `None` while the line is not whole. Raises `WorkerError` at the end of the pipe."""
        assert self.process.stdout is not None
        piece = os.read(self.process.stdout.fileno(), 65_536)
        if not piece:
            raise WorkerError(f"a worker ended with status {self.process.poll()}")
        self.buffer += piece
        line, newline, rest = self.buffer.partition(b"\n")
        if not newline:
            return None
        self.buffer = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def kill(self) -> None:
        """End the process and reap it."""
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        self.process.wait()


class Pool:
    """Idle workers of one process; `lend` waits for one, up to `MAX_WORKERS` in all."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.changed = threading.Condition()
        self.idle: list[Worker] = []
        self.lent = 0
        self.warmed = False

    def lend(self, wait_s: float) -> Worker | None:
        with self.changed:
            if not self.changed.wait_for(
                lambda: self.idle or self.lent < MAX_WORKERS, timeout=wait_s
            ):
                return None
            self.lent += 1
            if self.idle:
                return self.idle.pop()
        try:
            return Worker()
        except OSError as error:
            self.take_back(None)
            raise WorkerError(f"no worker could be started: {error}") from error

    def keep_spare(self) -> None:
        """Have one more worker warming up than is at work, so that a killed one is replaced without waiting."""
        with self.changed:
            if self.idle or self.lent >= MAX_WORKERS:
                return
            try:
                self.idle.append(Worker())
            except OSError:
                return  # the next `lend` will say so

    def take_back(self, worker: Worker | None) -> None:
        """Return a worker; `None`, or one that has served its time, makes room for a new one."""
        retired = worker is not None and worker.served >= TASKS_PER_WORKER
        with self.changed:
            self.lent -= 1
            if worker is not None and not retired:
                self.idle.append(worker)
            self.changed.notify()
        if retired and worker is not None:
            worker.kill()

    def close(self) -> None:
        """Kill the idle workers, if they are this process's own."""
        if self.pid == os.getpid():
            while self.idle:
                self.idle.pop().kill()


_pool: Pool | None = None
_pool_lock = threading.Lock()


def _current() -> Pool:
    global _pool
    with _pool_lock:
        if _pool is None or _pool.pid != os.getpid():
            _pool = Pool()
            atexit.register(_pool.close)
        return _pool


def _forget() -> None:
    """In a forked child: leave the parent's workers and locks alone, and close our ends of their pipes."""
    global _pool, _pool_lock
    inherited, _pool, _pool_lock = _pool, None, threading.Lock()
    for worker in inherited.idle if inherited is not None else ():
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                os.close(pipe.fileno())
        worker.process.returncode = 0  # not ours to reap


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class _Running(NamedTuple):
    worker: Worker
    place: int
    deadline: float


def decide_all(pairs: Sequence[tuple[str, str]], options: MathOptions) -> list[Decision]:
    """Decide (reference, answer) pairs on all workers at once; each has `options.limit_s` from when it is begun.

    For a lone pair the limit covers the wait for a worker too.
    """
    return _Batch(pairs, options).run()


def _given_up(reason: str, fault: Fault) -> Decision:
    return Decision(Status.UNDECIDED, "symbolic", reason, fault=fault)


class _Batch:
    def __init__(self, pairs: Sequence[tuple[str, str]], options: MathOptions) -> None:
        self.pairs = pairs
        self.limit_s = options.limit_s
        self.options = {**asdict(options), "percent": options.percent.value}
        self.pool = _current()
        self.decisions = [_given_up("not begun", Fault.OURS)] * len(pairs)
        self.waiting = list(range(len(pairs)))[::-1]
        self.running: dict[int, _Running] = {}
        lone_s = self.limit_s + (0.0 if self.pool.warmed else FIRST_START_S)
        self.until = time.monotonic() + (lone_s if len(pairs) == 1 else math.inf)
        self.selector = selectors.DefaultSelector()

    def run(self) -> list[Decision]:
        try:
            while self.waiting or self.running:
                self._begin()
                self._collect()
        finally:
            for running in list(self.running.values()):
                self._end(running, reuse=False)
            self.selector.close()
        return self.decisions

    def _begin(self) -> None:
        while self.waiting and len(self.running) < MAX_WORKERS:
            index = self.waiting[-1]
            try:
                worker = self.pool.lend(0.0 if self.running else self._patience_s())
            except WorkerError as error:
                self.waiting.pop()
                self.decisions[index] = _given_up(str(error), Fault.OURS)
                continue
            if worker is None:
                if not self.running:
                    self.waiting.pop()
                    self.decisions[index] = _given_up("no worker came free", Fault.OURS)
                return
            self.waiting.pop()
            self._start(worker, index)

    def _start(self, worker: Worker, index: int) -> None:
        now = time.monotonic()
        deadline = now + (
            min(self.limit_s, self.until - now) if worker.ready else self._patience_s()
        )
        running = _Running(worker, index, deadline)
        assert worker.process.stdout is not None
        self.running[worker.process.stdout.fileno()] = running
        self.selector.register(worker.process.stdout, selectors.EVENT_READ)
        if worker.ready:
            self._send(running)

    def _patience_s(self) -> float:
        """How long to wait for a worker that is busy or warming up."""
        return max(0.0, min(START_LIMIT_S, self.until - time.monotonic()))

    def _send(self, running: _Running) -> None:
        reference, answer = self.pairs[running.place]
        task = {
            "reference": reference,
            "answer": answer,
            "options": self.options,
            "limit_s": self.limit_s,
        }
        try:
            running.worker.send(task)
        except WorkerError as error:
            self._fail(running, str(error))

    def _collect(self) -> None:
        if not self.running:
            return
        wait_s = max(0.0, min(r.deadline for r in self.running.values()) - time.monotonic())
        for key, _ in self.selector.select(wait_s):
            running = self.running.get(key.fd)
            if running is not None:
                self._read(running)
        now = time.monotonic()
        for running in list(self.running.values()):
            if now >= running.deadline:
                self._overrun(running)

    def _overrun(self, running: _Running) -> None:
        if running.worker.ready:
            self._fail(running, f"more than {self.limit_s:g} s")
            return
        self.decisions[running.place] = _given_up("no worker was warm in time", Fault.OURS)
        self._end(running, reuse=True)  # it goes on warming up for the next pair

    def _read(self, running: _Running) -> None:
        try:
            message = running.worker.read_line()
        except (WorkerError, OSError, ValueError) as error:
            self._fail(running, str(error))
            return
        if message is None:
            return
        if "ready" in message:
            running.worker.ready = True
            self.pool.warmed = True
            self.pool.keep_spare()
            assert running.worker.process.stdout is not None
            fd = running.worker.process.stdout.fileno()
            self.running[fd] = running._replace(
                deadline=min(self.until, time.monotonic() + self.limit_s)
            )
            self._send(self.running[fd])
            return
        running.worker.served += 1
        status = Status(message["status"])
        fault = None
        if status is Status.UNDECIDED:
            said = message.get("fault")
            fault = Fault(said) if said else self._whose_fault(running.place)
        self.decisions[running.place] = Decision(
            status, message["rung"], message["reason"], fault=fault
        )
        self._end(running, reuse=True)

    def _whose_fault(self, place: int) -> Fault:
        reference, answer = self.pairs[place]
        return whose_fault(read(reference).node, read(answer).node)

    def _fail(self, running: _Running, reason: str) -> None:
        self.decisions[running.place] = _given_up(reason, self._whose_fault(running.place))
        self._end(running, reuse=False)

    def _end(self, running: _Running, *, reuse: bool) -> None:
        stdout = running.worker.process.stdout
        assert stdout is not None
        self.running.pop(stdout.fileno(), None)
        self.selector.unregister(stdout)
        if reuse:
            self.pool.take_back(running.worker)
        else:
            running.worker.kill()
            self.pool.take_back(None)
            self.pool.keep_spare()

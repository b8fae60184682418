"""Warm worker processes for what the calling process cannot decide.

A pair's limit counts the CPU time of its worker, never the wait for one: so a busy machine, other threads and a cold
start cost no verdict. Every pair of a batch first gets a short slice of CPU time; those that overrun it share what is
left of the batch's budget, so that pairs that are decided quickly do not pay for those that are not.

Each worker has a thread that feeds it through pipes. There are no signal handlers and no fork of the calling process:
it works from any thread, under asyncio, and in forked children (which start their own workers).
"""

from __future__ import annotations

import atexit
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from stepgym.envs.maths.bounds import whose_fault
from stepgym.envs.maths.ladder import Decision
from stepgym.envs.maths.options import MathOptions
from stepgym.envs.maths.reading import read
from stepgym.envs.types import Fault, Status
from stepgym.plugins.processors import num_processors

MAX_WORKERS = 4
SLICE_S = 0.25
"""CPU seconds of every pair's first attempt."""
START_LIMIT_S = 120.0
"""Wall seconds that a worker may take to load SymPy."""
WALL_FACTOR, WALL_SPARE_S = 20.0, 30.0
"""A worker that is silent for longer than its CPU limit times this, plus this, is taken for stuck and killed."""


class WorkerError(Exception):
    """A worker did not start, died, or is stuck."""


class Worker:
    """One worker process and its pipes; used by one thread at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m", "stepgym.envs.maths.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(f"no worker could be started: {error}") from error
        self.buffer = b""
        self.ready = False

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """Give the worker one pair and wait for its reply; raises `WorkerError`."""
        if not self.ready:
            self.read(START_LIMIT_S)
            self.ready = True
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError) as error:
            raise WorkerError(f"a worker is gone: {error}") from error
        return self.read(WALL_FACTOR * task["cpu_s"] + WALL_SPARE_S)

    def read(self, limit_s: float) -> dict[str, Any]:
        """The next message; raises `WorkerError` at the end of the pipe or after `limit_s`."""
        assert self.process.stdout is not None
        pipe, until = self.process.stdout.fileno(), time.monotonic() + limit_s
        while b"\n" not in self.buffer:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                raise WorkerError(f"a worker was silent for {limit_s:g} s")
            piece = os.read(pipe, 1 << 16)
            if not piece:
                raise WorkerError(f"a worker ended with status {self.process.poll()}")
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def kill(self) -> None:
        """End the process with its child, and reap it."""
        try:
            os.killpg(self.process.pid, 9)
        except (AttributeError, OSError):
            self.process.kill()
        self.close_pipes()
        self.process.wait()

    def close_pipes(self) -> None:
        """Close our ends of the pipes, which ends the worker."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue


class _Attempt(NamedTuple):
    """One pair with the CPU time that it may take now; the decision goes to its batch."""

    batch: _Batch
    place: int
    cpu_s: float


class Pool:
    """The workers of this process: threads that take attempts from one queue in turn."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.max_workers = min(MAX_WORKERS, num_processors())
        self.changed = threading.Condition()
        self.queue: deque[_Attempt] = deque()
        self.workers: list[Worker] = []
        self.num_threads = 0
        self.num_idle = 0

    def put(self, attempt: _Attempt) -> None:
        """Queue an attempt, and start another worker if all are busy."""
        with self.changed:
            if self.num_idle <= len(self.queue) and self.num_threads < self.max_workers:
                try:
                    threading.Thread(target=self._feed, name="maths-worker", daemon=True).start()
                    self.num_threads += 1
                except RuntimeError as error:  # the system has no thread left
                    reason = f"no worker could be started: {error}"
            if self.num_threads:
                self.queue.append(attempt)
                self.changed.notify()
                return
        attempt.batch.finish(attempt, {"failed": reason})

    def _feed(self) -> None:
        """Serve attempts with one worker, which is replaced when it fails."""
        worker: Worker | None = None
        while True:
            with self.changed:
                self.num_idle += 1
                self.changed.wait_for(lambda: self.queue)
                self.num_idle -= 1
                attempt = self.queue.popleft()
            worker, reply = self._ask(worker, attempt)
            attempt.batch.finish(attempt, reply)

    def _ask(
        self, worker: Worker | None, attempt: _Attempt
    ) -> tuple[Worker | None, dict[str, Any]]:
        """Ask a worker, and once more a new one if the old one is gone or stuck."""
        task = attempt.batch.task(attempt)
        while True:
            is_new = worker is None
            try:
                if worker is None:
                    worker = Worker()
                    self.workers.append(worker)
                return worker, worker.ask(task)
            except WorkerError as error:
                if worker is not None:
                    self.workers.remove(worker)
                    worker.kill()
                    worker = None
                if is_new:
                    return None, {"failed": str(error)}

    def close(self) -> None:
        """Kill the workers, if they are this process's own."""
        if self.pid == os.getpid():
            for worker in self.workers:
                worker.kill()


_pool: Pool | None = None
_pool_lock = threading.Lock()


def current_pool() -> Pool:
    """This process's pool, made at the first use."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = Pool()
            atexit.register(_pool.close)
        return _pool


def _forget() -> None:
    """In a forked child: leave the parent's workers and locks alone, and close our copies of their pipes."""
    global _pool, _pool_lock
    inherited, _pool, _pool_lock = _pool, None, threading.Lock()
    for worker in inherited.workers if inherited is not None else ():
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None:
                os.close(pipe.fileno())
        worker.process.returncode = 0  # not ours to reap


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def decide_all(pairs: Sequence[tuple[str, str, MathOptions]]) -> list[Decision]:
    """Decide (reference, answer, options) triples on all workers.

    A lone pair gets its `limit_s` of CPU time. Of several, each gets `SLICE_S`; those that overrun it get up to
    `limit_s`, as long as the batch has used less than the largest `batch_limit_s` on such second attempts.
    """
    return _Batch(pairs).run() if pairs else []


class _Batch:
    """The pairs of one call. At most one for each worker is queued at once, so that batches take turns."""

    def __init__(self, pairs: Sequence[tuple[str, str, MathOptions]]) -> None:
        self.pairs = pairs
        self.batch_limit_s = self.left_s = max(options.batch_limit_s for _, _, options in pairs)
        self.decisions: list[Decision | None] = [None] * len(pairs)
        slice_s = float("inf") if len(pairs) == 1 else SLICE_S
        self.waiting = deque(
            _Attempt(self, place, min(slice_s, self.limit_s(place))) for place in range(len(pairs))
        )
        self.overrun: deque[int] = deque()
        self.num_queued = 0
        self.changed = threading.Condition()
        self.pool = current_pool()

    def run(self) -> list[Decision]:
        """Queue attempts until every pair has a decision."""
        while True:
            with self.changed:
                attempt = self._next()
                while attempt is None:
                    if not self.num_queued:
                        return [d for d in self.decisions if d is not None]
                    self.changed.wait()
                    attempt = self._next()
                self.num_queued += 1
            self.pool.put(attempt)

    def _next(self) -> _Attempt | None:
        """The next attempt; `None` if one must end before another can start, or all are done."""
        if self.num_queued >= self.pool.max_workers:
            return None
        if self.waiting:
            return self.waiting.popleft()
        while self.overrun:
            if self.left_s > 0:
                place = self.overrun.popleft()
                self.left_s -= self.limit_s(place)
                return _Attempt(self, place, self.limit_s(place))
            if self.num_queued:
                return None
            place = self.overrun.popleft()
            reason = f"more than {SLICE_S:g} s of CPU, and the batch's {self.batch_limit_s:g} s are used up"
            self.decisions[place] = self._given_up(place, reason)
        return None

    def limit_s(self, place: int) -> float:
        """CPU seconds that one pair may take."""
        return self.pairs[place][2].limit_s

    def task(self, attempt: _Attempt) -> dict[str, Any]:
        """What the worker is asked."""
        reference, answer, options = self.pairs[attempt.place]
        return {
            "reference": reference,
            "answer": answer,
            "options": {**asdict(options), "percent": options.percent.value},
            "cpu_s": attempt.cpu_s,
        }

    def finish(self, attempt: _Attempt, reply: Mapping[str, Any]) -> None:
        """Take a worker's reply; called in the worker's thread."""
        place = attempt.place
        with self.changed:
            self.num_queued -= 1
            if "status" in reply:
                self.decisions[place] = self._decision(place, reply)
            elif "failed" in reply:
                self.decisions[place] = Decision(
                    Status.UNDECIDED, "symbolic", reply["failed"], fault=Fault.OURS
                )
            elif attempt.cpu_s < self.limit_s(place):
                self.overrun.append(place)
            else:
                reason = f"more than {attempt.cpu_s:g} s of CPU"
                self.decisions[place] = self._given_up(place, reason)
            self.changed.notify()

    def _decision(self, place: int, reply: Mapping[str, Any]) -> Decision:
        status = Status(reply["status"])
        if status is Status.UNDECIDED and not reply["fault"]:
            return self._given_up(place, reply["reason"])
        fault = Fault(reply["fault"]) if reply["fault"] else None
        return Decision(status, reply["rung"], reply["reason"], fault=fault)

    def _given_up(self, place: int, reason: str) -> Decision:
        reference, answer, _ = self.pairs[place]
        fault = whose_fault(read(reference).node, read(answer).node)
        return Decision(Status.UNDECIDED, "symbolic", reason, fault=fault)

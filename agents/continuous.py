"""The continuous driver: trees run ahead of each other, so that nobody waits for the slowest member of a round.

Each tree plays its own rounds in a thread; calls to the policy and the reward model that fall into one window become
one batch. A tree's rounds do not depend on who is in its batches, so that it comes out as in lock-step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

from stepgym.agents.meter import parameters_of
from stepgym.agents.rounds import Job, Parts, Run, play_round, take_in_alone, wants_more
from stepgym.agents.types import Policy, PolicyError, RewardModel
from stepgym.envs.types import State, Step

M = TypeVar("M")
WINDOW_S = 0.005
MAX_THREADS = 128
MAX_BATCH = 512
"""States in one call; what is left over goes into the next."""
AHEAD = 4


@dataclass(slots=True)
class _Call:
    """One tree's call, waiting to be merged with others."""

    items: list[Any]
    done: Future[list[Any]] = field(default_factory=Future)


class Coalescer:
    """Merges concurrent calls of a batched function into one call at a time.

    A batch starts when every running tree waits for it, when it is full, or when its oldest member has waited
    `window_s`. When a merged call raises, each member is called alone, so that only the culprit gets the error.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], list[Any]],
        running: Callable[[], int],
        window_s: float,
    ) -> None:
        self._function, self._running, self._window_s = function, running, window_s
        self._waiting: list[_Call] = []
        self._changed = threading.Condition()
        self._closed = False
        self._served: list[_Call] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __call__(self, items: list[Any]) -> list[Any]:
        call = _Call(items)
        with self._changed:
            if self._closed:
                raise RuntimeError("the search was stopped")
            self._waiting.append(call)
            self._changed.notify_all()
        return call.done.result()

    def close(self) -> None:
        """Stop serving; calls that still wait get an error, also those whose batch is under way."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for call in (*self._waiting, *self._served):
                with suppress(InvalidStateError):
                    call.done.set_exception(RuntimeError("the search was stopped"))
            self._waiting.clear()

    def nudge(self) -> None:
        """Look again whether everybody waits (a tree has finished)."""
        with self._changed:
            self._changed.notify_all()

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            with suppress(InvalidStateError):  # stopped meanwhile: its callers have their error
                self._run(batch)

    def _next_batch(self) -> list[_Call] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            deadline = time.monotonic() + self._window_s
            while not self._closed and not self._ready():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            if self._closed:
                return None
            batch: list[_Call] = []
            size = 0
            while self._waiting and (not batch or size + len(self._waiting[0].items) <= MAX_BATCH):
                batch.append(self._waiting.pop(0))
                size += len(batch[-1].items)
            self._served = batch
            return batch

    def _ready(self) -> bool:
        return (
            len(self._waiting) >= self._running()
            or sum(len(call.items) for call in self._waiting) >= MAX_BATCH
        )

    def _run(self, batch: list[_Call]) -> None:
        try:
            results = self._function([item for call in batch for item in call.items])
            if len(results) != sum(len(call.items) for call in batch):
                raise ValueError(
                    f"{len(results)} results for {sum(len(call.items) for call in batch)} states"
                )
        except BaseException as error:  # noqa: BLE001 - handed to the threads that asked, which raise or record it
            self._run_alone(batch, error)
            return
        at = 0
        for call in batch:
            call.done.set_result(list(results[at : at + len(call.items)]))
            at += len(call.items)

    def _run_alone(self, batch: list[_Call], error: BaseException) -> None:
        for call in batch:
            try:
                if len(batch) == 1 or not isinstance(error, Exception):
                    raise error
                call.done.set_result(list(self._function(call.items)))
            except BaseException as own:  # noqa: BLE001 - handed to the thread that asked, which raises or records it
                call.done.set_exception(own)


@dataclass(frozen=True)
class _MergedPolicy:
    merge: Coalescer
    num_parameters: int

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        offers = self.merge(list(zip(states, counts, strict=True)))
        failures = {at: fault for at, (_, fault) in enumerate(offers) if fault}
        steps = [own for own, _ in offers]
        if failures:
            raise PolicyError("the policy failed on some states", steps=steps, failures=failures)
        return steps


@dataclass(frozen=True)
class _MergedRewardModel:
    merge: Coalescer
    num_parameters: int

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return self.merge(list(states))


def _propose(policy: Policy, asked: list[Any]) -> list[tuple[list[Step], str]]:
    """Propose, with a partial failure as data, so that it survives the split into single calls."""
    try:
        return [
            (steps, "")
            for steps in policy.propose(
                [state for state, _ in asked], [count for _, count in asked]
            )
        ]
    except PolicyError as error:
        if error.steps is None:
            raise
        return [(steps, error.failures.get(at, "")) for at, steps in enumerate(error.steps)]


def play_continuous(parts: Parts, run: Run) -> None:
    """Play every job of a run to its end; the first error that is not data is raised."""
    for _ in stream_continuous(parts, run, iter(run.jobs), MAX_THREADS):
        pass


def stream_continuous(
    parts: Parts, run: Run, jobs: Iterator[Job], size: int
) -> Iterator[list[Job]]:
    """Play jobs in threads, `size` at a time, and yield them in order, those together that are done together.

    A job that ends makes room for the next one at once. Jobs that are done wait for earlier ones; `AHEAD * size`
    are started before the first of them has ended.
    """
    size = min(size, MAX_THREADS)
    crew = _Crew(parts, run, size)
    started: deque[tuple[Job, Future[None]]] = deque()
    with ThreadPoolExecutor(max_workers=size) as pool:
        try:
            while True:
                fresh = list(islice(jobs, AHEAD * size - len(started)))
                crew.expect(len(fresh))  # before the first of them starts, or it would go alone
                started.extend((job, pool.submit(crew.play, job)) for job in fresh)
                if not started:
                    return
                if not started[0][1].done():
                    wait(
                        [future for _, future in started if not future.done()],
                        return_when=FIRST_COMPLETED,
                    )
                for _, future in started:
                    if future.done():
                        future.result()
                done = []
                while started and started[0][1].done():
                    done.append(started.popleft()[0])
                if done:
                    yield done
        finally:
            crew.stop()
            pool.shutdown(wait=True, cancel_futures=True)


class _Crew:
    """The threads' common ground: merged plug-ins, the run and who is still running."""

    def __init__(self, parts: Parts, run: Run, size: int) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._size = size
        self._left = self._running = 0
        self._run = run
        policy = Coalescer(
            lambda asked: _propose(self._count(parts.policy), asked),
            lambda: self._running,
            WINDOW_S,
        )
        self._merged = [policy]
        reward_model: RewardModel | None = None
        if (judge := parts.reward_model) is not None:
            scorer = Coalescer(
                lambda states: self._count(judge).score(states), lambda: self._running, WINDOW_S
            )
            self._merged.append(scorer)
            reward_model = _MergedRewardModel(scorer, parameters_of(judge))
        merged_policy = _MergedPolicy(policy, parameters_of(parts.policy))
        self._parts = replace(parts, policy=merged_policy, reward_model=reward_model)
        self._take_in = take_in_alone(self._parts, self._wants_more)

    def _count(self, model: M) -> M:
        """Count a call that is about to be made, whatever comes of it."""
        with self._lock:
            self._run.model_calls += 1
        return model

    def expect(self, count: int) -> None:
        """Count jobs that are about to be played."""
        with self._lock:
            self._left += count
            self._running = min(self._left, self._size)

    def _wants_more(self, job: Job) -> bool:
        return not self._stopped and wants_more(self._parts, job, self._run)

    def play(self, job: Job) -> None:
        """Play one job to its end."""
        job.meter.started = time.perf_counter()
        merged_calls = Run([])
        try:
            live = self._wants_more(job)
            while live:
                live = bool(play_round(self._parts, [job], merged_calls, self._take_in))
        finally:
            with self._lock:
                self._left -= 1
                self._running = min(self._left, self._size)
            for merged in self._merged:
                merged.nudge()

    def stop(self) -> None:
        """Let every thread end at its next call or round."""
        self._stopped = True
        for merged in self._merged:
            merged.close()

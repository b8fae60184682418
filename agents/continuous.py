"""The continuous driver: each search plays its own rounds in a thread, and none waits for the slowest of a round.

Calls to a policy or a reward model in this process that fall into one window become one batch. One in front of a server
(`ServesConcurrently`) is called by each search alone, so that a search waits only for its own requests, and the requests
of all others go on while it verifies answers. A tree does not depend on what else is asked at the same time: it comes
out as in lock-step.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from stepgym.agents.costs import num_parameters
from stepgym.agents.daemon_pool import DaemonPool
from stepgym.agents.rounds import (
    ProblemSearch,
    RunProgress,
    SearchComponents,
    play_round,
    select_next,
)
from stepgym.agents.types import (
    CountsTokensRead,
    Policy,
    PolicyError,
    RewardModel,
    RunStopped,
    ServesConcurrently,
    WritesTokens,
)
from stepgym.envs.types import State, Step

WINDOW_S = 0.005
MAX_THREADS = 128
MAX_BATCH = 512
"""States in one call; the others wait for the next one."""
AHEAD = 4
"""Searches that may be started before the first of them has ended, in multiples of those that run at once."""
STOP_S = 1.0
"""How long a run that is stopped waits for its threads; one that waits for a server is abandoned."""
Merge = Callable[[list[Any]], list[Any]]


@dataclass(slots=True)
class _Call:
    """One search's call, waiting to be merged with others."""

    items: list[Any]
    done: Future[list[Any]] = field(default_factory=Future)


class CallMerger:
    """Merges concurrent calls of a batched function into one call at a time.

    A batch starts when every running search waits for it, when it is full, or when its oldest call has waited
    `window_s`. If a merged call raises, each of its calls is made alone, so that only the one at fault gets the
    error. `running` returns how many searches run.
    """

    def __init__(
        self,
        function: Callable[[list[Any]], list[Any]],
        running: Callable[[], int],
        *,
        window_s: float = WINDOW_S,
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
        """Stop; calls that wait or whose batch is running get an error."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            for call in (*self._waiting, *self._served):
                with suppress(InvalidStateError):
                    call.done.set_exception(RuntimeError("the search was stopped"))
            self._waiting.clear()

    def recheck(self) -> None:
        """Check again whether every running search waits: one has finished."""
        with self._changed:
            self._changed.notify_all()

    def _serve(self) -> None:
        while (batch := self._next_batch()) is not None:
            with suppress(InvalidStateError):  # closed meanwhile: the callers have their error
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
                if isinstance(error, RunStopped):
                    raise error
                call.done.set_result(list(self._function(call.items)))
            except BaseException as own:  # noqa: BLE001 - handed to the thread that asked, which raises or records it
                call.done.set_exception(own)


@dataclass(frozen=True)
class _SharedPolicy:
    """The policy as each search calls it."""

    merge: Merge
    num_parameters: int

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        offers = self.merge(list(zip(states, counts, strict=True)))
        failures = {at: fault for at, (_, fault) in enumerate(offers) if fault}
        steps = [own for own, _ in offers]
        if failures:
            raise PolicyError("the policy failed on some states", steps=steps, failures=failures)
        return steps


class _SharedRewardModel:
    """The reward model as each search calls it; its costs are those of the model."""

    def __init__(self, merge: Merge, model: RewardModel) -> None:
        self._merge = merge
        self.num_parameters = num_parameters(model)
        if isinstance(model, CountsTokensRead):
            self.tokens_read = model.tokens_read
        if isinstance(model, WritesTokens):
            self.take_usage = model.take_usage

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return self._merge(list(states))


def _propose(policy: Policy, asked: list[Any]) -> list[tuple[list[Step], str]]:
    """Propose, with a partial failure as data, so that it can be split among the merged calls."""
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


def play_continuous(components: SearchComponents, progress: RunProgress) -> None:
    """Play every search of a run to its end; the first error that is not data is raised."""
    for _ in stream_continuous(
        components, progress, searches=iter(progress.searches), num_parallel=MAX_THREADS
    ):
        pass


def stream_continuous(
    components: SearchComponents,
    progress: RunProgress,
    *,
    searches: Iterator[ProblemSearch],
    num_parallel: int,
) -> Iterator[list[ProblemSearch]]:
    """Play searches in threads and yield them in order, as many at once as are done.

    A search that ends makes room for the next one at once. Searches that are done wait for earlier ones; at most
    `AHEAD * num_parallel` are started before the first of them has ended.
    """
    num_parallel = min(num_parallel, MAX_THREADS)
    threads = _SearchThreads(components, progress, num_parallel)
    started: deque[tuple[ProblemSearch, Future[None]]] = deque()
    pool = DaemonPool(num_parallel)
    try:
        while True:
            new = list(islice(searches, AHEAD * num_parallel - len(started)))
            threads.expect(len(new))  # before the first of them starts, or it would run alone
            started.extend((one, pool.submit(threads.play, one)) for one in new)
            if not started:
                return
            if not started[0][1].done():
                wait(
                    [future for _, future in started if not future.done()],
                    return_when=FIRST_COMPLETED,
                )
            finished = [(one, future) for one, future in started if future.done()]
            failures = [error for _, future in finished if (error := future.exception())]
            if failures:
                # the searches that are done wait for earlier ones in vain
                if done := [one for one, future in finished if future.exception() is None]:
                    yield done
                raise failures[0]
            done = []
            while started and started[0][1].done():
                done.append(started.popleft()[0])
            if done:
                yield done
    finally:
        threads.stop()
        for _, future in started:
            future.cancel()
        pool.close()
        wait([future for _, future in started], timeout=STOP_S)


class _SearchThreads:
    """What the threads share: the merged plug-ins, the run's progress, and how many searches run."""

    def __init__(
        self, components: SearchComponents, progress: RunProgress, num_parallel: int
    ) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._num_parallel = num_parallel
        self._left = self._running = 0
        self._progress = progress
        self._mergers: list[CallMerger] = []
        policy, reward_model = components.policy, components.reward_model
        shared_policy = _SharedPolicy(
            self._shared(policy, lambda asked: _propose(policy, asked)), num_parameters(policy)
        )
        shared_reward_model: RewardModel | None = None
        if reward_model is not None:
            shared_reward_model = _SharedRewardModel(
                self._shared(reward_model, reward_model.score), reward_model
            )
        self._components = replace(
            components, policy=shared_policy, reward_model=shared_reward_model
        )

    def _shared(self, model: object, call: Merge) -> Merge:
        """Return the call as searches make it: merged with others, or alone if the model is in front of a server."""

        def counted(items: list[Any]) -> list[Any]:
            with self._lock:
                self._progress.model_calls += 1
            return call(items)

        if isinstance(model, ServesConcurrently):
            return counted
        self._mergers.append(CallMerger(counted, lambda: self._running))
        return self._mergers[-1]

    def expect(self, count: int) -> None:
        """Count searches that are about to be played."""
        with self._lock:
            self._left += count
            self._running = min(self._left, self._num_parallel)

    def _select(self, one: ProblemSearch) -> bool:
        return not self._stopped and select_next(self._components, one, self._progress)

    def play(self, one: ProblemSearch) -> None:
        """Play one search to its end."""
        one.started = time.perf_counter()
        merged_calls = RunProgress()  # calls are counted when they are made, not for each search
        try:
            live = self._select(one)
            while live:
                live = bool(play_round(self._components, [one], merged_calls, select=self._select))
        finally:
            with self._lock:
                self._left -= 1
                self._running = min(self._left, self._num_parallel)
            for merger in self._mergers:
                merger.recheck()

    def stop(self) -> None:
        """Let every thread end at its next call or round."""
        self._stopped = True
        for merger in self._mergers:
            merger.close()

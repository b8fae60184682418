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
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from stepgym.agents.call_merging import (
    CallMerger,
    Merge,
    SharedPolicy,
    SharedRewardModel,
    propose_as_data,
)
from stepgym.agents.costs import num_parameters
from stepgym.agents.daemon_pool import DaemonPool
from stepgym.agents.rounds import (
    ProblemSearch,
    RunProgress,
    SearchComponents,
    play_round,
    select_next,
)
from stepgym.agents.types import RewardModel, ServesConcurrently

MAX_THREADS = 128
AHEAD = 4
"""Searches that may be started before the first of them has ended, in multiples of those that run at once."""
STOP_S = 1.0
"""How long a run that is stopped waits for its threads; one that waits for a server is abandoned."""


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
        shared_policy = SharedPolicy(
            self._shared(policy, partial(propose_as_data, policy)), num_parameters(policy)
        )
        shared_reward_model: RewardModel | None = None
        if reward_model is not None:
            shared_reward_model = SharedRewardModel(
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

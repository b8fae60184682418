"""Executors: play the problems of a run in this process or in worker processes.

The code that plays a slice of the problems is the same everywhere, and so are the records, apart from times and their
order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.jobs import Job, Stop, modules_of, never, slices
from stepgym.agents.randomness import reseeded
from stepgym.agents.run_setup import RunSetup, attempt_seed, open_setup
from stepgym.agents.solving import iter_solve, make_records
from stepgym.agents.types import ROOT, EpisodeRecord, SearchTree
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem, State
from stepgym.plugins.errors import UserError
from stepgym.plugins.processors import num_processors
from stepgym.plugins.worker_processes import (
    Part,
    Result,
    first_done,
    kill_workers,
    map_in_order,
    start_workers,
    submit,
)

MAX_STARTS = 8
"""After so many pools in a row that could start no worker, a run gives up."""
PAUSE_S = 0.1
"""Seconds before another try, longer each time: a fork server that was just killed still seems to run."""


@dataclass(frozen=True)
class InProcess:
    """Plays in this process."""

    def play(
        self, job: Job, indices: Sequence[int], *, stop: Stop = never
    ) -> Iterator[EpisodeRecord]:
        """Yield the records in order, each as early as possible."""
        with _open(job) as setup:
            yield from _play(setup, job, takewhile(lambda _: not stop(), indices))


IN_PROCESS = InProcess()


@dataclass(frozen=True)
class Workers:
    """Plays in `num_workers` processes of this machine (default: one for each processor).

    Each worker has one torch thread. A worker that dies (killed, out of memory) loses the slice in flight, which is
    played again, problem by problem; a problem whose worker dies twice gives a failed record. Workers end with their
    parent, however it ends.
    """

    num_workers: int | None = None

    def __post_init__(self) -> None:
        if self.num_workers is not None and self.num_workers < 1:
            raise UserError(f"the number of workers is 1 or more, not {self.num_workers}")

    def map(self, function: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
        """Yield the function's results in the order of the parts; see `map_in_order`."""
        return map_in_order(function, parts, num_workers=self.num_workers or num_processors())

    def play(
        self, job: Job, indices: Sequence[int], *, stop: Stop = never
    ) -> Iterator[EpisodeRecord]:
        """Yield the records slice by slice, in the order in which slices finish."""
        count = self.num_workers or num_processors()
        waiting = deque(slices(job, indices, count))
        num_idle = 0
        while waiting and not stop():
            before = len(waiting)
            lost = yield from _play_side_by_side(job, waiting, count, stop)
            yield from _play_one_by_one(job, lost)
            num_idle = num_idle + 1 if len(waiting) == before else 0
            time.sleep(PAUSE_S * num_idle)
            if num_idle == MAX_STARTS:
                raise UserError(
                    f"{count} worker processes cannot be started; run it again with fewer, or without"
                )


def _play_side_by_side(
    job: Job, waiting: deque[Sequence[int]], count: int, stop: Stop
) -> Generator[EpisodeRecord, None, list[int]]:
    """Play the slices that wait until all are done or a worker dies; return the problems that were in flight then."""
    pool = start_workers(count, [__name__, *modules_of(job)])
    running: dict[Future[list[EpisodeRecord]], Sequence[int]] = {}
    try:
        while running or (waiting and not stop()):
            while waiting and len(running) < count and not stop():
                running[submit(pool, play_slice, job, waiting[0])] = waiting[0]
                waiting.popleft()
            for future in first_done(pool, running):
                records = future.result()
                del running[future]
                yield from records
    except BrokenProcessPool:
        pass
    finally:
        kill_workers(pool)
    return [index for part in running.values() for index in part]


def _play_one_by_one(job: Job, indices: Sequence[int]) -> Iterator[EpisodeRecord]:
    """Play problems whose worker died, each alone, so that the blame is sure if a worker dies again."""
    pool: ProcessPoolExecutor | None = None
    try:
        for index in indices:
            pool = pool or start_workers(1, [__name__, *modules_of(job)])
            try:
                call = submit(pool, play_slice, job, [index])
                first_done(pool, [call])
                yield from call.result()
            except BrokenProcessPool:
                yield failed_record(job, index)
                kill_workers(pool)
                pool = None
    finally:
        if pool is not None:
            kill_workers(pool)


def play_slice(job: Job, indices: Sequence[int]) -> list[EpisodeRecord]:
    """Play a slice in a worker process; see `iter_slice`."""
    return list(iter_slice(job, indices))


def iter_slice(job: Job, indices: Sequence[int]) -> Iterator[EpisodeRecord]:
    """Play a slice in a worker process and yield its records.

    The objects of a job (policy, environment, sandbox) are made once and kept for its next slice.
    """
    return _play(_kept.setup(job), job, indices)


def forget_setup() -> None:
    """Drop the objects that this worker keeps: its sandbox has failed."""
    _kept.close()


class _Kept:
    """The objects of the job that this worker plays."""

    def __init__(self) -> None:
        self._job: Job | None = None
        self._stack = ExitStack()
        self._setup: RunSetup | None = None

    def close(self) -> None:
        self._setup = None
        self._stack.close()

    def setup(self, job: Job) -> RunSetup:
        if self._setup is None or self._job != job:
            self.close()
            self._setup = self._stack.enter_context(_open(job))
            self._job = job
        return self._setup


_kept = _Kept()


def _open(job: Job) -> Any:
    return open_setup(
        job.env_id,
        agent=job.agent,
        policy=job.policy,
        reward_model=job.reward_model,
        seed=job.seed,
        env_options=job.env_options,
        agent_settings=job.agent_settings,
        policy_settings=job.policy_settings,
    )


def _play(setup: RunSetup, job: Job, indices: Iterable[int]) -> Iterator[EpisodeRecord]:
    return play_attempt(
        setup,
        (setup.env.problems[index] for index in indices),
        budget=job.budget,
        seed=job.seed,
        attempt=job.attempt,
        see_verdicts=job.see_verdicts,
        num_parallel=job.num_parallel,
        continuous=job.continuous,
        verify_all=job.verify_all,
    )


def play_attempt(
    setup: RunSetup, problems: Iterable[Problem], *, seed: int, attempt: int, **settings: Any
) -> Iterator[EpisodeRecord]:
    """Play one attempt at each problem, with a seed of its own.

    `settings` are those of `stepgym.agents.iter_solve`.
    """
    own_seed = attempt_seed(seed, attempt)
    return iter_solve(
        problems,
        env=setup.env,
        agent=reseeded(setup.agent, own_seed) if attempt else setup.agent,
        agent_name=setup.agent_name,
        policy=reseeded(setup.policy, own_seed) if attempt else setup.policy,
        reward_model=setup.reward_model,
        seed=own_seed,
        attempt=attempt,
        **settings,
    )


def failed_record(job: Job, index: int) -> EpisodeRecord:
    """Return the record of a problem whose worker died twice."""
    env = load_env(job.env_id, **{"seed": job.seed, **job.env_options})
    problem: Problem = env.problems[index]
    tree = SearchTree(problem.id, [State(problem.prompt)])
    boundary.fail_tree(
        tree, boundary.Failure("worker: its process died twice at this problem (out of memory?)")
    )
    (record,) = make_records([problem], [tree], bests=[ROOT], env=env, attempt=job.attempt)
    env.close()
    return record

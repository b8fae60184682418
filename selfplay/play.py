"""Self-play: an agent plays an environment's problems, and each finished episode is written to a run folder at once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from stepgym.agents.description import describe, tokenizer_of
from stepgym.agents.executors import play_attempt
from stepgym.agents.jobs import Executor, Job, PlacesModels, Stop, never
from stepgym.agents.run_setup import (
    MAX_LISTED,
    AnyAgent,
    RunSetup,
    make_agent,
    open_setup,
    unwrapped,
)
from stepgym.agents.spending import Spending, Spends
from stepgym.agents.types import Budget, CountsRetries, EpisodeRecord, Policy, RewardModel, Search
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import stored_options
from stepgym.envs.types import Environment, Problem
from stepgym.plugins.errors import UserError
from stepgym.records.accuracy import DECIDED
from stepgym.records.atomic import write_whole
from stepgym.records.group_commit import written
from stepgym.records.run_folder import RunFolder, episode_key, read_episodes
from stepgym.records.statistics import summarise
from stepgym.records.types import EpisodeKey, RunConfig, RunSummary
from stepgym.training.examples import episode_is_correct
from stepgym.training.scheduled_problems import ScheduledProblems, scheduled_problems
from stepgym.training.types import OnProgress, Progress

MONEY_SETTINGS = ("price", "budget_usd")
"""Settings of a policy that may differ between the parts of one run."""
SCHEDULE_BATCH = 16
"""Problems that a mixture with a rule draws at once; after them it takes in the outcomes."""
SPENT_FILE = "spent.json"
"""In a run folder: the US dollars spent on it, unfinished episodes included."""


def selfplay(
    env: str | ReasoningEnv,
    *,
    out: str | Path,
    agent: str | Search = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    episodes: int | None = 100,
    seed: int = 0,
    level: int | None = None,
    env_options: Mapping[str, Any] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    policy_settings: Mapping[str, Any] | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 16,
    continuous: bool | None = None,
    attempts: int = 1,
    keep_failed: bool = False,
    progress: OnProgress | None = None,
    executor: Executor | None = None,
    stop: Stop = never,
) -> RunSummary:
    """Play the first `episodes` problems of `env` into the folder `out` and return a summary of the folder.

    `episodes=None` plays all of a finite set, and a number beyond its size means all of it. Each problem is played
    `attempts` times, with another seed each time. The same call resumes; a larger `episodes` or `attempts` extends the run.
    Episodes that failed are played again, unless `keep_failed`. `num_parallel` problems are searched side by side and
    are what an interruption loses (with `continuous`, which lets them run ahead of each other, up to four times as
    many). `see_verdicts` is as in `stepgym.agents.solve`. `progress` is called once each episode is on the disk; its
    figures are the number of new episodes, the share of the decided ones that is correct, counts of undecided and failed
    ones, and new tokens per second. Raises `ValueError` for unknown names and settings and `SandboxError`
    for a sandbox in `env_options` that cannot be opened, before anything is written; `SandboxError` also for a sandbox
    that is lost during the run, `RunStopped` for a server that is gone or money that is spent, `RunMismatchError` if `out` holds a run with other settings, `RunBusyError` while
    another process writes.

    An `executor` (`stepgym.agents.executors`) plays in other processes; everything is then given by name. Once `stop` says
    so, no more problems are started; those in flight are finished and written.
    """
    options = {**({} if level is None else {"level": level}), **(env_options or {})}
    if isinstance(env, str):
        options = stored_options(env, options)
    else:
        env = unwrapped(env)
    # Objects are described, names kept: the same names are the same run, whatever their defaults are.
    config = RunConfig(
        env_id=env if isinstance(env, str) else env.env_id,
        env_options=describe(options if isinstance(env, str) else describe_env(env)),
        agent=describe(agent),
        agent_settings=describe(agent_settings or {}),
        policy=describe(policy),
        policy_settings=describe(
            {
                name: value
                for name, value in (policy_settings or {}).items()
                if name not in MONEY_SETTINGS
            }
        ),
        reward_model=describe(reward_model),
        budget={
            name: limit for name, limit in asdict(budget or Budget()).items() if limit is not None
        },
        seed=seed,
        see_verdicts=see_verdicts,
    )
    job = None
    if executor is not None:
        job = Job(
            env_id=env,  # type: ignore[arg-type]  # a job refuses objects with a message
            env_options=options,
            agent=agent,  # type: ignore[arg-type]
            agent_settings=agent_settings or {},
            policy=policy,  # type: ignore[arg-type]
            policy_settings=policy_settings or {},
            reward_model=reward_model,  # type: ignore[arg-type]
            budget=budget,
            seed=seed,
            see_verdicts=see_verdicts,
            num_parallel=num_parallel,
            continuous=continuous,
            verify_all=True,
        )
        if isinstance(executor, PlacesModels):
            job = executor.with_models(job)
        policy, policy_settings, reward_model = job.policy, job.policy_settings, job.reward_model
    with open_setup(
        env,
        agent=agent,
        policy=policy,
        reward_model=reward_model,
        seed=seed,
        env_options=options,
        agent_settings=agent_settings,
        policy_settings=policy_settings,
        try_sandbox=not isinstance(executor, PlacesModels),  # else programs run on other machines
    ) as setup:
        if executor is not None and isinstance(setup.policy, Spends) and setup.policy.spending:
            raise UserError("--price and --budget-usd count in one process; leave out --workers")
        config = with_tokenizer(config, setup.policy)
        course = scheduled_problems(setup.env, Path(out))
        if course is not None:
            if executor is not None:
                raise UserError(
                    "a mixture with a rule waits for the outcomes of each batch; leave out --workers or rule"
                )
            batch_of = partial(_play_here, setup, config)
            _play_scheduled(
                course,
                out,
                config,
                lambda attempt: partial(batch_of, attempt, num_parallel, continuous, stop),
                policy=setup.policy,
                num_episodes=_count(setup.env, episodes),
                attempts=attempts,
                progress=progress,
                stop=stop,
            )
            return summarise(out)
        problems = first_problems(setup.env, episodes)
        for attempt in range(attempts):
            job = replace(job, attempt=attempt) if job is not None else None
            play = (
                partial(_play_here, setup, config, attempt, num_parallel, continuous, stop)
                if executor is None or job is None
                else partial(play_elsewhere, executor, job, problems, stop=stop)
            )
            for _ in write_episodes(
                out,
                config,
                problems,
                play,
                policy=setup.policy,
                attempt=attempt,
                keep_failed=keep_failed or attempt > 0,  # set aside once, when the run is opened
                progress=progress,
                task="play" if attempts == 1 else f"attempt {attempt + 1} of {attempts}",
            ):
                pass
    return summarise(out)


def _play_scheduled(
    course: ScheduledProblems,
    out: str | Path,
    config: RunConfig,
    player: Callable[[int], Callable[[Sequence[Problem]], Iterable[EpisodeRecord]]],
    *,
    policy: Policy,
    num_episodes: int,
    attempts: int,
    progress: OnProgress | None,
    stop: Stop,
) -> None:
    """Play the problems that a mixture's schedule draws, `SCHEDULE_BATCH` at a time, and take in their outcomes.

    A batch that is finished is not played again, failed episodes included; one that is not is completed.
    """
    is_begun = (Path(out) / "episodes.jsonl").exists()
    before = {episode_key(record) for record in read_episodes(out)} if is_begun else set()
    for start in range(0, num_episodes, SCHEDULE_BATCH):
        numbers = range(start, min(start + SCHEDULE_BATCH, num_episodes))
        is_done, problems = course.is_done(numbers), course.draw(numbers)
        wanted = {
            EpisodeKey(problem.id, attempt) for problem in problems for attempt in range(attempts)
        }
        if is_done and wanted <= before:
            continue
        played: list[EpisodeRecord] = []
        for attempt in range(attempts):
            played += write_episodes(
                out,
                config,
                problems,
                player(attempt),
                policy=policy,
                attempt=attempt,
                progress=progress and _shifted(progress, start, num_episodes),
                task=f"mixture, attempt {attempt + 1} of {attempts}" if attempts > 1 else "mixture",
            )
        if len(played) < attempts * len(problems):  # some were played before an interruption
            played = list(read_episodes(out))
        if stop():
            return
        if is_done:  # only attempts were added
            continue
        places = {problem.id: place for place, problem in enumerate(problems)}
        mine = [record for record in played if record.problem_id in places]
        mine.sort(key=lambda record: (places[record.problem_id], record.attempt))
        outcomes = ((record.problem_id, episode_is_correct(record)) for record in mine)
        course.observe(numbers, [(id, correct) for id, correct in outcomes if correct is not None])


def _shifted(progress: OnProgress, done_before: int, total: int) -> OnProgress:
    """Return progress over all batches from progress within one."""
    return lambda each: progress(each._replace(done=done_before + each.done, total=total))


def play_into(
    path: str | Path,
    config: RunConfig,
    problems: Sequence[Problem],
    *,
    env: Environment,
    policy: Policy,
    reward_model: RewardModel | None = None,
    agent: AnyAgent | None = None,
    agent_name: str | None = None,
    num_parallel: int = 64,
    continuous: bool | None = None,
    attempt: int = 0,
    keep_failed: bool = True,
    progress: OnProgress | None = None,
    task: str = "play",
) -> Iterator[EpisodeRecord]:
    """Play the problems that a run folder does not hold yet; yield each episode once it is on the disk.

    `config` says how. `attempt` numbers the attempts at a problem; the policy and the agent draw with a seed of its own.
    Without `keep_failed`, episodes that failed before are played again. An agent that is made already may be given as `agent`, with the name that records call it. `progress`
    is called as in `selfplay`. Raises as `RunFolder` does.
    """
    setup = RunSetup(
        env,
        make_agent(config.agent, seed=config.seed, settings=config.agent_settings)
        if agent is None
        else agent,
        agent_name or str(config.agent),
        policy,
        reward_model,
    )
    config = with_tokenizer(config, policy)
    yield from write_episodes(
        path,
        config,
        problems,
        partial(_play_here, setup, config, attempt, num_parallel, continuous, never),
        policy=policy,
        attempt=attempt,
        keep_failed=keep_failed,
        progress=progress,
        task=task,
    )


def write_episodes(
    path: str | Path,
    config: RunConfig,
    problems: Sequence[Problem],
    play: Callable[[Sequence[Problem]], Iterable[EpisodeRecord]],
    *,
    policy: Policy,
    attempt: int = 0,
    keep_failed: bool = True,
    progress: OnProgress | None = None,
    task: str = "play",
) -> Iterator[EpisodeRecord]:
    """Let `play` play the problems that a run folder does not hold yet; yield each record once it is on the disk.

    `play` may give its records in any order; `policy` is asked what it spent. Raises as `RunFolder` does.
    """
    with RunFolder(path, config, keep_failed=keep_failed) as folder:
        left = [
            problem for problem in problems if EpisodeKey(problem.id, attempt) not in folder.done
        ]
        spending = policy.spending if isinstance(policy, Spends) else None
        tally = _Tally(policy, spending)
        if spending is not None:
            spending.spent_usd = max(spending.spent_usd, spent_usd(path))
        try:
            for record in written(folder, play(left)):
                tally.add(record)
                if progress is not None:
                    done = len(problems) - len(left) + tally.verdicts.total()
                    progress(Progress(task, done, len(problems), "episodes", tally.figures()))
                yield record
        finally:
            if spending is not None:
                spent = json.dumps({"usd": spending.spent_usd})
                write_whole(Path(path) / SPENT_FILE, spent + "\n")


def spent_usd(path: str | Path) -> float:
    """Return the US dollars that were spent on a run: what its file says, or more if its episodes add up to more."""
    file = Path(path) / SPENT_FILE
    try:
        total = float(json.loads(file.read_text(encoding="utf-8"))["usd"])
    except (OSError, ValueError, TypeError, KeyError):  # the writer was killed before its end
        total = 0.0
    return max(total, sum(record.usage.get("usd", 0.0) for record in read_episodes(path)))


def _play_here(
    setup: RunSetup,
    config: RunConfig,
    attempt: int,
    num_parallel: int,
    continuous: bool | None,
    stop: Stop,
    problems: Sequence[Problem],
) -> Iterator[EpisodeRecord]:
    """Play in this process."""
    limits: dict[str, Any] = dict(config.budget)
    return play_attempt(
        setup,
        takewhile(lambda _: not stop(), problems),
        budget=Budget(**limits) if limits else None,
        seed=config.seed,
        attempt=attempt,
        see_verdicts=config.see_verdicts,
        num_parallel=num_parallel,
        continuous=continuous,
        verify_all=True,
    )


def play_elsewhere(
    executor: Executor,
    job: Job,
    problems: Sequence[Problem],
    left: Sequence[Problem],
    *,
    stop: Stop = never,
) -> Iterator[EpisodeRecord]:
    """Let an executor play what is left of the first problems of the job's environment."""
    places = {problem.id: place for place, problem in enumerate(problems)}
    return executor.play(job, [places[problem.id] for problem in left], stop=stop)


def with_tokenizer(config: RunConfig, policy: Policy) -> RunConfig:
    """Note the policy's tokenizer in the settings of a run, unless they name one."""
    if config.tokenizer is not None:
        return config
    return replace(config, tokenizer=tokenizer_of(describe(policy)))


class _Tally:
    """Counts new episodes as they come."""

    def __init__(self, policy: Policy, spending: Spending | None) -> None:
        self._policy, self._spending = policy, spending
        self.verdicts: Counter[str] = Counter()
        self._new_tokens = 0.0
        self._started = time.monotonic()

    def add(self, record: EpisodeRecord) -> None:
        self.verdicts[record.verdict] += 1
        self._new_tokens += record.usage.get("visible_tokens", 0)
        self._new_tokens += record.usage.get("reasoning_tokens", 0)

    def figures(self) -> dict[str, float]:
        decided = sum(self.verdicts[verdict] for verdict in DECIDED)
        found = {"new": float(self.verdicts.total())}
        if decided:
            found["solved"] = self.verdicts["correct"] / decided
        found |= {
            name: float(self.verdicts[name])
            for name in ("undecided", "failed")
            if self.verdicts[name]
        }
        seconds = time.monotonic() - self._started
        if self._new_tokens and seconds > 0:
            found["tokens/s"] = self._new_tokens / seconds
        if self._spending is not None:
            found["usd"] = self._spending.spent_usd
        if isinstance(self._policy, CountsRetries) and self._policy.num_retries:
            found["retries"] = float(self._policy.num_retries)
        return found


def first_problems(env: Environment, episodes: int | None) -> list[Problem]:
    """Return the first problems of an environment, all of a finite set for `None`.

    Raises `UserError` if all of an endless set are asked for.
    """
    return [env.problems[index] for index in range(_count(env, episodes))]


def _count(env: Environment, episodes: int | None) -> int:
    size = len(env.problems)
    if episodes is None and size > MAX_LISTED:
        raise UserError(
            f"the problems {env.problems.name} have no end: say how many episodes to play"
        )
    return size if episodes is None else min(episodes, size)


def describe_env(env: ReasoningEnv) -> dict[str, Any]:
    """Return the settings that identify an environment object."""
    if env.spec is not None:
        return dict(env.spec.kwargs)
    return {
        name: getattr(env, name) for name in ("problems", "domain", "verifier", "step_verifier")
    }

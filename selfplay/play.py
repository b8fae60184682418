"""Self-play: an agent plays an environment's problems, and each finished episode is written to a run folder at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from stepgym.agents.description import describe, tokenizer_of
from stepgym.agents.run_setup import AnyAgent, open_setup
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Budget, EpisodeRecord, Policy, RewardModel, Search
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Environment, Problem
from stepgym.plugins.errors import UserError
from stepgym.records.group_commit import written
from stepgym.records.run_folder import RunFolder
from stepgym.records.statistics import summarise
from stepgym.records.types import EpisodeKey, RunConfig, RunSummary
from stepgym.training.types import OnProgress, Progress


def selfplay(
    env: str | ReasoningEnv,
    *,
    out: str | Path,
    agent: str | Search = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    episodes: int = 100,
    seed: int = 0,
    level: int | None = None,
    env_options: Mapping[str, Any] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    policy_settings: Mapping[str, Any] | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 16,
    continuous: bool = False,
    progress: OnProgress | None = None,
) -> RunSummary:
    """Play the first `episodes` problems of `env` into the folder `out` and return a summary of the folder.

    The same call resumes; a larger `episodes` extends the run. `num_parallel` problems are searched side by side and
    are what an interruption loses (with `continuous`, which lets them run ahead of each other, up to four times as
    many). `see_verdicts` is as in `stepgym.agents.solve`. `progress` is called once each episode is on the disk; its
    figures count the new episodes by verdict. Raises `ValueError` for unknown names and settings and `SandboxError`
    for a sandbox in `env_options` that cannot be opened, before anything is written; `SandboxError` also for a sandbox
    that is lost during the run, `RunMismatchError` if `out` holds a run with other settings, `RunBusyError` while
    another process writes.
    """
    options = {**({} if level is None else {"level": level}), **(env_options or {})}
    # Objects are described, names kept: the same names are the same run, whatever their defaults are.
    config = RunConfig(
        env_id=env if isinstance(env, str) else env.env_id,
        env_options=describe(options if isinstance(env, str) else describe_env(env)),
        agent=describe(agent),
        agent_settings=describe(agent_settings or {}),
        policy=describe(policy),
        policy_settings=describe(policy_settings or {}),
        reward_model=describe(reward_model),
        budget={
            name: limit for name, limit in asdict(budget or Budget()).items() if limit is not None
        },
        seed=seed,
        see_verdicts=see_verdicts,
    )
    with open_setup(
        env,
        agent=agent,
        policy=policy,
        reward_model=reward_model,
        seed=seed,
        env_options=options,
        agent_settings=agent_settings,
        policy_settings=policy_settings,
    ) as setup:
        problems = setup.env.problems
        if episodes > len(problems):
            raise UserError(
                f"episodes={episodes}, but {setup.env.env_id} has {len(problems)} problems"
            )
        for _ in play_into(
            out,
            config,
            [problems[index] for index in range(episodes)],
            env=setup.env,
            agent=setup.agent,
            agent_name=setup.agent_name,
            policy=setup.policy,
            reward_model=setup.reward_model,
            num_parallel=num_parallel,
            continuous=continuous,
            progress=progress,
        ):
            pass
    return summarise(out)


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
    continuous: bool = False,
    progress: OnProgress | None = None,
    task: str = "self-play",
) -> Iterator[EpisodeRecord]:
    """Play the problems that a run folder does not hold yet; yield each episode once it is on the disk.

    `config` says how. An agent that is made already may be given as `agent`, with the name that records call it. The figures of
    `progress` count the new episodes by verdict. Raises as `RunFolder` does.
    """
    if config.tokenizer is None:
        config = replace(config, tokenizer=tokenizer_of(describe(policy)))
    limits: dict[str, Any] = dict(config.budget)
    with RunFolder(path, config) as folder:
        left = [problem for problem in problems if EpisodeKey(problem.id) not in folder.done]
        verdicts: Counter[str] = Counter()
        records = iter_solve(
            left,
            env=env,
            agent=config.agent if agent is None else agent,
            agent_settings=config.agent_settings if agent is None else None,
            agent_name=agent_name,
            policy=policy,
            reward_model=reward_model,
            budget=Budget(**limits) if limits else None,
            seed=config.seed,
            see_verdicts=config.see_verdicts,
            num_parallel=num_parallel,
            continuous=continuous,
            verify_all=True,
        )
        for record in written(folder, records):
            verdicts[record.verdict] += 1
            if progress is not None:
                done = len(problems) - len(left) + verdicts.total()
                figures = {name: float(count) for name, count in verdicts.most_common()}
                progress(Progress(task, done, len(problems), "episodes", figures))
            yield record


def describe_env(env: ReasoningEnv) -> dict[str, Any]:
    """Return the settings that make an environment object what it is."""
    if env.spec is not None:
        return dict(env.spec.kwargs)
    return {
        name: getattr(env, name) for name in ("problems", "domain", "verifier", "step_verifier")
    }

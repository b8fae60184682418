"""Self-play: an agent plays an environment's problems, and every finished episode goes to a run folder at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepgym.agents.description import describe
from stepgym.agents.run_setup import open_setup
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Budget, EpisodeRecord, Policy, RewardModel, Search
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import RunFolder
from stepgym.records.statistics import summarise
from stepgym.records.types import EpisodeKey, RunConfig, RunSummary


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
    on_episode: Callable[[EpisodeRecord], object] | None = None,
) -> RunSummary:
    """Play the first `episodes` problems of `env` into the folder `out` and return what is there then.

    The same call goes on where an earlier one stopped; a larger `episodes` extends the run. `num_parallel` problems
    are searched side by side and are what an interruption loses (with `continuous`, which lets them run ahead of each
    other, up to four times as many). `see_verdicts` is as of `stepgym.agents.solve`. `on_episode` hears of each episode once it is on
    the disk. Raises `ValueError` for unknown names and settings and `SandboxError` where the sandbox named in
    `env_options` cannot be had, before anything is written; `SandboxError` also where it is lost on the way,
    `RunMismatchError` where `out` holds a run with other settings, `RunBusyError` while another process writes.
    """
    options = {**({} if level is None else {"level": level}), **(env_options or {})}
    # Objects are described, names kept: the same names are the same run, whatever their defaults come to.
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
        where = setup.env
        if episodes > len(where.problems):
            raise UserError(
                f"episodes={episodes}, but {where.env_id} has {len(where.problems)} problems"
            )
        with RunFolder(out, config) as folder:
            for record in iter_solve(
                _waiting(where, episodes, folder.done),
                env=where,
                agent=setup.agent,
                agent_name=setup.agent_name,
                policy=setup.policy,
                reward_model=setup.reward_model,
                budget=budget,
                seed=seed,
                see_verdicts=see_verdicts,
                num_parallel=num_parallel,
                continuous=continuous,
                verify_all=True,
            ):
                folder.append(record)
                if on_episode is not None:
                    on_episode(record)
    return summarise(out)


def describe_env(env: ReasoningEnv) -> dict[str, Any]:
    """Return what makes an environment that is an object what it is."""
    if env.spec is not None:
        return dict(env.spec.kwargs)
    return {
        name: getattr(env, name) for name in ("problems", "domain", "verifier", "step_verifier")
    }


def _waiting(env: ReasoningEnv, episodes: int, done: set[EpisodeKey]) -> Iterator[Problem]:
    finished = frozenset(done)  # what this run adds meanwhile must not make the generator skip
    for index in range(episodes):
        problem = env.problems[index]
        if EpisodeKey(problem.id) not in finished:
            yield problem

"""From the names of environment, agent, policy and reward model to the objects of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stepgym.agents.registry import load_policy, load_reward_model, load_search
from stepgym.agents.types import Policy, RewardModel, Search
from stepgym.envs.registry import load_env
from stepgym.envs.types import Environment, Problem, Wrapped
from stepgym.plugins.errors import UserError
from stepgym.sandbox import open_sandbox

MAX_LISTED = 1_000_000
"""Problem sets up to this size are solved as a whole unless `episodes` limits them."""


class RunSetup(NamedTuple):
    """The objects of a run."""

    env: Any
    """A `ReasoningEnv`."""
    agent: Search
    agent_name: str
    """As records name the agent: the name it was made by, or its class."""
    policy: Policy
    reward_model: RewardModel | None


@contextmanager
def open_setup(
    env: Any,
    *,
    agent: str | Search,
    policy: str | Policy,
    reward_model: str | RewardModel | None = None,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    policy_settings: Mapping[str, Any] | None = None,
) -> Iterator[RunSetup]:
    """Make everything that is given by name, and close the environment at the end if it was made here.

    The environment and the agent come first, because they are cheap and often mistyped; a sandbox that `env_options`
    names is opened once before a model is loaded. Raises `UserError` for unknown names and settings and
    `SandboxError` for a sandbox that cannot be opened.
    """
    options = {"seed": seed, **(env_options or {})}
    made = load_env(env, **options) if isinstance(env, str) else None
    try:
        search = make_agent(agent, seed=seed, settings=agent_settings)
        if made is not None and isinstance(options.get("sandbox"), str):
            open_sandbox(options["sandbox"]).close()
        if isinstance(reward_model, str):
            reward_model = load_reward_model(reward_model, seed=seed)
        if isinstance(policy, str):
            policy = load_policy(policy, **{"seed": seed, **(policy_settings or {})})
        where = made if made is not None else unwrapped(env)
        yield RunSetup(where, search, agent_name(agent), policy, reward_model)
    finally:
        if made is not None:
            made.close()


def make_agent(agent: str | Search, *, seed: int, settings: Mapping[str, Any] | None) -> Search:
    """Return the agent itself, or make it by name; `seed` is passed on if it accepts one."""
    if not isinstance(agent, str):
        if settings:
            raise UserError(
                f"agent_settings={dict(settings)!r} need an agent by name, not {agent!r}"
            )
        return agent
    return load_search(agent, **{"seed": seed, **(settings or {})})


def agent_name(agent: str | Search) -> str:
    """Return the name of an agent for records: its name, or its class."""
    return agent if isinstance(agent, str) else type(agent).__name__


def unwrapped(env: Any) -> Any:
    """Return the environment inside Gymnasium's wrappers."""
    return env.unwrapped if isinstance(env, Wrapped) else env


def choose_problems(
    problems: Any,
    env: Any,
    *,
    episodes: int | None = None,
    seed: int = 0,
    level: int | None = None,
    env_options: Mapping[str, Any] | None = None,
) -> tuple[Iterable[Problem], Environment]:
    """Return the problems to solve and the environment that they belong to.

    `problems` is an environment, its id, a problem, or problems of the environment `env`. Raises `UserError`.
    """
    is_env = isinstance(problems, str) or isinstance(unwrapped(problems), Environment)
    where = _environment(problems if is_env else env, seed, level, env_options)
    if not is_env:
        given = [problems] if isinstance(problems, Problem) else list(problems)
        return given[:episodes], where
    source = where.problems
    if episodes is None:
        episodes = len(source) if len(source) <= MAX_LISTED else 1
    if episodes > len(source):
        raise UserError(f"episodes={episodes}, but {source.name} has {len(source)} problems")
    return (source[index] for index in range(episodes)), where


def _environment(
    env: Any, seed: int, level: int | None, env_options: Mapping[str, Any] | None
) -> Environment:
    if env is None:
        raise UserError("a list of problems needs env=: an environment or the id of one")
    if isinstance(env, str):
        options = {**({} if level is None else {"level": level}), **(env_options or {})}
        return load_env(env, **{"seed": seed, **options})
    where: Environment = unwrapped(env)
    return where

"""From the names of environment, agent, policy and reward model to the objects of a run."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeGuard

from stepgym.agents.agent_runs import AgentLike
from stepgym.agents.episode import Agent
from stepgym.agents.policies.verified_steps import pruned
from stepgym.agents.randomness import derive_seed
from stepgym.agents.registry import SEARCHES, load_policy, load_reward_model
from stepgym.agents.types import Policy, RewardModel, Search, Selective
from stepgym.envs.registry import load_env
from stepgym.envs.types import Environment, Problem, Wrapped
from stepgym.plugins.errors import UserError
from stepgym.plugins.registry import make
from stepgym.sandbox import open_sandbox

MAX_LISTED = 1_000_000
"""Problem sets up to this size are solved as a whole unless `episodes` limits them."""


AnyAgent = Search | AgentLike
"""What can be given as an agent: a search, an agent that drives itself, or a class of either."""


class RunSetup(NamedTuple):
    """The objects of a run."""

    env: Any
    """A `ReasoningEnv`."""
    agent: AnyAgent
    agent_name: str
    """As records name the agent: the name it was made by, or its class."""
    policy: Policy
    reward_model: RewardModel | None


@contextmanager
def open_setup(
    env: Any,
    *,
    agent: str | AnyAgent | type,
    policy: str | Policy,
    reward_model: str | RewardModel | None = None,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    policy_settings: Mapping[str, Any] | None = None,
    try_sandbox: bool = True,
) -> Iterator[RunSetup]:
    """Make everything that is given by name, and close the environment at the end if it was made here.

    The environment and the agent come first, because they are cheap and often mistyped; with `try_sandbox` a sandbox that
    `env_options` names is opened once before a model is loaded. Raises `UserError` for unknown names and settings and
    `SandboxError` for a sandbox that cannot be opened.
    """
    options = {"seed": seed, **(env_options or {})}
    made = load_env(env, **options) if isinstance(env, str) else None
    try:
        settings = dict(agent_settings or {})
        prune = {"prune": settings.pop("prune")} if "prune" in settings else {}
        made_agent = make_agent(agent, seed=seed, settings=settings)
        if try_sandbox and made is not None and isinstance(options.get("sandbox"), str):
            open_sandbox(options["sandbox"]).close()
        if isinstance(reward_model, str):
            reward_model = load_reward_model(reward_model, seed=seed)
        if isinstance(policy, str):
            policy = load_policy(policy, **{"seed": seed, **(policy_settings or {})})
        where = made if made is not None else unwrapped(env)
        if isinstance(made_agent, Search):
            _require_playable(where, policy, reward_model)
        policy, _ = pruned(policy, where, prune)
        yield RunSetup(where, made_agent, agent_name(agent), policy, reward_model)
    finally:
        if made is not None:
            made.close()


def _require_playable(env: Any, *plug_ins: Any) -> None:
    """Let policy and reward model refuse the environment at its first problem. Raises `UserError`."""
    selective = [plug_in for plug_in in plug_ins if isinstance(plug_in, Selective)]
    if not selective or not isinstance(env, Environment) or not len(env.problems):
        return
    state = env.domain.initial(env.problems[0])
    for plug_in in selective:
        try:
            plug_in.require_playable(state)
        except UserError as error:
            raise UserError(f"environment {env.env_id}: {error}") from error


def make_agent(
    agent: str | AnyAgent | type, *, seed: int, settings: Mapping[str, Any] | None = None
) -> AnyAgent:
    """Return the agent itself, or make it by its name or from its class; `seed` is passed on if it accepts one.

    A function is an agent if its first parameter has no default. Raises `UserError` for what is no agent.
    """
    given = dict(settings or {})
    found = SEARCHES.find(agent) if isinstance(agent, str) else agent
    if is_function(found) and takes_argument(found):
        if given:
            raise UserError(f"agent_settings={given!r}: the agent {found!r} is a function")
        return found
    if isinstance(agent, str) and (
        isinstance(found, type) or not isinstance(found, Search | Agent)
    ):
        found = SEARCHES.load(agent, **{"seed": seed, **given})
    elif isinstance(agent, type):
        found = make(f"agent {agent.__name__!r}", agent, given)
    elif given:
        raise UserError(f"agent_settings={given!r} need an agent by name, not {agent!r}")
    if isinstance(found, Search | Agent):
        return found
    raise UserError(
        f"{agent!r} is no agent: a search has select, backup and best; an agent has act(episode), or is a function of "
        "an environment"
    )


def is_function(thing: object) -> TypeGuard[Callable[[Any], Any]]:
    """Return whether a thing is a plain function or method."""
    return inspect.isfunction(thing) or inspect.ismethod(thing)


def takes_argument(function: Callable[..., Any]) -> bool:
    """Return whether a function must be given its first argument."""
    parameters = list(inspect.signature(function).parameters.values())
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        bool(parameters)
        and parameters[0].kind in positional
        and parameters[0].default is inspect.Parameter.empty
    )


def agent_name(agent: str | AnyAgent | type) -> str:
    """Return the name of an agent for records: the name it is given by, that of the function, or its class."""
    if isinstance(agent, str):
        return agent
    return agent.__name__ if is_function(agent) or isinstance(agent, type) else type(agent).__name__


def attempt_seed(seed: int, attempt: int) -> int:
    """Return the seed of the `attempt`-th attempt at each problem; that of the first is `seed` itself."""
    return seed if attempt == 0 else derive_seed(seed, "attempt", attempt) % 2**31


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

"""Who plays what: from the names of environment, agent, policy and reward model to objects that are ready to play."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from stepgym.agents.registry import load_policy, load_reward_model, load_search
from stepgym.agents.types import Policy, RewardModel, Search
from stepgym.plugins.errors import UserError


class Players(NamedTuple):
    """All that takes part in a run."""

    env: Any
    """A `ReasoningEnv`."""
    search: Search
    policy: Policy
    reward_model: RewardModel | None


@contextmanager
def open_players(
    env: Any,
    *,
    agent: str | Search,
    policy: str | Policy,
    reward_model: str | RewardModel | None = None,
    seed: int = 0,
    env_options: Mapping[str, Any] | None = None,
    agent_settings: Mapping[str, Any] | None = None,
    policy_settings: Mapping[str, Any] | None = None,
) -> Iterator[Players]:
    """Resolve everything that is a name, what is cheap and often mistyped first, and close at the end what was opened.

    A sandbox that `env_options` names is tried out before a model is loaded. Raises `ValueError` for unknown names
    and settings and `SandboxError` for a sandbox that cannot be had.
    """
    options = {"seed": seed, **(env_options or {})}
    where = (
        importlib.import_module("stepgym.envs.registry").load_env(env, **options)
        if isinstance(env, str)
        else env
    )
    try:
        search = make_search(agent, seed, agent_settings)
        if isinstance(env, str) and isinstance(options.get("sandbox"), str):
            importlib.import_module("stepgym.sandbox").open_sandbox(options["sandbox"]).close()
        if isinstance(reward_model, str):
            reward_model = load_reward_model(reward_model, seed=seed)
        if isinstance(policy, str):
            policy = load_policy(policy, **{"seed": seed, **(policy_settings or {})})
        yield Players(getattr(where, "unwrapped", where), search, policy, reward_model)
    finally:
        if isinstance(env, str):
            where.close()


def make_search(agent: str | Search, seed: int, settings: Mapping[str, Any] | None) -> Search:
    """Return the search itself, or make it by name; `seed` is passed on where it takes one."""
    if not isinstance(agent, str):
        if settings:
            raise UserError(
                f"agent_settings={dict(settings)!r} need an agent by name, not {agent!r}"
            )
        return agent
    return load_search(agent, **{"seed": seed, **(settings or {})})

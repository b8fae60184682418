"""Names of searches, policies and reward models. To add one: its file, its line here, its test.

Everything is a dotted path, so that nothing heavy is imported before it is asked for. Other packages add names
through the entry points `stepgym.searches`, `stepgym.policies` and `stepgym.reward_models`.
"""

from __future__ import annotations

import inspect
from typing import Any, cast

from stepgym.agents.types import Policy, RewardModel, Search
from stepgym.plugins.names import resolve
from stepgym.plugins.settings import check_types

SEARCHES = {
    "greedy": "stepgym.agents.search.greedy:Greedy",
    "best_of_n": "stepgym.agents.search.best_of_n:BestOfN",
    "beam": "stepgym.agents.search.beam:Beam",
    "dvts": "stepgym.agents.search.dvts:DVTS",
    "lookahead": "stepgym.agents.search.lookahead:Lookahead",
    "mcts": "stepgym.agents.search.mcts:MCTS",
    "revise": "stepgym.agents.search.revise:Revise",
    "ab_mcts": "stepgym.agents.search.ab_mcts:ABMCTS",
    "adaptive": "stepgym.agents.search.adaptive:Adaptive",
    "bisect": "stepgym.agents.search.bisect:Bisect",
}

POLICIES = {
    "embedded": "stepgym.agents.embedded.policy:EmbeddedPolicy",
    "random": "stepgym.agents.policies.scripted:RandomLegalPolicy",
    "smollm2": "stepgym.agents.policies.transformers_policy:smollm2",
}

REWARD_MODELS = {
    "embedded": "stepgym.agents.embedded.reward:EmbeddedRewardModel",
    "random": "stepgym.agents.policies.scripted:RandomRewardModel",
    "log_prob": "stepgym.agents.policies.reward_models:LogProbReward",
}

PREFIXES = {
    "embedded": "stepgym.agents.embedded.policy:EmbeddedPolicy",
    "hf": "stepgym.agents.policies.transformers_policy:TransformersPolicy",
    "chat": "stepgym.agents.policies.chat_policy:ChatPolicy",
    "budget_forcing": "stepgym.agents.policies.budget_forcing:load",
}
"""`prefix:rest` -> what is called with the rest of the name (`embedded:FOLDER`, `hf:NAME_OR_FOLDER`, `chat:URL#MODEL`)."""

PATTERNS = {
    "embedded": "embedded:FOLDER",
    "hf": "hf:NAME_OR_FOLDER",
    "chat": "chat:URL#MODEL",
    "budget_forcing": "budget_forcing:NAME",
}
"""How a name with each prefix goes on."""

REWARD_PREFIXES = {
    "embedded": "stepgym.agents.embedded.reward:EmbeddedRewardModel",
    "hf": "stepgym.agents.policies.transformers_reward:TransformersRewardModel",
}
"""The same for reward models."""


def load_search(name: str, *, seed: int | None = None, **settings: Any) -> Search:
    """Make the search called `name`; a setting it does not have is an error that lists those it has."""
    return cast(Search, _load("agent", name, SEARCHES, "stepgym.searches", seed, settings))


def load_policy(name: str, *, seed: int | None = None, **settings: Any) -> Policy:
    """Make the policy called `name`; `seed` is passed on where the policy takes one."""
    return cast(Policy, _load("policy", name, POLICIES, "stepgym.policies", seed, settings))


def load_reward_model(name: str, *, seed: int | None = None, **settings: Any) -> RewardModel:
    """Make the reward model called `name`; `seed` is passed on where it takes one."""
    return cast(
        RewardModel,
        _load("reward model", name, REWARD_MODELS, "stepgym.reward_models", seed, settings),
    )


def _load(
    kind: str,
    name: str,
    known: dict[str, str],
    group: str,
    seed: int | None,
    settings: dict[str, Any],
) -> Any:
    prefix, colon, rest = name.partition(":")
    prefixes = {"policy": PREFIXES, "reward model": REWARD_PREFIXES}.get(kind, {})
    if colon and prefix in prefixes:
        factory = resolve(prefix, kind=kind, known=prefixes)
        return _make(kind, name, factory, _with_seed(factory, seed, settings), rest)
    found = resolve(
        name,
        kind=kind,
        known=known,
        group=group,
        patterns=[PATTERNS[prefix] for prefix in prefixes],
    )
    return _make(kind, name, found, _with_seed(found, seed, settings))


def _with_seed(factory: Any, seed: int | None, settings: dict[str, Any]) -> dict[str, Any]:
    if seed is None or "seed" in settings or not callable(factory):
        return settings
    takes_seed = "seed" in inspect.signature(factory).parameters
    return {**settings, "seed": seed} if takes_seed else settings


def _make(kind: str, name: str, found: Any, settings: dict[str, Any], *rest: str) -> Any:
    """Call what the name stands for; an object that is ready already is returned as it is."""
    if not callable(found):
        return found
    check_settings(kind, name, found, settings)
    return found(*rest, **settings)


def check_settings(kind: str, name: str, taker: Any, settings: dict[str, Any]) -> None:
    """Raise `ValueError` for a setting that `taker` does not have, with those it has (any is good for `**settings`), or of a wrong type."""
    parameters = inspect.signature(taker).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    unknown = [key for key in settings if key not in parameters]
    if unknown and not takes_any:
        raise ValueError(
            f"{kind} {name!r} has no setting {unknown[0]!r}; it has: {', '.join(parameters)}"
        )
    check_types(f"{kind} {name!r}", taker, settings)

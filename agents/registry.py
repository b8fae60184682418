"""Names of searches, policies and reward models. To add one: its file, its line here, its test.

Everything is a dotted path, so that a heavy module is imported only if its name is used. Other packages add names
through the entry points `stepgym.searches`, `stepgym.policies` and `stepgym.reward_models`.
"""

from __future__ import annotations

from typing import Any, cast

from stepgym.agents.model_names import resolved
from stepgym.agents.types import Policy, RewardModel, Search
from stepgym.plugins.registry import Prefix, Registry

SEARCHES = Registry(
    "agent",
    {
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
    },
    "stepgym.searches",
    also="stepgym.agents",
)
POLICIES = Registry(
    "policy",
    {
        "embedded": "stepgym.agents.embedded.policy:EmbeddedPolicy",
        "random": "stepgym.agents.policies.scripted:RandomLegalPolicy",
        "smollm2": "stepgym.agents.policies.transformers_policy:smollm2",
    },
    "stepgym.policies",
    {
        "embedded": Prefix("stepgym.agents.embedded.policy:EmbeddedPolicy", "embedded:FOLDER"),
        "hf": Prefix(
            "stepgym.agents.policies.transformers_policy:TransformersPolicy", "hf:NAME_OR_FOLDER"
        ),
        "chat": Prefix("stepgym.agents.policies.chat_policy:ChatPolicy", "chat:URL#MODEL"),
        "budget_forcing": Prefix(
            "stepgym.agents.policies.budget_forcing:load", "budget_forcing:NAME"
        ),
        "ray": Prefix("stepgym.agents.ray_models:RemotePolicy", "ray:ACTORS"),
    },
)
REWARD_MODELS = Registry(
    "reward model",
    {
        "embedded": "stepgym.agents.embedded.reward:EmbeddedRewardModel",
        "random": "stepgym.agents.policies.scripted:RandomRewardModel",
        "log_prob": "stepgym.agents.policies.reward_models:LogProbReward",
    },
    "stepgym.reward_models",
    {
        "embedded": Prefix("stepgym.agents.embedded.reward:EmbeddedRewardModel", "embedded:FOLDER"),
        "hf": Prefix(
            "stepgym.agents.policies.transformers_reward:TransformersRewardModel",
            "hf:NAME_OR_FOLDER",
        ),
        "qwen-prm": Prefix("stepgym.agents.reward_models.published:qwen_prm", "qwen-prm:MODEL"),
        "math-shepherd": Prefix(
            "stepgym.agents.reward_models.published:math_shepherd", "math-shepherd:MODEL"
        ),
        "skywork-prm": Prefix(
            "stepgym.agents.reward_models.published:skywork_prm", "skywork-prm:MODEL"
        ),
        "orm": Prefix("stepgym.agents.reward_models.published:orm", "orm:MODEL"),
        "served": Prefix(
            "stepgym.agents.reward_models.served:ServedRewardModel", "served:URL#MODEL"
        ),
        "judge": Prefix("stepgym.agents.reward_models.judge:Judge", "judge:URL#MODEL"),
        "ray": Prefix("stepgym.agents.ray_models:RemoteRewardModel", "ray:ACTORS"),
    },
)


def load_search(name: str, *, seed: int | None = None, **settings: Any) -> Search:
    """Make the search called `name`, such as `mcts`, with its settings.

    `seed` is passed on if the search accepts one. Raises `UnknownNameError` or `SettingError`.
    """
    return cast(Search, SEARCHES.load(name, seed=seed, **settings))


def load_policy(name: str, *, seed: int | None = None, **settings: Any) -> Policy:
    """Make the policy called `name`, or the one saved in the folder `name`.

    `seed` is passed on if the policy accepts one. Raises `UnknownNameError` or `SettingError`.
    """
    return cast(Policy, POLICIES.load(resolved(name, "policy"), seed=seed, **settings))


def load_reward_model(name: str, *, seed: int | None = None, **settings: Any) -> RewardModel:
    """Make the reward model called `name`, or the one saved in the folder `name`.

    `seed` is passed on if it accepts one. Raises `UnknownNameError` or `SettingError`.
    """
    return cast(RewardModel, REWARD_MODELS.load(resolved(name, "prm"), seed=seed, **settings))

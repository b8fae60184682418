"""GRPO of language models, by TRL, straight on an environment: groups of episodes of one problem, paid by the verifier.

TRL asks for completions and gets episodes: `TransformersPolicy` plays them step by step as it does under search (the
group shares its prompt's keys and values), the environment's replies stand in between and are not learned from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.policies.writing import Opening, Written
from stepgym.envs.types import Problem, State
from stepgym.records.near_duplicates import likeness
from stepgym.training import trl_run
from stepgym.training.fit import Progress, TrainingError
from stepgym.training.grpo import Variant
from stepgym.training.language import POLICY_CLASS, adapters, load

if TYPE_CHECKING:
    from stepgym.training.run import TrainConfig

VARIANTS: dict[str, dict[str, Any]] = {
    Variant.GRPO: {"loss_type": "grpo", "scale_rewards": "group"},
    Variant.DR_GRPO: {"loss_type": "dr_grpo", "scale_rewards": "none"},
    Variant.DAPO: {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28},
}
"""TRL's settings for each published variant. (DAPO's drawing groups again when all agree is not in TRL.)"""


@dataclass(slots=True)
class Episode:
    """One episode as tokens; `own` says which of them are the policy's."""

    problem: Problem
    state: State
    prompt_ids: list[int]
    ids: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)

    def add(self, ids: Sequence[int], *, own: bool) -> None:
        self.ids += ids
        self.own += [int(own)] * len(ids)


def train_rollouts(config: TrainConfig, *, progress: Progress | None = None) -> dict[str, Any]:
    """Train a language model on an environment's verdicts and save it where `hf:FOLDER` finds it."""
    from stepgym.training.run import playground

    trl_run.require_trl("grpo")
    if done := trl_run.finished(config):
        return done
    import datasets
    from trl import GRPOConfig, GRPOTrainer

    loaded = load(config, POLICY_CLASS)
    env = playground(config)
    groups = max(1, config.batch // config.group)
    problems = playable(env, config, groups * config.steps)

    def verified(completions: Any, reward: list[float], **_: Any) -> list[float]:
        return reward

    # Made before TRL wraps the model: adapters are put into this very object, and it is played without the wrapping.
    policy = TransformersPolicy(
        LanguageModel(loaded.model, loaded.tokenizer),
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=config.max_new_tokens,
    )

    def roll_out(asked: list[str], trainer: Any) -> dict[str, Any]:
        policy.seed = config.seed * 1_000_003 + trainer.state.global_step
        policy.store.clear()
        episodes = play(
            policy, env, [problems[prompt] for prompt in asked], max_steps=config.max_steps
        )
        return {
            "prompt_ids": [episode.prompt_ids for episode in episodes],
            "completion_ids": [episode.ids for episode in episodes],
            "logprobs": None,
            "env_mask": [episode.own for episode in episodes],
            "reward": rewards(env, episodes),
        }

    with trl_run.quietly():
        trainer = GRPOTrainer(
            model=loaded.model,
            reward_funcs=verified,
            args=GRPOConfig(
                **trl_run.arguments(config, loaded),
                **VARIANTS[config.variant],
                beta=0.0,
                num_generations=config.group,
                per_device_train_batch_size=groups * config.group,
                max_completion_length=config.max_new_tokens * config.max_steps,
            ),
            train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in problems]),
            processing_class=loaded.tokenizer,
            peft_config=adapters(config, POLICY_CLASS) if config.lora else None,
            rollout_func=roll_out,
        )
    try:
        return trl_run.run(trainer, loaded, config, num_examples=len(problems), progress=progress)
    finally:
        env.close()


def playable(env: Any, config: TrainConfig, count: int) -> dict[str, Problem]:
    """Return up to `count` problems by their prompts, none twice and none like one that is kept apart."""
    prompts_apart = (
        json.loads(Path(config.apart).read_text(encoding="utf-8")) if config.apart else ()
    )
    apart = {likeness(prompt) for prompt in prompts_apart}
    found: dict[str, Problem] = {}
    for i in range(min(len(env.problems), 4 * count)):
        problem = env.problems[i]
        if likeness(problem.prompt) not in apart and len(found) < count:
            found[problem.prompt] = problem
    if not found:
        raise TrainingError(f"all problems of {config.env} are kept apart by {config.apart}")
    return found


def play(
    policy: TransformersPolicy, env: Any, problems: Sequence[Problem], *, max_steps: int
) -> list[Episode]:
    """Play one episode of each problem to its end; equal problems get samples of their own."""
    episodes = []
    for problem in problems:
        state = env.domain.initial(problem)
        episodes.append(Episode(problem, state, list(policy.layout.ids(state))))
    for _ in range(max_steps):
        live = [episode for episode in episodes if not episode.state.done]
        if not live:
            break
        for episode, written in zip(live, _write(policy, [episode.state for episode in live])):
            if written is not None:
                _go_on(policy, env, episode, written)
    for episode in episodes:
        if (
            not episode.ids
        ):  # a prompt that leaves no room: TRL wants a token, and none of it is learned
            episode.add([policy.tokenizer.eos_token_id], own=False)
    return episodes


def rewards(env: Any, episodes: Sequence[Episode]) -> list[float]:
    """Return 1 for a verified answer, 0 for one that is refuted, undecided or missing."""
    answers = [episode.state.answer or "" for episode in episodes]
    verdicts = env.verifier.verify([episode.problem for episode in episodes], answers)
    return [
        float(e.state.answer is not None and verdict.correct)
        for e, verdict in zip(episodes, verdicts)
    ]


def _write(policy: TransformersPolicy, states: Sequence[State]) -> list[Written | None]:
    """Return one continuation per state; those of equal states are children of one prefix, each a sample of its own."""
    members: dict[State, list[int]] = {}
    for i, state in enumerate(states):
        members.setdefault(state, []).append(i)
    written, _ = policy.extend(
        [Opening(state, num_children=len(at)) for state, at in members.items()]
    )
    found: list[Written | None] = [None] * len(states)
    for at, each in zip(members.values(), written):
        for i, one in zip(at, each):
            found[i] = one
    return found


def _go_on(policy: TransformersPolicy, env: Any, episode: Episode, written: Written) -> None:
    """Add what the policy read since its last step, and the step's own tokens."""
    read = list(written.step.context_ids or ())[len(episode.prompt_ids) :]
    while episode.ids != read[: len(episode.ids)]:  # an end token that the policy did not read back
        episode.ids.pop()
        episode.own.pop()
    episode.add(read[len(episode.ids) :], own=False)
    episode.add(written.step.token_ids or (), own=True)
    [episode.state] = env.domain.advance([episode.state], [written.step])

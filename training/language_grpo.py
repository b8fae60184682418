"""GRPO of language models, straight on an environment: groups of episodes of one problem, rewarded by the verifier.

`TransformersPolicy` plays the episodes step by step as it does under search (a group shares its prompt's keys and
values). The tokens that it sampled are the tokens that are learned; the environment's replies stand between them and
are not learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.policies.writing import Opening, Written
from stepgym.envs.types import Problem, State
from stepgym.records.near_duplicates import likeness
from stepgym.training import grpo
from stepgym.training.config import TrainConfig
from stepgym.training.grpo import Answer, GrpoFit, rewards_of
from stepgym.training.language_models import (
    POLICY_CLASS,
    UNLABELLED,
    TokenRow,
    half_precision,
    learned_log_probs,
    load,
)
from stepgym.training.types import Baseline, GrpoVariant, OnProgress, TrainingError


@dataclass(slots=True)
class TokenEpisode:
    """One episode as tokens; `own` says which tokens after the prompt are the policy's."""

    problem: Problem
    state: State
    prompt_ids: list[int]
    ids: list[int] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)
    steps: list[tuple[int, ...]] = field(default_factory=list)
    """The own tokens of each step."""
    failed: bool = False
    """The policy could not go on."""

    def add(self, ids: Sequence[int], *, own: bool) -> None:
        self.ids += ids
        self.own += [own] * len(ids)

    @property
    def row(self) -> TokenRow:
        targets = [1.0 if own else UNLABELLED for own in self.own]
        return TokenRow(
            (*self.prompt_ids, *self.ids), (*[UNLABELLED] * len(self.prompt_ids), *targets)
        )


def train_language_grpo(
    config: TrainConfig, env: Any, *, progress: OnProgress | None = None
) -> GrpoFit:
    """Train a language model on an environment's verdicts and save it where `hf:FOLDER` finds it."""
    loaded = load(config, POLICY_CLASS)
    per_step = max(1, config.batch // config.group)
    known = playable(env, config, per_step * config.steps)
    # Adapters are put into `loaded.model` itself, so it is played without their wrapping.
    policy = TransformersPolicy(
        LanguageModel(loaded.model, loaded.tokenizer),
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=config.max_new_tokens,
    )

    def sample(problems: range, *, step: int) -> list[list[Answer]]:
        policy.seed = config.seed * 1_000_003 + step
        policy.store.clear()
        asked = [known[i % len(known)] for i in problems for _ in range(config.group)]
        with half_precision(loaded.model):
            episodes = play(policy, env, asked, max_steps=config.max_steps)
        answers = answers_of(env, episodes, undecidable_is_wrong=config.undecidable_is_wrong)
        return [answers[at : at + config.group] for at in range(0, len(answers), config.group)]

    def log_probs(answers: Sequence[Answer]) -> Tensor:
        return learned_log_probs(loaded.trained, [answer.sample for answer in answers])

    return grpo.train_grpo(
        loaded.trained,
        sample,
        log_probs,
        variant=GrpoVariant(config.variant),
        baseline=Baseline(config.baseline),
        problems_per_step=per_step,
        inner=1,
        save=loaded.save,
        schedule=config.schedule,
        out=Path(config.out),
        progress=progress,
        task="train grpo",
    )


def playable(env: Any, config: TrainConfig, count: int) -> list[Problem]:
    """Return up to `count` problems, equal prompts once, and none like an excluded prompt."""
    file = config.exclude_prompts
    excluded = json.loads(Path(file).read_text(encoding="utf-8")) if file else ()
    unlike = {likeness(prompt) for prompt in excluded}
    found: dict[str, Problem] = {}
    for i in range(min(len(env.problems), 4 * count)):
        problem = env.problems[i]
        if likeness(problem.prompt) not in unlike and len(found) < count:
            found[problem.prompt] = problem
    if not found:
        raise TrainingError(f"all problems of {config.env} are like a prompt in {file}")
    return list(found.values())


def play(
    policy: TransformersPolicy, env: Any, problems: Sequence[Problem], *, max_steps: int
) -> list[TokenEpisode]:
    """Play one episode of each problem to its end; equal problems get independent samples."""
    episodes = []
    for problem in problems:
        state = env.domain.initial(problem)
        episodes.append(TokenEpisode(problem, state, list(policy.layout.ids(state))))
    for _ in range(max_steps):
        live = [each for each in episodes if not each.state.done and not each.failed]
        if not live:
            break
        for episode, written in zip(live, _write(policy, [each.state for each in live])):
            if written is None:
                episode.failed = True
            else:
                _take_step(policy, env, episode, written)
    return episodes


def answers_of(
    env: Any, episodes: Sequence[TokenEpisode], *, undecidable_is_wrong: bool
) -> list[Answer]:
    """Verify the episodes' answers."""
    rewards = rewards_of(
        env.verifier,
        [episode.problem for episode in episodes],
        [episode.state.answer for episode in episodes],
        undecidable_is_wrong=undecidable_is_wrong,
    )
    return [
        Answer(
            steps=tuple(episode.steps),
            sizes=tuple(map(len, episode.steps)),
            reward=None if episode.failed else reward,
            masked_as="failed" if episode.failed else "undecided",
            sample=episode.row,
        )
        for episode, reward in zip(episodes, rewards)
    ]


def _write(policy: TransformersPolicy, states: Sequence[State]) -> list[Written | None]:
    """Return one continuation per state; equal states are read once and continued by independent samples."""
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


def _take_step(
    policy: TransformersPolicy, env: Any, episode: TokenEpisode, written: Written
) -> None:
    """Add what the policy read since its last step, and the step's own tokens."""
    read = list(written.step.context_ids or ())[len(episode.prompt_ids) :]
    while episode.ids != read[: len(episode.ids)]:  # an end token that the policy did not read back
        episode.ids.pop()
        episode.own.pop()
    own = written.step.token_ids or ()
    episode.add(read[len(episode.ids) :], own=False)
    episode.add(own, own=True)
    episode.steps.append(own)
    [episode.state] = env.domain.advance([episode.state], [written.step])

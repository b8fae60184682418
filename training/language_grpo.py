"""GRPO of language models, straight on an environment: the units that are learned are the tokens that were sampled.

`TransformersPolicy` plays as it does under search, and nothing is tokenised anew; prompts and the environment's
replies are read but not learned.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from stepgym.agents.policies.loading import LanguageModel
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Problem
from stepgym.records.near_duplicates import likeness
from stepgym.records.rollouts import rollouts_of
from stepgym.records.types import Rollout
from stepgym.training import grpo
from stepgym.training.config import TrainConfig
from stepgym.training.grpo import GrpoFit, LearnedPath, Played, Units
from stepgym.training.language_models import (
    POLICY_CLASS,
    UNLABELLED,
    TokenRow,
    half_precision,
    learned_log_probs,
    load,
)
from stepgym.training.scheduled_problems import ScheduledProblems, scheduled_problems
from stepgym.training.types import Baseline, GrpoVariant, OnProgress, TrainingError


def train_language_grpo(
    config: TrainConfig, env: Any, *, progress: OnProgress | None = None
) -> GrpoFit:
    """Train a language model on an environment's verdicts and save it where `hf:FOLDER` finds it."""
    loaded = load(config, POLICY_CLASS)
    per_step = max(1, config.batch // config.group)
    course = scheduled(env, config)
    known = [] if course else playable(env, config, per_step * config.steps)
    baseline = Baseline(config.baseline)
    # Adapters are put into `loaded.model` itself, so it is played without their wrapping.
    policy = TransformersPolicy(
        LanguageModel(loaded.model, loaded.tokenizer),
        temperature=1.0,
        top_p=1.0,
        max_new_tokens=config.max_new_tokens,
    )

    def sample(step: int, problems: range) -> Played:
        policy.seed = config.seed * 1_000_003 + step
        policy.store.clear()
        chosen = course.draw(problems) if course else [known[i % len(known)] for i in problems]
        with half_precision(loaded.model):
            played = grpo.play(
                chosen,
                env=env,
                policy=policy,
                search=grpo.sampler(config.group, baseline),
                undecidable_is_wrong=config.undecidable_is_wrong,
            )
        if course:
            course.observe(problems, grpo.sample_outcomes(played.records))
        return played

    def log_probs(samples: Sequence[TokenRow]) -> Tensor:
        return learned_log_probs(loaded.trained, samples)

    return grpo.train_grpo(
        loaded.trained,
        sample,
        token_units,
        log_probs,
        variant=GrpoVariant(config.variant),
        baseline=baseline,
        problems_per_step=per_step,
        inner=1,
        refill=config.refill,
        save=loaded.save,
        schedule=config.schedule,
        out=Path(config.out),
        progress=progress,
        task="train grpo",
    )


def scheduled(env: Any, config: TrainConfig) -> ScheduledProblems | None:
    """Return the problems of a mixture with a schedule, `None` for any other environment."""
    course = scheduled_problems(env, Path(config.out))
    if course is not None and config.exclude_prompts:
        raise TrainingError(
            "exclude_prompts is not for a mixture with a rule; leave one of them out"
        )
    return course


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


def token_units(record: EpisodeRecord, paths: Sequence[LearnedPath]) -> list[list[Units]]:
    """Return the sampled tokens of each path: one part, or several if the policy read its state anew on the way."""
    wanted = {path.nodes for path in paths}
    found: dict[tuple[int, ...], list[Units]] = {(): []}
    nodes: tuple[int, ...] = ()
    parts: list[Units] = []
    for rollout in rollouts_of(record):
        nodes, parts = (*nodes, *rollout.nodes), [*parts, _units(rollout)]
        if record.nodes[nodes[-1]].end is not None:
            found[nodes] = parts
            nodes, parts = (), []
    if not wanted <= found.keys():
        raise TrainingError(
            f"the policy gave no tokens for an answer to {record.problem_id}; GRPO needs the tokens it sampled"
        )
    return [found[path.nodes] for path in paths]


def token_row(rollout: Rollout) -> TokenRow:
    """Return a rollout as a row: the policy's own tokens are learned."""
    targets = [1.0 if own else UNLABELLED for own in rollout.is_own]
    prompt = rollout.prompt_ids
    return TokenRow((*prompt, *rollout.ids), (*[UNLABELLED] * len(prompt), *targets))


def _units(rollout: Rollout) -> Units:
    starts = (0, *rollout.step_ends[:-1])
    sizes = (sum(rollout.is_own[a:b]) for a, b in zip(starts, rollout.step_ends))
    return Units(tuple(sizes), token_row(rollout))

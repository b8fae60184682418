"""GRPO for the embedded models: a group of answers to each problem, sampled side by side, rewarded by the verifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Unpack

from torch import Tensor

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.envs.types import Problem
from stepgym.training import grpo
from stepgym.training.embedded_trainers import step_log_probs, step_rows
from stepgym.training.fit import FitOptions
from stepgym.training.grpo import Answer, GrpoFit, rewards_of
from stepgym.training.types import Baseline, GrpoVariant


def train_embedded_grpo(
    model: Any,
    env: Any,
    *,
    variant: GrpoVariant = GrpoVariant.GRPO,
    baseline: Baseline = Baseline.GROUP,
    group: int = 8,
    problems_per_step: int = 16,
    inner: int = 2,
    undecidable_is_wrong: bool = False,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> GrpoFit:
    """Improve the policy on the problems of `env` in place; see `grpo.train_grpo`."""

    def sample(problems: range, *, step: int) -> list[list[Answer]]:
        policy = EmbeddedPolicy(model=model, distinct=False, seed=seed + step)
        asked = [env.problems[i] for i in problems]
        return sample_answers(policy, env, asked, group, undecidable_is_wrong=undecidable_is_wrong)

    def log_probs(answers: Sequence[Answer]) -> Tensor:
        return step_log_probs(model, [rows for answer in answers for rows in answer.sample])

    return grpo.train_grpo(
        model,
        sample,
        log_probs,
        variant=variant,
        baseline=baseline,
        problems_per_step=problems_per_step,
        inner=inner,
        save=net.save,
        **options,
    )


def sample_answers(
    policy: EmbeddedPolicy,
    env: Any,
    problems: Sequence[Problem],
    group: int,
    *,
    undecidable_is_wrong: bool = False,
) -> list[list[Answer]]:
    """Return `group` independent answers to each problem; their samples are the rows of each step."""
    asked = [problem for problem in problems for _ in range(group)]
    states = [env.domain.initial(problem) for problem in asked]
    steps: list[list[tuple[Any, str]]] = [[] for _ in asked]
    failed: set[int] = set()
    while live := [i for i, state in enumerate(states) if not state.done and i not in failed]:
        drawn = [replace(states[i], draw=i % group) for i in live]
        for i, proposed in zip(live, policy.propose(drawn, [1] * len(live))):
            if not proposed:
                failed.add(i)
                continue
            steps[i].append((states[i].public, proposed[0].text))
            [states[i]] = env.domain.advance([states[i]], proposed[:1])
    rewards = rewards_of(
        env.verifier,
        asked,
        [state.answer for state in states],
        undecidable_is_wrong=undecidable_is_wrong,
    )
    rows = iter(step_rows(policy.game, [step for taken in steps for step in taken]))
    answers = [
        Answer(
            steps=tuple(text for _, text in taken),
            sizes=(1,) * len(taken),
            reward=None if i in failed else reward,
            masked_as="failed" if i in failed else "undecided",
            sample=[next(rows) for _ in taken],
        )
        for i, (taken, reward) in enumerate(zip(steps, rewards))
    ]
    return [answers[at : at + group] for at in range(0, len(answers), group)]

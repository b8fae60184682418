"""GRPO for the embedded models, straight on an environment: groups of answers to one problem, paid by the verifier.

Three published variants of one update: `grpo` (Shao et al. 2024, advantages over the group's deviation, mean per
answer), `dr_grpo` (Liu et al. 2025, neither division), `dapo` (Yu et al. 2025, mean per token, a wider upper clip,
groups that all agree drawn again).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.envs.types import Problem, State
from stepgym.training.boards import Row, choice_rows, step_log_probs
from stepgym.training.examples import Choice
from stepgym.training.fit import Fit, Progress, Schedule, fit


class Variant(StrEnum):
    """Which published form of the update."""

    GRPO = "grpo"
    DR_GRPO = "dr_grpo"
    DAPO = "dapo"


class GrpoFit(NamedTuple):
    """What a run came to."""

    fit: Fit
    reward: float
    """Share of answers that were verified, over the steps of the last report; NaN for a run that was finished before."""
    num_problems: int
    """How many were asked; DAPO asks more where groups agree."""


class Rollouts(NamedTuple):
    """One step's data: every step taken, what it is worth, and its share in the mean."""

    rows: list[list[Row]]
    old: Tensor
    advantages: Tensor
    weights: Tensor
    solved: float


def train_grpo(
    model: Any,
    env: Any,
    *,
    schedule: Schedule,
    variant: Variant = Variant.GRPO,
    group: int = 8,
    problems_per_step: int = 16,
    inner: int = 2,
    clip: float = 0.2,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> GrpoFit:
    """Improve the policy on the problems of `env` in place; `inner` updates are made on each group of rollouts."""
    latest: dict[int, Rollouts] = {}
    rewards: deque[float] = deque(maxlen=max(1, schedule.report_every // inner))

    def reward() -> float:
        return sum(rewards) / len(rewards) if rewards else math.nan

    def loss(step: int) -> Tensor:
        number = step // inner
        if number not in latest:
            latest.clear()
            latest[number] = play(
                model,
                env,
                number,
                variant=variant,
                group=group,
                num_problems=problems_per_step,
                seed=seed,
            )
            rewards.append(latest[number].solved)
        data = latest[number]
        if not data.rows:
            return torch.stack([p.sum() for p in model.parameters()]).sum() * 0.0
        ratio = torch.exp(step_log_probs(model, data.rows) - data.old)
        upper = 1 + clip * (1.4 if variant is Variant.DAPO else 1.0)
        worth = torch.minimum(
            ratio * data.advantages, ratio.clamp(1 - clip, upper) * data.advantages
        )
        return -(worth * data.weights).sum()

    done = fit(
        model,
        loss,
        schedule=schedule,
        out=out,
        progress=progress,
        together=inner,
        measured=lambda: {"reward": reward()},
    )
    return GrpoFit(done, reward(), math.ceil(schedule.steps / inner) * problems_per_step)


def play(
    model: Any, env: Any, number: int, *, variant: Variant, group: int, num_problems: int, seed: int
) -> Rollouts:
    """Let the model answer fresh problems `group` times each; problems of one step never come again in another."""
    policy = EmbeddedPolicy(model=model, distinct=False, seed=seed + number)
    paths: list[tuple[int, list[tuple[Any, str]], float]] = []
    rounds = 3 if variant is Variant.DAPO else 1
    solved = []
    for again in range(rounds):
        first = (number * rounds + again) * num_problems
        problems = [env.problems[first + i] for i in range(num_problems)]
        ends = roll_out(policy, env, problems, group)
        solved += [reward for _, reward in ends]
        for i in range(num_problems):
            rewards = [reward for _, reward in ends[i * group : (i + 1) * group]]
            if variant is not Variant.DAPO or 0 < sum(rewards) < group:
                paths += [
                    (first + i, path, reward) for path, reward in ends[i * group : (i + 1) * group]
                ]
        if len(paths) >= num_problems * group // 2:
            break
    return _weigh(model, paths, variant, sum(solved) / len(solved))


def roll_out(
    policy: EmbeddedPolicy, env: Any, problems: Sequence[Problem], group: int
) -> list[tuple[list[tuple[Any, str]], float]]:
    """Return `group` sampled answers to each problem: the boards and steps, and 1.0 where it is verified."""
    owners = [problem for problem in problems for _ in range(group)]
    states = [env.domain.initial(problem) for problem in owners]
    paths: list[list[tuple[Any, str]]] = [[] for _ in owners]
    while live := [i for i, state in enumerate(states) if not state.done]:
        asked = [_drawn(states[i], i % group) for i in live]
        for i, steps in zip(live, policy.propose(asked, [1] * len(live))):
            paths[i].append((states[i].public, steps[0].text))
            states[i] = env.domain.advance([states[i]], [steps[0]])[0]
    answers = [state.answer or "" for state in states]
    verdicts = env.verifier.verify(owners, answers)
    return [(path, float(verdict.correct)) for path, verdict in zip(paths, verdicts)]


def _drawn(state: State, number: int) -> State:
    return State(state.prompt, state.steps, public=state.public, draw=number)


def _weigh(
    model: Any,
    paths: list[tuple[int, list[tuple[Any, str]], float]],
    variant: Variant,
    solved: float,
) -> Rollouts:
    by_problem: dict[int, list[float]] = {}
    for number, _, reward in paths:
        by_problem.setdefault(number, []).append(reward)
    choices, advantages, weights = [], [], []
    num_steps = sum(len(path) for _, path, _ in paths)
    for number, path, reward in paths:
        rewards = by_problem[number]
        mean = sum(rewards) / len(rewards)
        spread = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
        scale = 1.0 if variant is Variant.DR_GRPO else 1 / (spread + 1e-4)
        weight = 1 / (len(paths) * len(path)) if variant is Variant.GRPO else 1 / num_steps
        for board, text in path:
            choices.append(Choice(board, {text: 1.0}))
            advantages.append((reward - mean) * scale)
            weights.append(weight)
    rows: list[list[Row]] = [[] for _ in choices]
    for row in choice_rows(model.config.stepgym_game, choices)[0]:
        rows[row.example].append(row)
    with torch.no_grad():
        old = step_log_probs(model, rows) if rows else torch.zeros(0)
    return Rollouts(rows, old, torch.tensor(advantages), torch.tensor(weights), solved)

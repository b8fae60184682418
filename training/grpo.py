"""GRPO (Shao et al. 2024): sample answers to a problem, verify them, and raise the better ones above their baseline.

What is shared by the embedded models (`embedded_grpo`) and language models (`language_grpo`): rewards, advantages,
weights and the clipped objective. Answers that are UNDECIDED or failed are masked: they are in no baseline, no loss
and no success rate, and are counted apart.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, Protocol, Unpack

import torch
from torch import Tensor

from stepgym.envs.types import Fault, Problem, Status, Verifier
from stepgym.training.fit import FitOptions, fit
from stepgym.training.types import Baseline, Fit, GrpoVariant

_EPSILON = 1e-4
"""Added to a deviation before dividing by it."""


class Answer(NamedTuple):
    """One sampled answer to a problem."""

    steps: tuple[Hashable, ...]
    """What tells each step from its siblings; answers that begin with equal steps share them."""
    sizes: tuple[int, ...]
    """The units of each step that are learned: tokens for language models, 1 for embedded models."""
    reward: float | None
    """`None` masks the answer."""
    masked_as: str = ""
    """Why it is masked: `undecided` or `failed`."""
    sample: Any = None
    """What the model's trainer needs to compute the log-probabilities of the units."""


class Batch(NamedTuple):
    """One step's data: decided answers, and for each of their units its advantage and its share in the mean."""

    answers: list[Answer]
    advantages: Tensor
    weights: Tensor
    reward: float
    """Mean over the decided answers; NaN if there are none."""
    masked: Counter[str]
    num_problems: int


class GrpoFit(NamedTuple):
    """The outcome of a GRPO run."""

    fit: Fit
    reward: float
    """Mean over the decided answers of the last report; NaN for a run that was finished before."""
    undecided: int
    failed: int
    num_problems: int
    """How many were asked since the run was started or resumed."""


class Sampler(Protocol):
    """Samples a group of answers to each of some problems, given by their numbers in the environment."""

    def __call__(self, problems: range, *, step: int) -> list[list[Answer]]: ...


def rewards_of(
    verifier: Verifier,
    problems: Sequence[Problem],
    answers: Sequence[str | None],
    *,
    undecidable_is_wrong: bool = False,
) -> list[float | None]:
    """Return 1 for a correct answer, 0 for an incorrect or missing one, `None` for an UNDECIDED one.

    With `undecidable_is_wrong`, an answer that is UNDECIDED through its own fault is worth 0 as well.
    """
    given = [at for at, answer in enumerate(answers) if answer is not None]
    verdicts = verifier.verify([problems[at] for at in given], [str(answers[at]) for at in given])
    rewards: list[float | None] = [0.0] * len(answers)
    for at, verdict in zip(given, verdicts):
        decided = verdict.status is not Status.UNDECIDED or (
            undecidable_is_wrong and verdict.fault is Fault.ANSWER
        )
        rewards[at] = float(verdict.correct) if decided else None
    return rewards


def advantages(answers: Sequence[Answer], *, baseline: Baseline, scaled: bool) -> list[list[float]]:
    """Return the advantage of each step of decided answers to one problem.

    `group`: an answer's reward minus the mean of all. `fork`: at each fork of the tree that the answers make, the
    mean reward of the answers through a step minus the mean of those through the fork; steps after it up to the next
    fork inherit that. Answers that share no step have the same advantages either way. `scaled` divides by the
    deviation of the rewards that the baseline is the mean of.
    """
    rewards = [_reward(answer) for answer in answers]
    found = [[0.0] * len(answer.steps) for answer in answers]
    if baseline is Baseline.GROUP:
        return [
            [_advantage([reward], rewards, scaled)] * len(answer.steps)
            for answer, reward in zip(answers, rewards)
        ]
    waiting = [(list(range(len(answers))), 0, 0.0)]
    while waiting:
        members, depth, inherited = waiting.pop()
        siblings: dict[Hashable, list[int]] = {}
        for i in members:
            steps = answers[i].steps
            key = ("step", steps[depth]) if depth < len(steps) else ("end", i)
            siblings.setdefault(key, []).append(i)
        below = [rewards[i] for i in members]
        for same in siblings.values():
            through = [rewards[i] for i in same]
            own = _advantage(through, below, scaled) if len(siblings) > 1 else inherited
            going_on = [i for i in same if depth < len(answers[i].steps)]
            for i in going_on:
                found[i][depth] = own
            if going_on:
                waiting.append((going_on, depth + 1, own))
    return found


def make_batch(
    groups: Sequence[Sequence[Answer]], *, variant: GrpoVariant, baseline: Baseline = Baseline.GROUP
) -> Batch:
    """Weigh the answers of some groups; each group holds the answers to one problem."""
    masked = Counter(a.masked_as for group in groups for a in group if a.reward is None)
    decided = [[answer for answer in group if answer.reward is not None] for group in groups]
    answers = [answer for group in decided for answer in group]
    num_units = sum(sum(answer.sizes) for answer in answers)
    per_unit: list[float] = []
    weights: list[float] = []
    for group in decided:
        scaled = variant is not GrpoVariant.DR_GRPO
        for answer, of_steps in zip(group, advantages(group, baseline=baseline, scaled=scaled)):
            for size, advantage in zip(answer.sizes, of_steps):
                per_unit += [advantage] * size
            size = sum(answer.sizes)
            share = 1 / (len(answers) * size) if variant is GrpoVariant.GRPO and size else 0.0
            weights += [share if variant is GrpoVariant.GRPO else 1 / num_units] * size
    reward = sum(map(_reward, answers)) / len(answers) if answers else math.nan
    return Batch(
        answers, torch.tensor(per_unit), torch.tensor(weights), reward, masked, len(groups)
    )


def objective(
    log_probs: Tensor, old: Tensor, batch: Batch, *, variant: GrpoVariant, clip: float
) -> Tensor:
    """Return the clipped objective's loss, given the units' log-probabilities now and when they were sampled."""
    advantages, weights = (t.to(log_probs.device) for t in (batch.advantages, batch.weights))
    ratio = torch.exp(log_probs - old)
    upper = 1 + clip * (1.4 if variant is GrpoVariant.DAPO else 1.0)
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - clip, upper) * advantages)
    return -(gain * weights).sum()


def train_grpo(
    model: Any,
    sample: Sampler,
    log_probs: Callable[[Sequence[Answer]], Tensor],
    *,
    variant: GrpoVariant,
    baseline: Baseline,
    problems_per_step: int,
    inner: int,
    save: Callable[[Any, Any], None],
    clip: float = 0.2,
    **options: Unpack[FitOptions],
) -> GrpoFit:
    """Improve the policy in place; `inner` updates are made on each batch. No problem is asked in two batches.

    DAPO draws up to three times as many problems until half of the groups disagree; groups that agree are left out.
    """
    current: dict[int, tuple[Batch, Tensor]] = {}
    recent: deque[float] = deque(maxlen=max(1, options["schedule"].report_every // inner))
    masked: Counter[str] = Counter()
    num_problems = 0
    rounds = 3 if variant is GrpoVariant.DAPO else 1

    def draw(number: int) -> Batch:
        kept: list[list[Answer]] = []
        seen: list[list[Answer]] = []
        for again in range(rounds):
            first = (number * rounds + again) * problems_per_step
            seen += sample(range(first, first + problems_per_step), step=number)
            kept = [group for group in seen if rounds == 1 or _disagrees(group)]
            if 2 * len(kept) >= problems_per_step:
                break
        whole = make_batch(seen, variant=variant, baseline=baseline)
        batch = whole if rounds == 1 else make_batch(kept, variant=variant, baseline=baseline)
        return batch._replace(
            reward=whole.reward, masked=whole.masked, num_problems=whole.num_problems
        )

    def loss(step: int) -> Tensor:
        nonlocal num_problems
        number = step // inner
        if number not in current:
            model.eval()
            batch = draw(number)
            model.train()
            num_problems += batch.num_problems
            masked.update(batch.masked)
            if batch.reward == batch.reward:
                recent.append(batch.reward)
            if not len(batch.weights):
                current.clear()
                return _no_loss(model)
            new = log_probs(batch.answers)
            current.clear()
            current[number] = batch, new.detach()
        else:
            batch = current[number][0]
            new = log_probs(batch.answers)
        return objective(new, current[number][1], batch, variant=variant, clip=clip)

    def reward() -> float:
        return sum(recent) / len(recent) if recent else math.nan

    def figures() -> dict[str, float]:
        counts = {"undecided": float(masked["undecided"]), "failed": float(masked["failed"])}
        return ({"reward": reward()} if recent else {}) | counts

    done = fit(model, loss, together=inner, measured=figures, save=save, **options)
    return GrpoFit(done, reward(), masked["undecided"], masked["failed"], num_problems)


def _advantage(through: Sequence[float], below: Sequence[float], scaled: bool) -> float:
    mean = sum(below) / len(below)
    gain = sum(through) / len(through) - mean
    spread = math.sqrt(sum((reward - mean) ** 2 for reward in below) / len(below))
    return gain / (spread + _EPSILON) if scaled else gain


def _disagrees(group: Sequence[Answer]) -> bool:
    return len({answer.reward for answer in group if answer.reward is not None}) > 1


def _reward(answer: Answer) -> float:
    assert answer.reward is not None, "masked answers are dropped first"
    return answer.reward


def _no_loss(model: Any) -> Tensor:
    """Return a loss of 0 with a gradient of 0, for a batch that teaches nothing."""
    trained = [p.sum() for p in model.parameters() if p.requires_grad]
    return torch.stack(trained).sum() * 0.0

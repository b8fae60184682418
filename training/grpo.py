"""GRPO (Shao et al. 2024): sample answers to a problem, verify them, and raise the better ones above their baseline.

What the embedded models (`embedded_grpo`) and language models (`language_grpo`) share: problems are played into
records, whose decided paths get advantages and weights. Paths that are UNDECIDED or failed are masked: they are in no
baseline, no loss and no success rate, and are counted apart. A path without an answer is wrong.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, Policy, Search
from stepgym.envs.types import Environment, Problem
from stepgym.records.rollouts import fork_gains, gains, num_samples, reward_of
from stepgym.records.tree import children_of, path_to
from stepgym.training.examples import count_undecidable_as_wrong, is_correct
from stepgym.training.fit import FitOptions, fit
from stepgym.training.tree_sampling import TreeSampling
from stepgym.training.types import Baseline, Fit, GrpoVariant


class LearnedPath(NamedTuple):
    """A decided path of a record."""

    nodes: tuple[int, ...]
    """Without the root."""
    advantages: tuple[float, ...]
    """One per node."""
    share: float
    """Of all samples of the problem that are decided."""


class Units(NamedTuple):
    """The learned units of a path: tokens for language models, steps for embedded models."""

    sizes: tuple[int, ...]
    """The number of units of each node."""
    sample: Any
    """What the trainer needs to compute the units' log-probabilities."""


UnitsOf = Callable[[EpisodeRecord, Sequence[LearnedPath]], Sequence[Sequence[Units]]]
"""Returns the units of each path of a record, in one part or several."""


class Batch(NamedTuple):
    """The samples to learn from, and for each of their units its advantage and its weight in the mean."""

    samples: list[Any]
    advantages: Tensor
    weights: Tensor


class Played(NamedTuple):
    """The records of one step."""

    records: list[EpisodeRecord]
    reward: float
    """The mean reward of the decided samples, which is the share of correct ones unless problems are proposed; NaN if
    none is decided."""
    masked: Counter[str]
    """How many samples are `undecided` or `failed`."""


class GrpoFit(NamedTuple):
    """The outcome of a GRPO run."""

    fit: Fit
    reward: float
    """Mean over the steps of the last report; NaN for a run that was finished before."""
    undecided: int
    failed: int
    num_problems: int
    """How many were asked since the run was started or resumed."""


def sampler(group: int, baseline: Baseline) -> Search:
    """Return the search that samples `group` answers: independent ones or, to compare steps at forks, a tree."""
    return BestOfN(n=group) if baseline is Baseline.GROUP else TreeSampling(paths=group)


def play(
    problems: Sequence[Problem],
    *,
    env: Environment,
    policy: Policy,
    search: Search,
    undecidable_is_wrong: bool = False,
) -> Played:
    """Sample answers to each problem with a search that prunes nothing: `sampler` gives one."""
    records = list(
        iter_solve(
            problems,
            env=env,
            agent=search,
            policy=policy,
            see_verdicts=False,
            verify_all=True,
            num_parallel=len(problems),
        )
    )
    if undecidable_is_wrong:
        records = [count_undecidable_as_wrong(record) for record in records]
    masked: Counter[str] = Counter()
    rewards: list[tuple[float, int]] = []
    for record in records:
        for node, children in enumerate(children_of(record)):
            reward, found = end_reward(record, node), record.nodes[node]
            if reward is not None:
                rewards.append((reward, max(1, found.visits)))
            elif not children:
                masked["undecided" if found.end else "failed"] += max(1, found.visits)
    total = sum(count for _, count in rewards)
    mean = sum(reward * count for reward, count in rewards) / total if total else math.nan
    return Played(records, mean, masked)


def end_reward(record: EpisodeRecord, node: int) -> float | None:
    """Return the reward of a decided end; `None` for any other node."""
    return None if is_correct(record, node) is None else reward_of(record, node)


def sample_outcomes(records: Sequence[EpisodeRecord]) -> Iterator[tuple[str, bool]]:
    """Yield the problem and whether it is correct for each decided sample."""
    for record in records:
        for node, found in enumerate(record.nodes):
            correct = is_correct(record, node)
            if correct is not None:
                yield from [(record.problem_id, correct)] * max(1, found.visits)


def learned_paths(record: EpisodeRecord, *, baseline: Baseline, scaled: bool) -> list[LearnedPath]:
    """Return the decided paths of a record with their advantages.

    `group`: the path's reward minus the mean over all samples. `fork`: at each fork of the tree, the mean reward of
    the samples through a step minus the mean of those through the fork; the steps after it up to the next fork
    inherit that. Paths that share no step have the same advantages either way. `scaled` divides by the deviation of
    what the mean is over.
    """
    ends = {node: end_reward(record, node) for node in range(len(record.nodes))}
    rewards = {node: reward for node, reward in ends.items() if reward is not None}
    counts = [num_samples(record, end) for end in rewards]
    of_group = gains(list(rewards.values()), counts, scaled=scaled)
    of_fork = fork_gains(record, rewards, scaled=scaled)
    siblings = Counter(record.nodes[node].parent for node in of_fork)
    at_fork = {n: gain for n, gain in of_fork.items() if siblings[record.nodes[n].parent] > 1}
    found = []
    for end, count, gain in zip(rewards, counts, of_group):
        path = tuple(path_to(record, end)[1:])
        advantages = [gain] * len(path)
        if baseline is Baseline.FORK:
            forks = accumulate(path, lambda last, node: at_fork.get(node, last), initial=0.0)
            advantages = list(forks)[1:]
        found.append(LearnedPath(path, tuple(advantages), count / sum(counts)))
    return found


def make_batch(
    records: Sequence[EpisodeRecord],
    units_of: UnitsOf,
    *,
    variant: GrpoVariant,
    baseline: Baseline = Baseline.GROUP,
) -> Batch:
    """Weigh the decided paths of some records.

    Each problem weighs as much as it has decided samples. `grpo` takes the mean over each path and then over paths,
    the other variants the mean over all units.
    """
    scaled = variant is not GrpoVariant.DR_GRPO
    samples: list[Any] = []
    advantages: list[float] = []
    weights: list[float] = []
    for record in records:
        paths = learned_paths(record, baseline=baseline, scaled=scaled)
        num_decided = sum(max(1, record.nodes[(0, *path.nodes)[-1]].visits) for path in paths)
        for path, parts in zip(paths, units_of(record, paths), strict=True):
            samples += [part.sample for part in parts if sum(part.sizes)]
            sizes = [size for part in parts for size in part.sizes]
            for size, advantage in zip(sizes, path.advantages, strict=True):
                advantages += [advantage] * size
            mean_over = sum(sizes) if variant is GrpoVariant.GRPO else 1
            weights += [path.share * num_decided / max(1, mean_over)] * sum(sizes)
    total = sum(weights) or 1.0
    return Batch(samples, torch.tensor(advantages), torch.tensor(weights) / total)


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
    sample: Callable[[int, range], Played],
    units_of: UnitsOf,
    log_probs: Callable[[Sequence[Any]], Tensor],
    *,
    variant: GrpoVariant,
    baseline: Baseline,
    problems_per_step: int,
    inner: int,
    refill: bool = False,
    save: Callable[[Any, Any], None],
    clip: float = 0.2,
    **options: Unpack[FitOptions],
) -> GrpoFit:
    """Improve the policy in place; `inner` updates are made on each batch. No problem is asked in two batches.

    `sample` plays problems, given by their numbers; `log_probs` gives those of the units of some samples. DAPO, and any
    variant with `refill`, draws up to three times as many problems until half of them have answers that disagree; the
    others (all correct, all incorrect) are left out. A proposed problem's answers are compared by their rewards.
    """
    current: dict[int, tuple[Batch, Tensor | None]] = {}
    recent: deque[float] = deque(maxlen=max(1, options["schedule"].report_every // inner))
    masked: Counter[str] = Counter()
    num_problems = 0
    rounds = 3 if refill or variant is GrpoVariant.DAPO else 1

    def draw(number: int) -> Batch:
        nonlocal num_problems
        kept: list[EpisodeRecord] = []
        for again in range(rounds):
            first = (number * rounds + again) * problems_per_step
            played = sample(number, range(first, first + problems_per_step))
            num_problems += len(played.records)
            masked.update(played.masked)
            if not math.isnan(played.reward):
                recent.append(played.reward)
            kept += [record for record in played.records if rounds == 1 or _disagrees(record)]
            if 2 * len(kept) >= problems_per_step:
                break
        return make_batch(kept, units_of, variant=variant, baseline=baseline)

    def loss(step: int) -> Tensor:
        number = step // inner
        if number not in current:
            current.clear()
            model.eval()
            current[number] = draw(number), None
            model.train()
        batch, old = current[number]
        if not batch.samples:
            return _no_loss(model)
        new = log_probs(batch.samples)
        if old is None:
            old = new.detach()
            current[number] = batch, old
        return objective(new, old, batch, variant=variant, clip=clip)

    def reward() -> float:
        return sum(recent) / len(recent) if recent else math.nan

    def figures() -> dict[str, float]:
        counts = {"undecided": float(masked["undecided"]), "failed": float(masked["failed"])}
        return ({"reward": reward()} if recent else {}) | counts

    done = fit(model, loss, together=inner, measured=figures, save=save, **options)
    return GrpoFit(done, reward(), masked["undecided"], masked["failed"], num_problems)


def _disagrees(record: EpisodeRecord) -> bool:
    """Return whether the decided samples of a problem have different rewards."""
    found = {end_reward(record, node) for node in range(len(record.nodes))} - {None}
    return len(found) > 1


def _no_loss(model: Any) -> Tensor:
    """Return a loss of 0 with a gradient of 0, for a batch that teaches nothing."""
    trained = [p.sum() for p in model.parameters() if p.requires_grad]
    return torch.stack(trained).sum() * 0.0

"""How the shipped embedded Countdown models are trained: a policy on an exact solver's demonstrations, then a step
reward model on the positions that this policy visits, labelled by whether the target can still be reached.

`stepgym train embedded` runs it; under five minutes on one core.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import FIRST_MOVE, GAMES, MOVE_TOKEN, PAD
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.envs.families.countdown import Position, problems
from stepgym.envs.families.countdown_solver import moves, reachable
from stepgym.selfplay.step_quality import auc
from stepgym.training.config import TRAINING_SEED
from stepgym.training.fit import batches, fit
from stepgym.training.types import OnProgress, Schedule

GAME = "countdown"
LEVEL_SHARES = {1: 0.05, 2: 0.1, 3: 0.55, 4: 0.1, 5: 0.2}


class Settings(NamedTuple):
    """The settings that determine the trained models."""

    seed: int = 0
    num_problems: int = 20_000
    policy_shape: net.Shape = net.Shape(48, 2, 4)
    policy_schedule: Schedule = Schedule(1000, 5e-3)
    policy_batch: int = 128
    prm_shape: net.Shape = net.Shape(64, 2, 4)
    prm_schedule: Schedule = Schedule(2500, 5e-3)
    prm_batch: int = 256


class Rows(NamedTuple):
    """Positions as tensors: tokens (padded on the right), where each row ends, and its target."""

    tokens: Tensor
    last: Tensor
    target: Tensor


def training_positions(settings: Settings) -> list[Position]:
    """Draw the first positions of training problems, levels mixed as in `LEVEL_SHARES`."""
    positions = []
    for level, share in LEVEL_SHARES.items():
        source = problems(level, TRAINING_SEED + settings.seed)
        positions += [source[i].public for i in range(round(share * settings.num_problems))]
    return positions  # type: ignore[return-value]


def demonstrations(positions: Sequence[Position], rng: random.Random) -> list[Position]:
    """Return the positions along one random solution of each, every step drawn evenly from those that keep it solvable."""
    found = []
    for left, target in positions:
        while len(left) > 1:
            found.append((left, target))
            left = rng.choice([move.left for move in moves(left) if reachable(move.left, target)])
    return found


def policy_rows(positions: Sequence[Position]) -> tuple[Rows, Tensor]:
    """Return rows whose target is an even share for each step that keeps the target reachable, and which are legal."""
    target = torch.zeros(len(positions), len(MOVE_TOKEN))
    legal = torch.zeros(len(positions), len(MOVE_TOKEN), dtype=torch.bool)
    game = GAMES[GAME]
    for i, position in enumerate(positions):
        columns = [move.tokens[0] - FIRST_MOVE for move in game.moves(position)]
        keeps = torch.tensor(
            [reachable(move.left, position[1]) for move in moves(position[0])], dtype=torch.float32
        )
        target[i, columns] = keeps / keeps.sum()
        legal[i, columns] = True
    tokens, last = tokenise(positions)
    return Rows(tokens, last, target), legal


def tokenise(positions: Sequence[Position]) -> tuple[Tensor, Tensor]:
    """Return the positions as one token tensor, padded on the right, and where each row ends."""
    prompts = [GAMES[GAME].prompt(position) for position in positions]
    width = max(map(len, prompts))
    tokens = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in prompts])
    return tokens, torch.tensor([len(row) - 1 for row in prompts])


def hidden(model: Any, rows: Rows, index: Tensor) -> Tensor:
    """Return the last layer's output at the end of each row."""
    last = rows.last[index]
    width = int(last.max()) + 1
    outputs = model.model(rows.tokens[index, :width])
    found: Tensor = outputs[torch.arange(len(index)), last]
    return found


def train_policy(
    settings: Settings,
    positions: Sequence[Position],
    *,
    out: Path | None = None,
    progress: OnProgress | None = None,
) -> Any:
    """Return a policy trained to write the steps that keep the target reachable."""
    rows, legal = policy_rows(demonstrations(positions, random.Random(settings.seed)))
    model = net.build(net.POLICY, settings.policy_shape, GAME, seed=settings.seed)
    rows_of = batches(len(rows.last), settings.policy_batch, settings.seed)

    def loss(step: int) -> Tensor:
        index = rows_of(step)
        logits = hidden(model, rows, index) @ model.lm_head.weight[FIRST_MOVE:].T
        log_probs = torch.log_softmax(logits.masked_fill(~legal[index], -1e9), dim=-1)
        return -(rows.target[index] * log_probs).sum() / len(index)

    fit(
        model,
        loss,
        schedule=settings.policy_schedule,
        out=out,
        progress=progress,
        task="train policy",
    )
    return model


def visited(
    policy: EmbeddedPolicy, positions: Sequence[Position], rng: random.Random
) -> list[Position]:
    """Play each position once by the policy's probabilities; return the positions after each step, and after each a stray one."""
    found: list[Position] = []
    current = [position for position in positions if len(position[0]) > 1]
    while current:
        policy.learn_probabilities(current)
        after = []
        for position in current:
            choices = moves(position[0])
            _, log_probs = policy.log_probs(position)
            weights = torch.tensor(log_probs).exp().tolist()
            chosen, stray = rng.choices(choices, weights)[0], rng.choice(choices)
            found += [(chosen.left, position[1]), (stray.left, position[1])]
            after.append((chosen.left, position[1]))
        current = [position for position in after if len(position[0]) > 1]
    return found


def train_prm(
    settings: Settings,
    positions: Sequence[Position],
    policy: EmbeddedPolicy,
    *,
    out: Path | None = None,
    progress: OnProgress | None = None,
) -> Any:
    """Return a reward model trained on exact reachability of the positions that `policy` visits."""
    seen = visited(policy, positions, random.Random(settings.seed + 1))
    tokens, last = tokenise(seen)
    labels = torch.tensor([float(reachable(left, target)) for left, target in seen])
    rows = Rows(tokens, last, labels)
    model = net.build(net.PRM, settings.prm_shape, GAME, seed=settings.seed)
    rows_of = batches(len(seen), settings.prm_batch, settings.seed)

    def loss(step: int) -> Tensor:
        index = rows_of(step)
        logits = model.score(hidden(model, rows, index))[:, 0]
        return functional.binary_cross_entropy_with_logits(logits, labels[index])

    fit(
        model,
        loss,
        schedule=settings.prm_schedule,
        out=out,
        progress=progress,
        task="train reward model",
    )
    return model


def train_embedded(
    out: Path, settings: Settings, *, progress: OnProgress | None = None
) -> dict[str, float]:
    """Train both models into `out/policy` and `out/prm` and return what `measure` says of them."""
    positions = training_positions(settings)
    train_policy(settings, positions, out=out / net.POLICY, progress=progress)
    policy = EmbeddedPolicy(out / net.POLICY)
    train_prm(settings, positions, policy, out=out / net.PRM, progress=progress)
    return measure(policy, EmbeddedRewardModel(out / net.PRM))


def measure(
    policy: EmbeddedPolicy,
    reward_model: EmbeddedRewardModel,
    *,
    level: int = 3,
    seed: int = 0,
    num_problems: int = 400,
) -> dict[str, float]:
    """Return greedy accuracy on fresh problems of a level, and the reward model's AUC on the positions visited there."""
    positions: list[Position] = [problems(level, seed)[i].public for i in range(num_problems)]  # type: ignore[misc]
    seen = visited(policy, positions, random.Random(seed))
    labels = [reachable(left, target) for left, target in seen]
    return {
        "greedy": greedy_share(policy, positions),
        "prm_auc": auc(reward_model.score_positions(seen), labels),
    }


def greedy_share(policy: EmbeddedPolicy, positions: Sequence[Position]) -> float:
    """Return the share of positions from which the most likely steps reach the target."""
    solved, current = 0, list(positions)
    while current:
        policy.learn_probabilities(current)
        after = []
        for left, target in current:
            _, log_probs = policy.log_probs((left, target))
            left = moves(left)[max(range(len(log_probs)), key=log_probs.__getitem__)].left
            if len(left) > 1:
                after.append((left, target))
            else:
                solved += left == (target,)
        current = after
    return solved / len(positions)

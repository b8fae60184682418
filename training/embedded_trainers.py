"""Trainers of the embedded models: policy targets, preferences, step and outcome values, and policy with value.

One function serves supervised fine-tuning, expert iteration and AlphaZero's policy target, which differ only in where
the targets come from (`stepgym.training.examples`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from itertools import groupby
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.games import PAD, MoveTree, step_tree
from stepgym.agents.embedded.value_head import PolicyValueNet
from stepgym.training.fit import FitOptions, batches, fit
from stepgym.training.types import Fit, PolicyTarget, Preference, TrainingError, ValueTarget


class TargetRow(NamedTuple):
    """What the model should predict after some tokens: a share for each token that may follow."""

    tokens: tuple[int, ...]
    options: Tensor
    shares: Tensor
    weight: float
    target: int
    """The number of the policy target that the row belongs to."""
    sequence: tuple[int, ...]
    """The longest row of this target that begins with these tokens: one forward pass of it serves both."""


class TargetTable(NamedTuple):
    """Rows as padded tensors, so that a batch needs no Python loop."""

    tokens: Tensor
    """`[sequences, width]`"""
    rows: Tensor
    """`[sequences, most rows of one]`: the rows that each sequence serves, then -1."""
    positions: Tensor
    """Row -> its last token's position in the sequence."""
    options: Tensor
    """`[rows, most options]`"""
    shares: Tensor
    allowed: Tensor
    weights: Tensor
    targets: Tensor
    """Row -> the number of its policy target."""


class TargetLayout(NamedTuple):
    """Policy targets as rows, and how many of their steps the game does not know as legal moves."""

    rows: list[TargetRow]
    num_unknown: int


def target_rows(game: str, targets: Sequence[PolicyTarget]) -> TargetLayout:
    """Return a row for each token prefix of a target's steps that leaves a choice; rows of one sequence are adjacent.

    Summed over a target's rows, the weighted cross-entropies equal the target's cross-entropy over whole steps.
    """
    rows, num_unknown = [], 0
    for number, target in enumerate(targets):
        laid = step_tree(game, target.public, target.shares)
        move_of = {_single_spaced(move.text): m for m, move in enumerate(laid.moves)}
        shares = {_single_spaced(text): share for text, share in target.shares.items()}
        num_unknown += sum(text not in move_of for text in shares)
        wanted = {move_of[text]: share for text, share in shares.items() if text in move_of}
        mass: list[dict[int, float]] = [{} for _ in laid.rows]
        for m, row, token in _token_choices(laid, wanted):
            mass[row][token] = mass[row].get(token, 0.0) + wanted[m]
        used = [r for r in range(len(laid.rows)) if mass[r] and len(laid.options[r]) > 1]
        sequences = _longest_continuations([laid.rows[r] for r in used])
        for r in sorted(used, key=lambda r: sequences[laid.rows[r]]):
            tokens, options, total = laid.rows[r], laid.options[r], sum(mass[r].values())
            share = torch.tensor([mass[r].get(token, 0.0) / total for token in options])
            weight = total * target.weight
            rows.append(
                TargetRow(tokens, torch.tensor(options), share, weight, number, sequences[tokens])
            )
    return TargetLayout(rows, num_unknown)


def _longest_continuations(
    rows: Sequence[tuple[int, ...]],
) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return for each row the first longest one that begins with it."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for row in sorted(rows, key=len, reverse=True):
        if row not in found:
            found |= {row[:k]: row for k in range(1, len(row) + 1) if row[:k] not in found}
    return found


def make_table(rows: Sequence[TargetRow]) -> TargetTable:
    """Pad rows, of which those of one sequence are adjacent, as `target_rows` returns them."""
    groups = [
        list(group)
        for _, group in groupby(range(len(rows)), key=lambda r: (rows[r].target, rows[r].sequence))
    ]
    sequences = [torch.tensor(rows[group[0]].sequence) for group in groups]
    allowed = [torch.ones(len(row.options), dtype=torch.bool) for row in rows]
    return TargetTable(
        tokens=pad_sequence(sequences, batch_first=True, padding_value=PAD),
        rows=pad_sequence(
            [torch.tensor(group) for group in groups], batch_first=True, padding_value=-1
        ),
        positions=torch.tensor([len(row.tokens) - 1 for row in rows]),
        options=pad_sequence([row.options for row in rows], batch_first=True),
        shares=pad_sequence([row.shares for row in rows], batch_first=True),
        allowed=pad_sequence(allowed, batch_first=True),
        weights=torch.tensor([row.weight for row in rows]),
        targets=torch.tensor([row.target for row in rows]),
    )


def table_of(game: str, targets: Sequence[PolicyTarget]) -> TargetTable:
    """Lay out targets for `train_targets`. Raises `TrainingError` if the game's policy can write none of their steps."""
    laid = target_rows(game, targets)
    if not laid.rows:
        raise TrainingError(
            f"none of {laid.num_unknown} steps is one that the {game} policy can write"
        )
    return make_table(laid.rows)


def cross_entropies(model: Any, table: TargetTable, sequences: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows that some sequences of the table serve, and the cross-entropy of each."""
    at, rank = torch.nonzero(table.rows[sequences] >= 0, as_tuple=True)
    rows = table.rows[sequences][at, rank]
    logits = net.outputs_within(model, table.tokens[sequences], at, table.positions[rows])
    options = logits.gather(1, table.options[rows]).masked_fill(~table.allowed[rows], -1e9)
    return rows, -(torch.log_softmax(options, dim=-1) * table.shares[rows]).sum(-1)


def step_rows(game: str, steps: Sequence[tuple[Hashable, str]]) -> list[list[TargetRow]]:
    """Return the rows of each step `(public data, text)`. Raises `TrainingError` for steps that are no legal moves."""
    laid = target_rows(game, [PolicyTarget(public, {text: 1.0}) for public, text in steps])
    if laid.num_unknown:
        raise TrainingError(
            f"{laid.num_unknown} of {len(steps)} steps are ones that the {game} policy cannot write"
        )
    found: list[list[TargetRow]] = [[] for _ in steps]
    for row in laid.rows:
        found[row.target].append(row)
    return found


def step_log_probs(model: Any, steps: Sequence[Sequence[TargetRow]]) -> Tensor:
    """Return the log-probability of each step, given by its rows; 0 for the only legal move of a state."""
    rows = [row._replace(target=number) for number, step in enumerate(steps) for row in step]
    if not rows:
        return torch.zeros(len(steps))
    table = make_table(rows)
    which, losses = cross_entropies(model, table, torch.arange(len(table.tokens)))
    return torch.zeros(len(steps)).index_add(0, table.targets[which], -losses)


def targets_loss(
    model: Any, targets: Sequence[PolicyTarget] | TargetTable, batch: int, seed: int
) -> Callable[[int], Tensor]:
    """Return the mean cross-entropy of each step's batch. Raises `TrainingError`."""
    table = (
        targets
        if isinstance(targets, TargetTable)
        else table_of(model.config.stepgym_game, targets)
    )
    sequences_of = batches(len(table.tokens), batch, seed)

    def loss(step: int) -> Tensor:
        rows, losses = cross_entropies(model, table, sequences_of(step))
        return (table.weights[rows] * losses).sum() / table.weights[rows].sum()

    return loss


def train_targets(
    model: Any,
    targets: Sequence[PolicyTarget] | TargetTable,
    *,
    batch: int = 128,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> Fit:
    """Move the policy's probabilities to the targets' shares, in place. Raises `TrainingError`, `LossNotFinite`.

    Targets that several models learn can be laid out once, by `table_of`.
    """
    return fit(model, targets_loss(model, targets, batch, seed), **options)


def tokens_per_sequence(game: str, targets: Sequence[PolicyTarget]) -> float:
    """Return how many tokens a training example of `train_targets` reads, on average."""
    sequences = {(row.target, row.sequence) for row in target_rows(game, targets).rows}
    return sum(len(sequence) for _, sequence in sequences) / max(1, len(sequences))


def train_preferences(
    model: Any,
    pairs: Sequence[Preference],
    *,
    beta: float = 0.5,
    batch: int = 64,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> Fit:
    """Direct preference optimisation (Rafailov et al. 2023) against the model as it is when this is called."""
    if not pairs:
        raise TrainingError("there are no pairs of steps to learn from")
    game = model.config.stepgym_game
    chosen = step_rows(game, [(pair.public, pair.chosen) for pair in pairs])
    rejected = step_rows(game, [(pair.public, pair.rejected) for pair in pairs])
    pairs_of = batches(len(pairs), batch, seed)

    def margin(index: Sequence[int]) -> Tensor:
        good, bad = (step_log_probs(model, [side[i] for i in index]) for side in (chosen, rejected))
        return good - bad

    with torch.no_grad():
        parts = [range(at, min(at + batch, len(pairs))) for at in range(0, len(pairs), batch)]
        before = torch.cat([margin(part) for part in parts])

    def loss(step: int) -> Tensor:
        index = pairs_of(step)
        return -functional.logsigmoid(beta * (margin(index.tolist()) - before[index])).mean()

    return fit(model, loss, **options)


def values_loss(
    model: Any, targets: Sequence[ValueTarget], batch: int, seed: int
) -> Callable[[int], Tensor]:
    """Return the binary cross-entropy of each step's batch of value targets."""
    labels = torch.tensor([target.label for target in targets])
    rows_of = batches(len(targets), batch, seed)

    def loss(step: int) -> Tensor:
        index = rows_of(step)
        logits = net.position_logits(model, [targets[i].reading for i in index.tolist()])
        return functional.binary_cross_entropy_with_logits(logits, labels[index])

    return loss


def train_values(
    model: Any,
    targets: Sequence[ValueTarget],
    *,
    batch: int = 256,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> Fit:
    """Train a reward model on labels in [0, 1] (hard, soft or values), by cross-entropy."""
    return fit(model, values_loss(model, targets, batch, seed), **options)


class PolicyValueFit(NamedTuple):
    """The outcome of a joint run, and the two parts of its loss, means over the last twentieth of the steps."""

    fit: Fit
    policy_loss: float
    value_loss: float


def train_policy_value(
    model: PolicyValueNet,
    policy_targets: Sequence[PolicyTarget],
    value_targets: Sequence[ValueTarget],
    *,
    batch: int = 128,
    seed: int = 0,
    **options: Unpack[FitOptions],
) -> PolicyValueFit:
    """Train AlphaZero's one network in place: visits teach its policy head, outcomes its value head.

    The loss of a step is the sum of the policy's cross-entropy and the value's binary cross-entropy, each on a batch
    of its own. The parts are NaN for a run that was finished before. Raises `TrainingError`, `LossNotFinite`.
    """
    policy_loss = targets_loss(model.policy, policy_targets, batch, seed)
    value_loss = values_loss(model, value_targets, batch, seed)
    parts: deque[tuple[float, float]] = deque(maxlen=max(1, options["schedule"].steps // 20))

    def loss(step: int) -> Tensor:
        policy, value = policy_loss(step), value_loss(step)
        parts.append((policy.item(), value.item()))
        return policy + value

    done = fit(model, loss, save=value_head.save, **options)
    policy, value = (sum(part) / len(part) for part in zip(*parts or [(float("nan"),) * 2]))
    return PolicyValueFit(done, policy, value)


def _token_choices(laid: MoveTree, wanted: dict[int, float]) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = laid.choices[
        np.isin(laid.choices[:, 0], list(wanted))
    ].tolist()
    return found


def _single_spaced(text: str) -> str:
    return " ".join(text.split())

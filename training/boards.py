"""Trainers of the embedded models over boards and steps: imitation of shares, preferences, step and outcome rewards.

The same functions serve supervised fine-tuning, expert iteration and AlphaZero's policy target, which differ only in
where the shares come from (`stepgym.training.examples`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import PAD, Plan, plan
from stepgym.training.examples import Choice, Judged, Preference
from stepgym.training.fit import Fit, Progress, Schedule, TrainingError, fit


class Row(NamedTuple):
    """What the model should say after the tokens: a share for each token that may follow."""

    tokens: tuple[int, ...]
    options: Tensor
    shares: Tensor
    example: int
    weight: float
    carrier: tuple[int, ...]
    """The longest row of the example that begins with these tokens: one forward pass of it serves them all."""


def choice_rows(game: str, choices: Sequence[Choice]) -> tuple[list[Row], int]:
    """Return a row for each prefix that a target step passes and that leaves a choice, and how many target steps are
    no legal move. Rows that share a carrier stand together.

    Summed over a choice's rows, the weighted cross-entropies are that of its target against whole steps.
    """
    rows, strange = [], 0
    for number, choice in enumerate(choices):
        laid = plan(game, choice.board)
        shares = {_plain(text): share for text, share in choice.target.items()}
        mass: list[dict[int, float]] = [{} for _ in laid.rows]
        known = {_plain(move.text): m for m, move in enumerate(laid.moves)}
        strange += sum(text not in known for text in shares)
        wanted = {known[text]: share for text, share in shares.items() if text in known}
        for m, row, token in _choices_of(laid, wanted):
            mass[row][token] = mass[row].get(token, 0.0) + wanted[m]
        used = [r for r in range(len(laid.rows)) if mass[r] and len(laid.options[r]) > 1]
        carriers = _carriers([laid.rows[r] for r in used])
        for r in sorted(used, key=lambda r: carriers[laid.rows[r]]):
            total = sum(mass[r].values())
            share = torch.tensor([mass[r].get(token, 0.0) / total for token in laid.options[r]])
            tokens = laid.rows[r]
            rows.append(
                Row(
                    tokens,
                    torch.tensor(laid.options[r]),
                    share,
                    number,
                    total * choice.weight,
                    carriers[tokens],
                )
            )
    return rows, strange


def _carriers(rows: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Return for each row the first longest one that begins with it."""
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for row in sorted(rows, key=len, reverse=True):
        if row not in found:
            found |= {row[:k]: row for k in range(1, len(row) + 1) if row[:k] not in found}
    return found


class Table(NamedTuple):
    """Rows as padded tensors, so that a batch costs no loop over them."""

    tokens: Tensor
    """`[carriers, width]`"""
    rows: Tensor
    """`[carriers, most rows of one]`: the rows of each carrier, then -1."""
    places: Tensor
    """Row -> its last token's position in the carrier."""
    options: Tensor
    """`[rows, most options]`"""
    shares: Tensor
    allowed: Tensor
    weights: Tensor


def tabulate(rows: Sequence[Row]) -> Table:
    """Lay out rows, of which those that share a carrier stand together, as `choice_rows` returns them."""
    groups = [
        list(group)
        for _, group in groupby(range(len(rows)), key=lambda r: (rows[r].example, rows[r].carrier))
    ]
    return Table(
        pad_sequence(
            [torch.tensor(rows[group[0]].carrier) for group in groups],
            batch_first=True,
            padding_value=PAD,
        ),
        pad_sequence([torch.tensor(group) for group in groups], batch_first=True, padding_value=-1),
        torch.tensor([len(row.tokens) - 1 for row in rows]),
        pad_sequence([row.options for row in rows], batch_first=True),
        pad_sequence([row.shares for row in rows], batch_first=True),
        pad_sequence(
            [torch.ones(len(row.options), dtype=torch.bool) for row in rows], batch_first=True
        ),
        torch.tensor([row.weight for row in rows]),
    )


def table_of(game: str, choices: Sequence[Choice]) -> Table:
    """Lay out choices for `train_choices`. Raises `TrainingError` where no step is one that the game's policy writes."""
    rows, strange = choice_rows(game, choices)
    if not rows:
        raise TrainingError(f"none of {strange} steps is one that the {game} policy can write")
    return tabulate(rows)


def train_choices(
    model: Any,
    choices: Sequence[Choice] | Table,
    *,
    schedule: Schedule,
    batch: int = 128,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Move the policy's probabilities to the shares, in place. Raises `TrainingError`, `LossNotFinite`.

    Choices that several models learn are laid out once, by `table_of`.
    """
    return fit(
        model,
        choices_loss(model, choices, batch, seed),
        schedule=schedule,
        out=out,
        progress=progress,
    )


def choices_loss(
    model: Any, choices: Sequence[Choice] | Table, batch: int, seed: int
) -> Callable[[int], Tensor]:
    """Return the cross-entropy of each step's batch of choices. Raises `TrainingError`."""
    table = choices if isinstance(choices, Table) else table_of(model.config.stepgym_game, choices)
    carriers_of = batches(len(table.tokens), batch, seed)

    def loss(step: int) -> Tensor:
        chosen = carriers_of(step)
        asked = table.rows[chosen]
        at, rank = torch.nonzero(asked >= 0, as_tuple=True)
        part = asked[at, rank]
        weights = table.weights[part]
        return (
            weights * table_cross_entropies(model, table, chosen, at, part)
        ).sum() / weights.sum()

    return loss


def table_cross_entropies(
    model: Any, table: Table, carriers: Tensor, at: Tensor, rows: Tensor
) -> Tensor:
    """Return the cross-entropy of rows; `at` is the position of each one's carrier in `carriers`."""
    logits = net.outputs_within(model, table.tokens[carriers], at, table.places[rows])
    options = logits.gather(1, table.options[rows]).masked_fill(~table.allowed[rows], -1e9)
    return -(torch.log_softmax(options, dim=-1) * table.shares[rows]).sum(-1)


def tokens_read(game: str, choices: Sequence[Choice]) -> float:
    """Return how many tokens a training example of `train_choices` reads, on average."""
    carriers = {(row.example, row.carrier) for row in choice_rows(game, choices)[0]}
    return sum(len(carrier) for _, carrier in carriers) / max(1, len(carriers))


def cross_entropies(model: Any, rows: Sequence[Row]) -> Tensor:
    """Return the cross-entropy of each row over the tokens that may follow."""
    carriers = {row.carrier: None for row in rows}
    index = {tokens: at for at, tokens in enumerate(carriers)}
    logits = net.outputs_at(
        model, list(carriers), [(index[row.carrier], len(row.tokens) - 1) for row in rows]
    )
    sizes = torch.tensor([len(row.options) for row in rows])
    at = torch.repeat_interleave(torch.arange(len(rows)), sizes)
    options, shares = (
        torch.cat([row.options for row in rows]),
        torch.cat([row.shares for row in rows]),
    )
    allowed = torch.full_like(logits, -1e9)
    allowed[at, options] = 0.0
    log_probs = torch.log_softmax(logits + allowed, dim=-1)[at, options]
    return -torch.zeros(len(rows)).index_add(0, at, log_probs * shares)


def train_preferences(
    model: Any,
    pairs: Sequence[Preference],
    *,
    schedule: Schedule,
    beta: float = 0.5,
    batch: int = 64,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Direct preference optimisation (Rafailov et al. 2023) against the model as it is when this is called."""
    chosen, chosen_strange = choice_rows(
        model.config.stepgym_game, [Choice(p.board, {p.chosen: 1.0}) for p in pairs]
    )
    rejected, rejected_strange = choice_rows(
        model.config.stepgym_game, [Choice(p.board, {p.rejected: 1.0}) for p in pairs]
    )
    if not pairs or chosen_strange or rejected_strange:
        raise TrainingError(
            f"of {len(pairs)} pairs, {chosen_strange + rejected_strange} steps are none this policy can write"
        )
    reference = copy.deepcopy(model).eval()
    by_pair = [_by_example(rows, len(pairs)) for rows in (chosen, rejected)]
    rows_of = batches(len(pairs), batch, seed)

    def margin(of: Any, index: list[int]) -> Tensor:
        good, bad = (step_log_probs(of, [side[i] for i in index]) for side in by_pair)
        return good - bad

    def loss(step: int) -> Tensor:
        index = rows_of(step).tolist()
        with torch.no_grad():
            before = margin(reference, index)
        return -functional.logsigmoid(beta * (margin(model, index) - before)).mean()

    return fit(model, loss, schedule=schedule, out=out, progress=progress)


def train_judged(
    model: Any,
    judged: Sequence[Judged],
    *,
    schedule: Schedule,
    batch: int = 256,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Train a reward model on boards with labels in [0, 1] (hard, soft or values), by cross-entropy."""
    return fit(
        model,
        judged_loss(model, judged, batch, seed),
        schedule=schedule,
        out=out,
        progress=progress,
    )


def judged_loss(
    model: Any, judged: Sequence[Judged], batch: int, seed: int
) -> Callable[[int], Tensor]:
    """Return the binary cross-entropy of each step's batch of judged boards."""
    labels = torch.tensor([e.label for e in judged])
    rows_of = batches(len(judged), batch, seed)

    def loss(step: int) -> Tensor:
        index = rows_of(step)
        logits = net.board_logits(model, [judged[i].board for i in index.tolist()])
        return functional.binary_cross_entropy_with_logits(logits, labels[index])

    return loss


def batches(num_rows: int, batch: int, seed: int) -> Callable[[int], Tensor]:
    """Return a function from the step number to the rows of its batch: each epoch in a new order."""
    per_epoch = max(1, num_rows // batch)
    orders: dict[int, Tensor] = {}

    def rows_of(step: int) -> Tensor:
        epoch, at = divmod(step, per_epoch)
        if epoch not in orders:
            orders.clear()
            orders[epoch] = torch.randperm(
                num_rows, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            )
        return orders[epoch][at * batch : (at + 1) * batch]

    return rows_of


def step_log_probs(model: Any, rows: Sequence[Sequence[Row]]) -> Tensor:
    """Return the log-probability of each step, the sum over its rows."""
    flat = [row for group in rows for row in group]
    at = torch.repeat_interleave(
        torch.arange(len(rows)), torch.tensor([len(group) for group in rows])
    )
    return torch.zeros(len(rows)).index_add(0, at, -cross_entropies(model, flat))


def _by_example(rows: Sequence[Row], num_examples: int) -> list[list[Row]]:
    found: list[list[Row]] = [[] for _ in range(num_examples)]
    for row in rows:
        found[row.example].append(row)
    return found


def _choices_of(laid: Plan, wanted: dict[int, float]) -> list[tuple[int, int, int]]:
    found: list[tuple[int, int, int]] = laid.choices[
        np.isin(laid.choices[:, 0], list(wanted))
    ].tolist()
    return found


def _plain(text: str) -> str:
    """Return a step's text with single spaces, and without a stated Countdown result being told apart."""
    return " ".join(text.split())

"""Imitation of demonstrated steps in tensors: a step is one row, and all its tokens are learned in one pass.

What `boards.train_choices` does for any mixture of targets, faster where each demonstration is one step and all steps
of the game have the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from stepgym.agents.embedded.games import PAD, VOCABULARY_SIZE, plan
from stepgym.selfplay.train.boards import batches
from stepgym.selfplay.train.examples import Choice
from stepgym.selfplay.train.fit import Fit, Progress, Schedule, fit


class Rows(NamedTuple):
    """Demonstrated steps as tensors, one row each; a step has `k` tokens."""

    tokens: Tensor
    """`[rows, width]`: the board and the step but for its last token, padded on the right."""
    at: Tensor
    """`[rows, k]`: where each of the step's tokens is to be said."""
    target: Tensor
    """`[rows, k]`"""
    legal: Tensor
    """`[rows, k, vocabulary]`: which tokens may stand there."""


def lay_out(game: str, choices: Sequence[Choice]) -> Rows:
    """Return the steps (each the first of its choice's targets) as tensors."""
    rows, at, target, options = [], [], [], []
    for choice in choices:
        laid = plan(game, choice.board)
        tokens = next(move.tokens for move in laid.moves if move.text == next(iter(choice.target)))
        prompt, row_of = laid.num_prompt_tokens, {row: r for r, row in enumerate(laid.rows)}
        start = laid.rows[0][:prompt]
        options.append([laid.options[row_of[start + tokens[:k]]] for k in range(len(tokens))])
        rows.append(start + tokens[:-1])
        at.append(range(prompt - 1, prompt - 1 + len(tokens)))
        target.append(tokens)
    width = max(map(len, rows))
    legal = torch.zeros(len(rows), len(target[0]), VOCABULARY_SIZE, dtype=torch.bool)
    for i, each in enumerate(options):
        for k, allowed in enumerate(each):
            legal[i, k, list(allowed)] = True
    padded = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    return Rows(padded, torch.tensor([list(each) for each in at]), torch.tensor(target), legal)


def imitate(
    model: Any,
    demonstrated: Sequence[Choice] | Rows,
    *,
    schedule: Schedule,
    batch: int = 128,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Fit:
    """Train a policy to write the demonstrated steps, in place. Raises `LossNotFinite`."""
    rows = demonstrated if isinstance(demonstrated, Rows) else lay_out(model.config.stepgym_game, demonstrated)
    rows_of = batches(len(rows.tokens), batch, seed)

    def loss(step: int) -> Tensor:
        index = rows_of(step)
        hidden = model.model(input_ids=rows.tokens[index], use_cache=False).last_hidden_state
        said = hidden[torch.arange(len(index))[:, None], rows.at[index]]
        logits = model.lm_head(said).masked_fill(~rows.legal[index], -1e9)
        chosen = torch.log_softmax(logits, dim=-1).gather(2, rows.target[index][:, :, None])
        return -chosen.sum() / len(index)

    return fit(model, loss, schedule=schedule, out=out, progress=progress)

"""Trainers of language models on records: supervised fine-tuning, preferences, step and outcome reward models.

A reward model is a token classifier with two labels, read at the last token of each step, which is how
`TransformersRewardModel` reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from stepgym.agents.types import EpisodeRecord
from stepgym.training.config import TrainConfig
from stepgym.training.examples import require, require_both_classes
from stepgym.training.fit import batches, figures_of, fit
from stepgym.training.language_examples import (
    PreferenceRows,
    preference_rows,
    reward_rows,
    verified_rows,
)
from stepgym.training.language_models import (
    POLICY_CLASS,
    REWARD_CLASS,
    UNLABELLED,
    LanguageModelInTraining,
    TokenRow,
    half_precision,
    learned_log_probs,
    load,
    padded,
)
from stepgym.training.types import OnProgress


def train_language_sft(
    config: TrainConfig, records: Sequence[EpisodeRecord], *, progress: OnProgress | None = None
) -> dict[str, Any]:
    """Train a policy on verified paths and save it where `hf:FOLDER` finds it."""
    loaded = load(config, POLICY_CLASS)
    rows = _fitting(verified_rows(records, loaded.tokenizer), loaded.context)
    return _fit_rows(config, loaded, rows, sft_loss, progress)


def train_language_reward(
    config: TrainConfig,
    records: Sequence[EpisodeRecord],
    labels: Sequence[Mapping[int, float]],
    *,
    progress: OnProgress | None = None,
) -> dict[str, Any]:
    """Train a reward model on labelled nodes of the records and save it where `hf:FOLDER` finds it."""
    loaded = load(config, REWARD_CLASS)
    rows = _fitting(reward_rows(records, loaded.tokenizer, labels), loaded.context)
    require_both_classes([t for row in rows for t in row.targets if t != UNLABELLED])
    return _fit_rows(config, loaded, rows, reward_loss, progress)


def train_language_dpo(
    config: TrainConfig, records: Sequence[EpisodeRecord], *, progress: OnProgress | None = None
) -> dict[str, Any]:
    """Train a policy on the records' forks (DPO, Rafailov et al. 2023) and save it where `hf:FOLDER` finds it.

    The reference is the model as it starts: its log-probabilities are computed once, before the training.
    """
    loaded = load(config, POLICY_CLASS)
    pairs = [
        pair
        for pair in preference_rows(records, loaded.tokenizer)
        if max(len(row.ids) for row in pair) <= loaded.context
    ]
    require(pairs, f"no fork whose paths fit into {loaded.context} tokens")
    accuracy = 0.0
    loaded.trained.eval()
    with torch.no_grad():
        starts = range(0, len(pairs), config.batch)
        before = torch.cat(
            [margins(loaded.trained, pairs[at : at + config.batch]) for at in starts]
        )

    def loss(model: Any, index: list[int]) -> Tensor:
        nonlocal accuracy
        gains = margins(model, [pairs[i] for i in index]) - before[index]
        accuracy = float((gains > 0).float().mean())
        return -functional.logsigmoid(config.beta * gains).mean()

    figures = _fit(config, loaded, len(pairs), loss, progress, lambda: {"accuracy": accuracy})
    return {**figures, "accuracy": accuracy}


def sft_loss(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """Return the mean cross-entropy of the learned tokens."""
    return -learned_log_probs(model, rows).mean()


def margins(model: Any, pairs: Sequence[PreferenceRows]) -> Tensor:
    """Return by how much the log-probability of each chosen continuation exceeds that of the rejected one."""
    rows = [row for pair in pairs for row in pair]
    log_probs = learned_log_probs(model, rows)
    owners = torch.tensor([i for i, row in enumerate(rows) for _ in range(row.targets.count(1.0))])
    sums = log_probs.new_zeros(len(rows)).index_add(0, owners.to(log_probs.device), log_probs)
    return sums[0::2] - sums[1::2]


def reward_loss(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """Return the mean cross-entropy of good against bad over the labelled tokens; 0 if there are none."""
    tokens, mask, targets = padded(rows, model.device)
    with half_precision(model):
        logits = model(input_ids=tokens, attention_mask=mask).logits.float()
    labelled = targets != UNLABELLED
    good = logits[labelled][:, 1] - logits[labelled][:, 0]
    losses = functional.binary_cross_entropy_with_logits(good, targets[labelled], reduction="sum")
    return losses / labelled.sum().clamp(min=1)


def _fitting(rows: Sequence[TokenRow], context: int) -> list[TokenRow]:
    """Return the rows that the model can read whole."""
    return require(
        [row for row in rows if len(row.ids) <= context],
        f"no usable path of up to {context} tokens ({len(rows)} in all)",
    )


def _fit_rows(
    config: TrainConfig,
    loaded: LanguageModelInTraining,
    rows: Sequence[TokenRow],
    loss: Callable[[Any, Sequence[TokenRow]], Tensor],
    progress: OnProgress | None,
) -> dict[str, Any]:
    def of_index(model: Any, index: list[int]) -> Tensor:
        return loss(model, [rows[i] for i in index])

    return _fit(config, loaded, len(rows), of_index, progress)


def _fit(
    config: TrainConfig,
    loaded: LanguageModelInTraining,
    num_examples: int,
    loss: Callable[[Any, list[int]], Tensor],
    progress: OnProgress | None,
    measured: Callable[[], dict[str, float]] = dict,
) -> dict[str, Any]:
    rows_of = batches(num_examples, min(config.batch, num_examples), config.seed)
    done = fit(
        loaded.trained,
        lambda step: loss(loaded.trained, rows_of(step).tolist()),
        schedule=config.schedule,
        out=Path(config.out),
        progress=progress,
        task=f"train {config.kind}",
        save=loaded.save,
        measured=measured,
    )
    return figures_of(done, num_examples)

"""Trainers of language models on the records' text: supervised fine-tuning, step and outcome reward models.

The reward model is a token classifier with two labels, read at the last token of each step, which is how
`TransformersRewardModel` reads it; the text is laid out by the same functions that policy and reward model use.
Preferences and GRPO go through TRL (`stepgym.training.preference_texts`, `stepgym.training.rollouts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stepgym.agents.policies import prompts
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State, Step
from stepgym.records.tree import ends, path_to
from stepgym.training.boards import batches
from stepgym.training.examples import Labels, Replay, require, step_labels
from stepgym.training.fit import Progress, TrainingError, fit
from stepgym.training.language import (
    POLICY_CLASS,
    REWARD_CLASS,
    half_precision,
    load,
    with_adapters,
)
from stepgym.training.played import Played, from_each

if TYPE_CHECKING:
    from stepgym.training.run import TrainConfig

IGNORED = -100.0
POLICY_DELIMITER = "\n\n"
REWARD_DELIMITER = "\n"


class TextRow(NamedTuple):
    """Tokens, and for each the target at it: the share of good (reward model), or 1 where it is learned (policy)."""

    ids: list[int]
    targets: list[float]


def train_text(
    config: TrainConfig, runs: Sequence[Played], *, progress: Progress | None = None
) -> dict[str, Any]:
    """Train a language model and save it, with its tokenizer, where `hf:FOLDER` finds it."""
    policy = str(config.kind) == "sft"
    loaded = load(config, POLICY_CLASS if policy else REWARD_CLASS)
    rows = (
        sft_rows(runs, loaded.tokenizer) if policy else reward_rows(runs, loaded.tokenizer, config)
    )
    short = [row for row in rows if len(row.ids) <= loaded.context]
    require(short, f"no usable path of up to {loaded.context} tokens ({len(rows)} in all)")
    if not policy:
        _require_both(short)
    model = with_adapters(config, loaded.model, POLICY_CLASS if policy else REWARD_CLASS)
    rows_of = batches(len(short), min(config.batch, len(short)), config.seed)

    def loss(step: int) -> Tensor:
        part = [short[i] for i in rows_of(step).tolist()]
        with half_precision(model):
            return (sft_loss if policy else reward_loss)(model, part)

    done = fit(
        model,
        loss,
        schedule=config.schedule,
        out=Path(config.out),
        progress=progress,
        save=loaded.save,
    )
    return {
        "steps": done.steps,
        "examples": len(short),
        "loss": done.loss,
        "seconds": round(done.seconds, 1),
    }


def sft_rows(runs: Sequence[Played], tokenizer: Any) -> list[TextRow]:
    """Return one row per verified path, each once: the policy's own words are learned, prompts and replies are not."""
    found: dict[tuple[int, ...], TextRow] = {}
    for record in (record for run in runs for record in run.records):
        first = prompts.head(tokenizer, record.prompt, system=prompts.SYSTEM, template=None)
        for end in ends(record, "correct"):
            ids = [token for piece in first for token in prompts.segment_ids(tokenizer, piece)]
            learned = [0.0] * len(ids)
            for node in path_to(record, end)[1:]:
                words, reply = step_ids(tokenizer, record.nodes[node], last=node == end)
                ids += [*words, *reply]
                learned += [1.0] * len(words) + [0.0] * len(reply)
            found[tuple(ids)] = TextRow(ids, learned)
    return require(list(found.values()), "no correct episode")


def step_ids(
    tokenizer: Any, node: NodeRecord, *, last: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the tokens of a step, as the policy reads them, and of its reply; the last step ends the text."""
    if last:
        end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
        return (*_ids(tokenizer, node.text), *end), ()
    reply = (
        prompts.segment_ids(tokenizer, shown_reply(node.reply) + POLICY_DELIMITER)
        if node.reply
        else ()
    )
    return prompts.segment_ids(tokenizer, node.text + POLICY_DELIMITER), reply


def reward_rows(runs: Sequence[Played], tokenizer: Any, config: TrainConfig) -> list[TextRow]:
    """Return one row per decided path, with a target at the last token of each step that could be judged."""

    def rows_of(records: Sequence[EpisodeRecord], replay: Replay) -> list[TextRow]:
        found = []
        for record in records:
            labels = _labels(record, replay, config)
            for end in (
                end for verdict in ("correct", "incorrect") for end in ends(record, verdict)
            ):
                found.append(_reward_row(tokenizer, record, path_to(record, end)[1:], labels))
        return found

    return require(from_each(runs, rows_of), "no decided path")


def sft_loss(model: Any, rows: Sequence[TextRow]) -> Tensor:
    """Return the mean cross-entropy of the learned tokens; logits are only made from the first of them on."""
    tokens, mask, learned = _padded(rows, model.device)
    first = min(row.targets.index(1.0) for row in rows)
    keep = tokens.shape[1] - first + 1
    logits = (
        model(input_ids=tokens, attention_mask=mask, logits_to_keep=keep).logits[:, :-1].float()
    )
    losses = functional.cross_entropy(
        logits.flatten(0, 1), tokens[:, first:].flatten(), reduction="none"
    )
    weights = (learned[:, first:] == 1).flatten().float()
    return (losses * weights).sum() / weights.sum().clamp(min=1)


def reward_loss(model: Any, rows: Sequence[TextRow]) -> Tensor:
    """Return the mean cross-entropy of good against bad over the judged steps."""
    tokens, mask, targets = _padded(rows, model.device)
    logits = model(input_ids=tokens, attention_mask=mask).logits.float()
    judged = targets != IGNORED
    good = logits[judged][:, 1] - logits[judged][:, 0]
    return functional.binary_cross_entropy_with_logits(good, targets[judged])


def _labels(record: EpisodeRecord, replay: Replay, config: TrainConfig) -> dict[int, float]:
    if str(config.kind) == "orm":
        return {
            end: float(v == "correct") for v in ("correct", "incorrect") for end in ends(record, v)
        }
    source = Labels(config.labels)
    exact = source in (Labels.VERIFIER, Labels.AGREEMENT)
    states = (
        replay.states(record)
        if exact
        else [_text_state(record, i) for i in range(len(record.nodes))]
    )
    labels = step_labels(record, replay, states, source)
    return {node: float(label > 0) for node, label in labels.items()} if config.hard else labels


def _reward_row(
    tokenizer: Any, record: EpisodeRecord, path: Sequence[int], labels: dict[int, float]
) -> TextRow:
    first = prompts.head(tokenizer, record.prompt, system=None, template=None)
    ids = [token for piece in first for token in _ids(tokenizer, piece)]
    targets = [IGNORED] * len(ids)
    reply = ""
    for at in path:
        node: NodeRecord = record.nodes[at]
        words = _ids(tokenizer, reply + node.text + REWARD_DELIMITER)
        ids += words
        targets += [IGNORED] * (len(words) - 1) + [labels.get(at, IGNORED)]
        reply = shown_reply(node.reply) + "\n" if node.reply else ""
    return TextRow(ids, targets)


def _text_state(record: EpisodeRecord, node: int) -> State:
    path = path_to(record, node)[1:]
    return State(
        record.prompt, tuple(Step(record.nodes[i].text, reply=record.nodes[i].reply) for i in path)
    )


def _padded(rows: Sequence[TextRow], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    width = max(len(row.ids) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    targets = torch.full((len(rows), width), IGNORED)
    for i, row in enumerate(rows):
        n = len(row.ids)
        tokens[i, :n], mask[i, :n], targets[i, :n] = (
            torch.tensor(row.ids),
            1,
            torch.tensor(row.targets),
        )
    return tokens.to(device), mask.to(device), targets.to(device)


def _require_both(rows: Sequence[TextRow]) -> None:
    labels = [target for row in rows for target in row.targets if target != IGNORED]
    if not labels or all(x >= 0.5 for x in labels) or all(x < 0.5 for x in labels):
        raise TrainingError(
            f"all {len(labels)} labels are of one class; a reward model needs both: mix levels or searches"
        )


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return found

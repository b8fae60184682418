"""From episode records to token rows: the text that the policy or the reward model reads, and what of it is learned.

The text is laid out by the functions that policy and reward model use in play. The policy's own words are learned;
prompts and the environment's replies are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from stepgym.agents.description import tokenizer_of
from stepgym.agents.policies import prompts
from stepgym.agents.policies.layout import Layout
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.tokens import shown_reply
from stepgym.envs.types import State
from stepgym.records.loader import step_of
from stepgym.records.rows.preference import forks
from stepgym.records.tree import path_to
from stepgym.training.examples import is_correct, require
from stepgym.training.language_models import UNLABELLED, TokenRow

REWARD_DELIMITER = "\n"


class PreferenceRows(NamedTuple):
    """Two continuations of one prompt; the steps that they share are not learned."""

    chosen: TokenRow
    rejected: TokenRow


def verified_rows(records: Iterable[EpisodeRecord], tokenizer: Any) -> list[TokenRow]:
    """Return a row for each verified path, equal ones once."""
    layout = Layout(tokenizer)
    rows = {
        policy_row(layout, record, path_to(record, end)): None
        for record in records
        for end in range(1, len(record.nodes))
        if is_correct(record, end)
    }
    return require(list(rows), "no correct episode")


def preference_rows(records: Iterable[EpisodeRecord], tokenizer: Any) -> list[PreferenceRows]:
    """Return for each fork the best path to a correct end over the best-valued path to an incorrect one."""
    layout, pairs = Layout(tokenizer), []
    for record in records:
        for shared, good, bad in forks(record):
            chosen, rejected = (
                policy_row(layout, record, path, num_shared=len(shared)) for path in (good, bad)
            )
            pairs.append(PreferenceRows(chosen, rejected))
    return require(pairs, "no fork with a correct and an incorrect end below it")


def reward_rows(
    records: Iterable[EpisodeRecord], tokenizer: Any, labels: Sequence[Mapping[int, float]]
) -> list[TokenRow]:
    """Return a row for each decided path; `labels` give each record's labelled nodes. Rows without any are left out."""
    rows = {
        reward_row(tokenizer, record, path_to(record, end)[1:], of_nodes): None
        for record, of_nodes in zip(records, labels, strict=True)
        for end in range(1, len(record.nodes))
        if is_correct(record, end) is not None
    }
    return require(
        [row for row in rows if set(row.targets) != {UNLABELLED}], "no step that could be judged"
    )


def policy_row(
    layout: Layout, record: EpisodeRecord, path: Sequence[int], *, num_shared: int = 1
) -> TokenRow:
    """Return a path as the policy reads it; the own tokens of all nodes but the first `num_shared` are learned.

    Steps that were sampled with this tokenizer keep their tokens; those of another one are tokenised anew.
    """
    steps = tuple(step_of(record.nodes[at]) for at in path[1:])
    known = tokenizer_of(record.agent.get("policy"))
    if known and known.get("hash") and known["hash"] != layout.describe_tokenizer()["hash"]:
        steps = tuple(replace(step, token_ids=None, token_log_probs=None) for step in steps)
    ids: list[int] = []
    targets: list[float] = []
    number = 0
    for segment in layout.segments(State(record.prompt, steps, system=record.system)):
        number += segment.is_own
        if segment.is_own and number == len(steps):
            own = layout.final_ids(steps[-1])
            ids += own
            targets += [1.0 if number >= num_shared else UNLABELLED] * len(own)
            break
        learned = segment.is_own and number >= num_shared
        ids += segment.ids
        targets += [1.0 if learned else UNLABELLED] * len(segment.ids)
    return TokenRow(tuple(ids), tuple(targets))


def reward_row(
    tokenizer: Any, record: EpisodeRecord, path: Sequence[int], labels: Mapping[int, float]
) -> TokenRow:
    """Return a path as the reward model reads it, with each step's label at the step's last token."""
    first = prompts.head(tokenizer, record.prompt, system=None, template=None)
    ids = [token for piece in first for token in _ids(tokenizer, piece)]
    targets = [UNLABELLED] * len(ids)
    reply = ""
    for at in path:
        node = record.nodes[at]
        words = _ids(tokenizer, reply + node.text + REWARD_DELIMITER)
        ids += words
        targets += [UNLABELLED] * (len(words) - 1) + [labels.get(at, UNLABELLED)]
        reply = shown_reply(node.reply) + "\n" if node.reply else ""
    return TokenRow(tuple(ids), tuple(targets))


def _ids(tokenizer: Any, text: str) -> list[int]:
    found: list[int] = tokenizer(text, add_special_tokens=False).input_ids
    return found

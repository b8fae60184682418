"""Supervised fine-tuning: the steps of verified paths. What the environment said is never learned."""

from __future__ import annotations

from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.rows.options import (
    MESSAGES,
    PROBLEM,
    Columns,
    Row,
    RowOptions,
    problem_columns,
)
from stepgym.records.rows.stretches import spans
from stepgym.records.rows.tokens import IGNORED, labelled, token_rollouts
from stepgym.records.rows.turns import turns, with_tools
from stepgym.records.tree import ends, path_to
from stepgym.records.types import TextLayout

SPANS = [{"start": "int", "end": "int", "kind": "text", "learn": "bool"}]
COLUMNS: dict[TextLayout, Columns] = {
    TextLayout.CHAT: {
        **PROBLEM,
        "prompt": MESSAGES,
        "completion": MESSAGES,
        "answer": "text",
        "selected": "bool",
    },
    TextLayout.PLAIN: {
        **PROBLEM,
        "prompt": "text",
        "completion": "text",
        "spans": SPANS,
        "answer": "text",
        "selected": "bool",
    },
    TextLayout.TOKENS: {
        **PROBLEM,
        "input_ids": ["int"],
        "labels": ["int"],
        "answer": "text",
        "selected": "bool",
    },
}
IDENTITY = {
    TextLayout.CHAT: ("prompt", "completion"),
    TextLayout.PLAIN: ("prompt", "completion"),
    TextLayout.TOKENS: ("input_ids", "labels"),
}


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield every verified path of the tree, the chosen one first; in the text layouts one row per turn."""
    found = verified_ends(record)
    if options.layout is TextLayout.TOKENS:
        yield from _token_rows(record, found, options)
        return
    if options.layout is TextLayout.CHAT and not options.learn_reasoning:
        raise UserError(
            "a chat row has no loss mask for internal reasoning; choose layout plain (spans) or tokens (labels)"
        )
    for end in found:
        for turn in turns(record, end, options):
            row: Row = {
                **problem_columns(record),
                "prompt": turn.prompt,
                "completion": turn.completion,
                "answer": record.nodes[end].answer,
                "selected": path_to(record, end) == list(record.path),
            }
            if options.layout is TextLayout.PLAIN:
                row["spans"] = [span._asdict() for span in spans(record, turn.stretch, options)]
            yield with_tools(row, turn)


def verified_ends(record: EpisodeRecord) -> list[int]:
    """Return the correct answers as nodes, the chosen one first."""
    found = ends(record, "correct")
    return sorted(found, key=lambda end: path_to(record, end) != list(record.path))


def _token_rows(record: EpisodeRecord, found: list[int], options: RowOptions) -> Iterator[Row]:
    by_end = token_rollouts(record, options, ends=found)
    for end, rollout in by_end:
        labels = labelled(rollout, options)
        if any(label != IGNORED for label in labels):
            yield {
                **problem_columns(record),
                "input_ids": [*rollout.prompt_ids, *rollout.ids],
                "labels": [IGNORED] * len(rollout.prompt_ids) + labels,
                "answer": record.nodes[end].answer,
                "selected": path_to(record, end) == list(record.path),
            }

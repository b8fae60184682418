"""Unpaired preferences (KTO): turns of the policy, each labelled by whether it can lead to a correct answer."""

from __future__ import annotations

from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows.options import (
    MESSAGES,
    PROBLEM,
    Columns,
    Row,
    RowOptions,
    problem_columns,
)
from stepgym.records.rows.turns import turns, with_tools
from stepgym.records.tree import decided_below, ends
from stepgym.records.types import TextLayout

COLUMNS: dict[TextLayout, Columns] = {
    layout: {**PROBLEM, "prompt": kind, "completion": kind, "label": "bool"}
    for layout, kind in ((TextLayout.CHAT, MESSAGES), (TextLayout.PLAIN, "text"))
}
IDENTITY = ("prompt", "completion", "label")


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield each turn that a decided answer follows; `label` is true if a correct answer lies below its end."""
    below = decided_below(record)
    for end in [*ends(record, "correct"), *ends(record, "incorrect")]:
        for turn in turns(record, end, options):
            row: Row = {
                **problem_columns(record),
                "prompt": turn.prompt,
                "completion": turn.completion,
                "label": bool(below[turn.node][0]),
            }
            yield with_tools(row, turn)

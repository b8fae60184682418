"""One row per node of a search tree: its state, step and statistics."""

from __future__ import annotations

from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows.options import PROBLEM, Columns, Row, RowOptions, problem_columns
from stepgym.records.rows.stretches import plain_before
from stepgym.records.tree import path_to

KEPT: Columns = {
    "text": "text",
    "reply": "text",
    "log_prob": "float",
    "num_tokens": "int",
    "prior": "float",
    "score": "float",
    "visits": "int",
    "value": "float",
    "status": "text",
    "answer": "text",
    "verdict": "text",
    "step_verdict": "text",
}
"""Fields of a node that are columns as they are."""
COLUMNS: Columns = {
    **PROBLEM,
    "node": "int",
    "parent": "int",
    "depth": "int",
    "prompt": "text",
    **KEPT,
    "selected": "bool",
}


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the nodes in the tree's order; `prompt` is the state before the step, in layout plain."""
    selected = set(record.path)
    for number, node in enumerate(record.nodes):
        path = path_to(record, number)
        yield {
            **problem_columns(record),
            "node": number,
            "parent": node.parent,
            "depth": len(path) - 1,
            "prompt": plain_before(record, path[1:-1], options),
            **{name: getattr(node, name) for name in KEPT},
            "selected": number in selected,
        }

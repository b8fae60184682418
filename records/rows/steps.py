"""Step labels, for process reward models: in columns of our own, and in OpenRLHF's."""

from __future__ import annotations

from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rollouts import STEP_REWARDS
from stepgym.records.rows.options import PROBLEM, Columns, Row, RowOptions, problem_columns
from stepgym.records.tree import decided_below, ends, path_to

COLUMNS: Columns = {
    **PROBLEM,
    "prompt": "text",
    "completions": ["text"],
    "replies": ["text"],
    "labels": ["bool"],
    "values": ["float"],
    "verified": ["bool"],
    "correct": "bool",
}
IDENTITY = ("prompt", "completions", "labels")
OPENRLHF_COLUMNS: Columns = {"input": "text", "label": ["text"]}
OPENRLHF_IDENTITY = ("input", "label")
OPENRLHF_PLACEHOLDER = "ки"
"""The token after which OpenRLHF's process reward model reads a label (as in the Math-Shepherd data)."""


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one row per decided path: its steps, and for each step whether a correct answer lies below it.

    `labels` are hard (some correct answer below), `values` soft (the fraction of decided answers below that are
    correct), `verified` the step verifier's (null if undecided, or without one).
    """
    below = decided_below(record)
    for end in [*ends(record, "correct"), *ends(record, "incorrect")]:
        path = path_to(record, end)[1:]
        counts = [(len(below[step][0]), len(below[step][1])) for step in path]
        rewards = [STEP_REWARDS.get(record.nodes[step].step_verdict or "") for step in path]
        yield {
            **problem_columns(record),
            "prompt": record.prompt,
            "completions": [record.nodes[step].text for step in path],
            "replies": [record.nodes[step].reply for step in path],
            "labels": [good > 0 for good, _ in counts],
            "values": [good / (good + bad) for good, bad in counts],
            "verified": [None if reward is None else reward > 0 for reward in rewards],
            "correct": record.nodes[end].verdict == "correct",
        }


def openrlhf_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield `rows` in OpenRLHF's columns: the placeholder after each step, one `+` or `-` for each."""
    for row in rows(record, options):
        steps = [f"{text} {OPENRLHF_PLACEHOLDER}" for text in row["completions"]]
        yield {
            "input": row["prompt"] + "\n" + "\n".join(steps),
            "label": ["+" if good else "-" for good in row["labels"]],
        }

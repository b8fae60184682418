"""Step labels, for process reward models: in columns of our own and in those of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Status
from stepgym.records.rollouts import STEP_REWARDS
from stepgym.records.rows.options import PROBLEM, Columns, Row, RowOptions, problem_columns
from stepgym.records.tree import children_of, decided_below, ends, path_to

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
STEPWISE_COLUMNS: Columns = {"prompt": "text", "completions": ["text"], "labels": ["bool"]}
OPENRLHF_COLUMNS: Columns = {"input": "text", "label": ["text"]}
OPENRLHF_IDENTITY = ("input", "label")
SHEPHERD_COLUMNS: Columns = {"input": "text", "label": "text", "task": "text"}
SHEPHERD_IDENTITY = ("input", "label")
PRM800K_COLUMNS: Columns = {
    "question": {"problem": "text", "ground_truth_answer": "text"},
    "label": {
        "steps": [
            {
                "completions": [{"text": "text", "rating": "int", "flagged": "bool"}],
                "human_completion": "text",
                "chosen_completion": "int",
            }
        ],
        "total_time": "int",
        "finish_reason": "text",
    },
}
PRM800K_IDENTITY = ("question", "label")
PLACEHOLDER = "ки"
"""The token after which the readers of the Math-Shepherd data and OpenRLHF look for a label."""


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


def stepwise_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield `rows` in the three columns of stepwise supervision (TRL until 1.13, axolotl)."""
    for row in rows(record, options):
        yield {name: row[name] for name in STEPWISE_COLUMNS}


def openrlhf_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield `rows` in OpenRLHF's columns: the placeholder after each step, one `+` or `-` for each."""
    for row in _without_placeholder(record, options):
        steps = [f"{text} {PLACEHOLDER}" for text in row["completions"]]
        yield {
            "input": row["prompt"] + "\n" + "\n".join(steps),
            "label": ["+" if good else "-" for good in row["labels"]],
        }


def shepherd_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield `rows` as the Math-Shepherd data: numbered steps, and the same text with labels for placeholders."""
    for row in _without_placeholder(record, options):
        texts = [" ".join(text.split()) for text in row["completions"]]
        if any("Step 1:" in text for text in (row["prompt"], *texts)):
            continue  # readers find the first step by these words
        marks = ["+" if good else "-" for good in row["labels"]]
        yield {
            "input": _numbered(row["prompt"], texts, [PLACEHOLDER] * len(texts)),
            "label": _numbered(row["prompt"], texts, marks),
            "task": record.env_id,
        }


def _numbered(prompt: str, texts: list[str], marks: list[str]) -> str:
    lines = [
        f"Step {number}: {text} {mark}"
        for number, (text, mark) in enumerate(zip(texts, marks), start=1)
    ]
    return prompt + " " + "\n".join(lines)


def _without_placeholder(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the rows whose texts contain no placeholder, which would be taken for the end of a step."""
    for row in rows(record, options):
        if not any(PLACEHOLDER in text for text in (row["prompt"], *row["completions"])):
            yield row


def prm800k_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the tree as PRM800K has it: at each step of one path all rated alternatives.

    The path is one to a correct answer if there is any, and the chosen one if that is as good. A rating is 1 if a
    correct answer lies below the step or the step verifier found it correct, and -1 if neither. A path to an incorrect
    answer stops at its first step rated -1.
    """
    decided = ends(record, Status.CORRECT.value) or ends(record, Status.INCORRECT.value)
    if not decided:
        return
    end = record.path[-1] if record.path[-1] in decided else decided[0]
    children, below = children_of(record), decided_below(record)
    steps: list[dict[str, Any]] = []
    for step in path_to(record, end)[1:]:
        ratings = {
            child: rating
            for child in children[record.nodes[step].parent]
            if (rating := _rating(record, child, below)) is not None
        }
        chosen = list(ratings).index(step) if ratings.get(step) == 1 else None
        steps.append(
            {
                "completions": [
                    {"text": record.nodes[child].text, "rating": rating, "flagged": False}
                    for child, rating in ratings.items()
                ],
                "human_completion": None,
                "chosen_completion": chosen,
            }
        )
        if chosen is None:
            break
    found_error = steps[-1]["chosen_completion"] is None
    yield {
        "question": {"problem": record.prompt, "ground_truth_answer": record.reference},
        "label": {
            "steps": steps,
            "total_time": 0,
            "finish_reason": "found_error" if found_error else "solution",
        },
    }


def _rating(
    record: EpisodeRecord, node: int, below: list[tuple[list[int], list[int]]]
) -> int | None:
    good, bad = below[node]
    verified = record.nodes[node].step_verdict
    if good or verified == Status.CORRECT.value:
        return 1
    return -1 if bad or verified == Status.INCORRECT.value else None

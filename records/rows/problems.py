"""Problems alone, as prompts for trainers that play them: in columns of our own and in verl's.

The prompt is laid out as a policy with a chat template reads it. Environment, options and index name the problem, so
that a reward function can verify an answer as the environment does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows.options import (
    MESSAGES,
    PROBLEM,
    Columns,
    Row,
    RowOptions,
    first_messages,
    problem_columns,
)

COLUMNS: Columns = {
    **PROBLEM,
    "prompt": MESSAGES,
    "answer": "text",
    "index": "int",
    "env_options": "text",
}
IDENTITY = ("env_id", "env_options", "prompt", "answer")
VERL_COLUMNS: Columns = {
    "data_source": "text",
    "prompt": MESSAGES,
    "ability": "text",
    "reward_model": {"style": "text", "ground_truth": "text"},
    "extra_info": {
        "index": "int",
        "level": "int",
        "problem_id": "text",
        "verdict": "text",
        "env_options": "text",
    },
}
VERL_IDENTITY = ("prompt", "reward_model")


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the problem; `answer` is the reference, `env_options` are JSON."""
    yield {
        **problem_columns(record),
        "prompt": first_messages(record, options),
        "answer": record.reference,
        "index": record.index,
        "env_options": json.dumps(dict(record.env_options), sort_keys=True),
    }


def verl_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the problem with what `stepgym.interop.verl.compute_score` needs; `extra_info` has the episode's verdict."""
    yield {
        "data_source": record.env_id,
        "prompt": first_messages(record, options),
        "ability": record.env_id.rpartition("/")[2].partition("-")[0].lower(),
        "reward_model": {"style": "rule", "ground_truth": record.reference},
        "extra_info": {
            "index": record.index,
            "level": record.level,
            "problem_id": record.problem_id,
            "verdict": record.verdict,
            "env_options": json.dumps(dict(record.env_options), sort_keys=True),
        },
    }

"""Problems alone, as prompts for trainers that play them: verl's columns."""

from __future__ import annotations

from collections.abc import Iterator

from stepgym.agents.types import EpisodeRecord
from stepgym.records.rows.options import MESSAGES, Columns, Row, RowOptions

VERL_COLUMNS: Columns = {
    "data_source": "text",
    "prompt": MESSAGES,
    "ability": "text",
    "reward_model": {"style": "text", "ground_truth": "text"},
    "extra_info": {"index": "int", "level": "int", "problem_id": "text", "verdict": "text"},
}
VERL_IDENTITY = ("prompt", "reward_model")


def verl_rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield the problem with the ground truth for verl's reward function; `extra_info` has the episode's verdict."""
    yield {
        "data_source": record.env_id,
        "prompt": [{"role": "user", "content": record.prompt}],
        "ability": record.env_id.rpartition("/")[2].partition("-")[0].lower(),
        "reward_model": {"style": "rule", "ground_truth": record.reference},
        "extra_info": {
            "index": record.index,
            "level": record.level,
            "problem_id": record.problem_id,
            "verdict": record.verdict,
        },
    }

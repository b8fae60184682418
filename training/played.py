"""Run folders as trainers read them: the records, and the environment that they were played in, options and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from stepgym.agents.types import EpisodeRecord
from stepgym.records.run_folder import read_config, read_episodes
from stepgym.training.examples import Replay
from stepgym.training.types import TrainingError

Example = TypeVar("Example")


class Played(NamedTuple):
    """One run folder."""

    records: list[EpisodeRecord]
    replay: Replay
    """Plays the records again as they were played."""


def read_runs(folders: Sequence[str]) -> list[Played]:
    """Read run folders. Raises `RecordError`, and `TrainingError` where none is named."""
    if not folders:
        raise TrainingError(
            "say which run folders to learn from: --runs FOLDER (`stepgym selfplay` writes them)"
        )
    return [
        Played(list(read_episodes(each)), Replay(options=read_config(each).env_options))
        for each in folders
    ]


def from_each(
    runs: Iterable[Played], examples_of: Callable[[list[EpisodeRecord], Replay], list[Example]]
) -> list[Example]:
    """Return the examples of all runs, in order."""
    return [example for run in runs for example in examples_of(run.records, run.replay)]

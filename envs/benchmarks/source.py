"""Where a benchmark's rows come from: a file, the Hugging Face hub by name, or examples that ship with the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from stepgym.envs.rows import DataFileError, Row, read_rows, without_nulls

FROM_HUB = "hub"


class HubName(NamedTuple):
    """A data set on the hub."""

    path: str
    split: str
    config: str | None = None


def benchmark_rows(file: str | Path | None, hub: HubName, examples: str) -> list[Row]:
    """Return the rows of a benchmark: of a file, of the hub for `file="hub"`, or the shipped examples of that name.

    Raises `DataFileError`.
    """
    if file is None:
        with as_file(files("stepgym.envs.benchmarks") / "examples" / f"{examples}.jsonl") as path:
            return read_rows(path)
    return _hub_rows(hub) if file == FROM_HUB else read_rows(file)


def _hub_rows(hub: HubName) -> list[Row]:
    try:
        import datasets

        table = datasets.load_dataset(hub.path, hub.config, split=hub.split)
    except Exception as error:  # a hub client may raise anything
        reason = str(error).strip().split("\n")[0][:200]
        raise DataFileError(
            f"file='hub' needs the package `datasets` and a connection to the hub, where the data is {hub.path!r} "
            f"({type(error).__name__}: {reason}); give file=PATH instead"
        ) from error
    return [
        Row(Path(hub.path), number, without_nulls(dict(row)))
        for number, row in enumerate(table, start=1)
    ]

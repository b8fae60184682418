"""Where a benchmark's rows come from: a file, or the Hugging Face hub by name."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stepgym.envs.rows import DataFileError, Row, read_rows


class HubName(NamedTuple):
    """A data set on the hub."""

    path: str
    split: str
    config: str | None = None


def benchmark_rows(benchmark: str, file: str | Path | None, hub: HubName) -> list[Row]:
    """Return the rows of a benchmark. Raises `DataFileError`, which says how to get the data."""
    if file is not None:
        return read_rows(file)
    try:
        import datasets

        table = datasets.load_dataset(hub.path, hub.config, split=hub.split)
    except Exception as error:
        reason = str(error).strip().split("\n")[0][:200]
        raise DataFileError(
            f"{benchmark} needs its data: give file=PATH, or install `datasets` and connect to the hub, where it is "
            f"{hub.path!r} ({type(error).__name__}: {reason})"
        ) from error
    return [Row(Path(hub.path), number, dict(row)) for number, row in enumerate(table, start=1)]

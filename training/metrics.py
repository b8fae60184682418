"""Figures of a training run: one JSON line per report, and TensorBoard's event file if that package is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stepgym.records.atomic import write_whole

METRICS = "metrics.jsonl"


@contextmanager
def open_metrics(
    out: Path | None, *, first: int = 0
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Give a function that reports the values of a step to `out/metrics.jsonl` and, if installed, to TensorBoard.

    A run that resumes after `first` steps drops the lines that it writes again, and a line whose writer was killed.
    Without a folder nothing is written.
    """
    if out is None:
        yield lambda step, values: None
        return
    out.mkdir(parents=True, exist_ok=True)
    file = out / METRICS
    if file.is_file():
        kept = [line for line in read_metrics(file) if line.get("step", 0) <= first]
        write_whole(file, "".join(json.dumps(line) + "\n" for line in kept))
    board: Any = None
    if importlib.util.find_spec("tensorboard") is not None:
        from torch.utils.tensorboard.writer import SummaryWriter

        board = SummaryWriter(str(out / "tensorboard"), purge_step=first + 1)

    def report(step: int, values: Mapping[str, float]) -> None:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **values}) + "\n")
        if board is not None:
            for name, value in values.items():
                board.add_scalar(name, value, step)

    try:
        yield report
    finally:
        if board is not None:
            board.close()


def read_metrics(file: Path) -> list[dict[str, Any]]:
    """Return the lines that are whole; a line that is not JSON is left out."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            continue
        if isinstance(read, dict):
            found.append(read)
    return found

"""Figures of a training run: one JSON line per report, and TensorBoard's event file if that package is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepgym.records.atomic import write_whole

METRICS = "metrics.jsonl"


class Metrics:
    """Appends to `out/metrics.jsonl` and, if tensorboard is installed, to `out/tensorboard`; use it as a context.

    A run that resumes after `first` steps drops the lines that it writes again, and a line whose writer was killed.
    """

    def __init__(self, out: Path, *, first: int = 0) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self.file = out / METRICS
        if self.file.is_file():
            kept = [line for line in read_metrics(self.file) if line.get("step", 0) <= first]
            write_whole(self.file, "".join(json.dumps(line) + "\n" for line in kept))
        self._board: Any = None
        if importlib.util.find_spec("tensorboard") is not None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Report the values of one step."""
        with self.file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, **values}) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close TensorBoard's writer; a second call does nothing."""
        if self._board is not None:
            self._board.close()
            self._board = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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

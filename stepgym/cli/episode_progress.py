"""Progress of episodes on standard error: a bar in a terminal, a line every ten seconds without one."""

from __future__ import annotations

import threading

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar

from stepgym.training.progress import progress_lines
from stepgym.training.types import Progress

STARTING = "starting: models are loaded, first episodes are played"
QUIET_S = 2.0
"""Without a terminal, the start is mentioned if it takes longer."""


class EpisodeProgress:
    """Shows the number of finished episodes, the time left and the latest figures. A context manager; `show` is the callback.

    Until the first episode it says that the run is starting, because a model may take minutes to load.
    """

    def __init__(self, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self.num_new = 0
        """Episodes that were finished while it showed."""
        self._before = 0
        self._task = ""
        self._bar: ProgressBar | None = None
        self._waiting: TaskID | None = None
        self._lines = None
        self._start: threading.Timer | None = None
        if quiet:
            return
        if console.is_terminal:
            self._bar = ProgressBar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[figures]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=console,
            )
        else:
            self._lines = progress_lines(lambda line: click.echo(line, err=True))
            self._start = threading.Timer(QUIET_S, click.echo, [STARTING], {"err": True})
            self._start.daemon = True

    def show(self, now: Progress) -> None:
        """Show one more finished episode."""
        self._started()
        if now.task != self._task:
            self._before, self._task = self.num_new, now.task
            if self._bar is not None:
                self._row = self._bar.add_task(now.task, total=now.total, figures="")
        self.num_new = self._before + int(now.figures["new"])
        if self._bar is not None:
            self._bar.update(self._row, completed=now.done, figures=_words(now))
        elif self._lines is not None:
            self._lines(now)

    def _started(self) -> None:
        """Take away what said that the run is starting."""
        if self._start is not None:
            self._start.cancel()
            self._start = None
        if self._bar is not None and self._waiting is not None:
            self._bar.remove_task(self._waiting)
            self._waiting = None

    def __enter__(self) -> EpisodeProgress:
        if self._bar is not None:
            self._waiting = self._bar.add_task(STARTING, total=None, figures="")
            self._bar.start()
        elif self._start is not None:
            self._start.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._started()
        if self._bar is not None:
            self._bar.stop()


def _words(now: Progress) -> str:
    words = []
    for name, value in now.figures.items():
        if name == "solved":
            words.append(f"solved {value:.0%}")
        elif name == "usd":
            words.append(f"${value:.4f}")
        elif name != "new":
            words.append(f"{value:.0f} {name}")
    return ", ".join(words)

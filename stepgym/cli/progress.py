"""Progress on standard error: a line now and then, the same on a terminal and in a log."""

from __future__ import annotations

import click

from stepgym.training.progress import progress_lines
from stepgym.training.types import OnProgress


def show_progress(*, every_s: float = 5.0) -> OnProgress:
    """Return a function that prints a task's progress: items done, rate, time left, latest figures."""
    return progress_lines(lambda line: click.echo(line, err=True), every_s=every_s)

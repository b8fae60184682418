"""What the commands of all claims share: one thread for torch, progress on standard error."""

from __future__ import annotations

import click


def report(line: str) -> None:
    """Print a line of progress on standard error; worker processes call it too."""
    click.echo(line, err=True)


def use_one_thread() -> None:
    """Limit torch to one thread: the models are small, and `--jobs` uses the other cores."""
    import torch

    torch.set_num_threads(1)

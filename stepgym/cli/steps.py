"""`stepgym steps`: the step verifier for free text, measured on a file of labelled solutions."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stepgym.cli.options import user_errors
from stepgym.envs.steps.processbench import measure, read_labelled


@click.command("steps")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(file: Path, as_json: bool) -> None:
    """Verify the steps of FILE and compare the first error found with its labels.

    FILE is JSON or JSON lines in ProcessBench's shape: `problem`, `steps`, and `label`, the index of the first
    erroneous step or -1. A step is called wrong only with a proof; each proof that contradicts a label is printed.
    """
    with user_errors():
        figures = measure(read_labelled(file))
    if as_json:
        rows = [flag._asdict() for flag in figures.disagreements]
        click.echo(json.dumps({**figures._asdict(), "disagreements": rows}))
        return
    for flag in figures.disagreements:
        labelled = "no error" if flag.labelled is None else f"step {flag.labelled}"
        click.echo(
            f"{flag.id}: step {flag.found} is wrong, the label says {labelled}: {flag.reason}"
        )
    click.echo(
        f"erroneous: {_percent(figures.error_accuracy)} of {figures.num_erroneous} found at the labelled step"
        f" ({_percent(figures.flagged_precision)} of those flagged)"
    )
    click.echo(
        f"correct: {_percent(figures.correct_accuracy)} of {figures.num_correct} not flagged"
    )
    click.echo(f"F1: {_f1(figures.f1)}")
    click.echo(f"F1 without the rows whose label is contradicted: {_f1(figures.f1_undisputed)}")


def _f1(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.1%}"

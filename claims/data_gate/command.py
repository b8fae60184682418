"""`stepgym reproduce data-gate`: options and output of this claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.claims.command_line import report
from stepgym.claims.data_gate.claim import reproduce_data_gate
from stepgym.cli.options import resumable


@click.command("data-gate")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/data-gate"),
    show_default=True,
    help="Folder for results; run the same command to continue.",
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Number of seeds."
)
@click.option(
    "--rounds",
    default=150,
    show_default=True,
    type=click.IntRange(min=1),
    help="Rounds of 16 proposals.",
)
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(min=1), help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(out: Path, as_json: bool, **given: Any) -> None:
    """Play a tabular proposer against a tabular solver, with and without a gate, under two rewards."""
    with resumable():
        results = reproduce_data_gate(out, **given, write_line=report)
    if as_json:
        click.echo(json.dumps(results))
        return
    for arm, found in results.items():
        shown = {name: " ".join(f"{value:.3f}" for value in found[name]) for name in found}
        click.echo(
            f"{arm:18} solved {shown['first']} -> {shown['last']}; unsound proposals {shown['unsound']}"
        )

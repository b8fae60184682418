"""`stepgym reproduce small-beats-14x`: options and output of this claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.claims.command_line import report, use_one_thread
from stepgym.cli.options import resumable


@click.command("small-beats-14x")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/small-beats-14x"),
    show_default=True,
    help="Folder for results; run the same command to continue.",
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Number of seeds."
)
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice(["countdown", "sums"]),
    default=("countdown", "sums"),
    show_default=True,
    help="Families of problems.",
)
@click.option(
    "--problems",
    "num_problems",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Held-out problems per seed and level.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Training steps of each policy  [default: the family's].",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share seeds and families.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(as_json: bool, **given: Any) -> None:
    """Compare a small model with search to one of 15 times its size without, at equal test-time FLOPs."""
    use_one_thread()
    # Imports torch.
    from stepgym.claims.small_beats_large.claim import small_beats_large

    with resumable():
        results = small_beats_large(**given, write_line=report)
    if as_json:
        click.echo(json.dumps(results))
        return
    for family in results["families"]:
        click.secho(
            f"{family['family']}, level {family['level']}, {family['steps']} training steps",
            bold=True,
        )
        click.echo(
            f"{'':62} {'solved':>7} {'95% interval':>14} {'over large greedy':>23} {'MFLOP':>8} {'at most':>8}"
        )
        for row in family["methods"]:
            low, high = row["ci"]
            less, more = row["over_large_greedy_ci"]
            click.echo(
                f"{row['name']:62} {row['solved']:7.3f} {low:.3f} to {high:.3f}"
                f"  {row['over_large_greedy']:+.3f} ({less:+.3f}, {more:+.3f}) {row['mflop']:8.2f} {row['mflop_most']:8.2f}"
            )
    click.echo(f"figure: {given['out'] / 'figure.png'}")

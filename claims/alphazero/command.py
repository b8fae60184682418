"""`stepgym reproduce alphazero`: options and output of this claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.claims.command_line import report, use_one_thread
from stepgym.cli.options import resumable
from stepgym.plugins.names import unknown_name

ARMS = (
    "vote",
    "vote-paths",
    "verifier",
    "rejection",
    "random",
    "shuffled",
    "oracle",
    "imitation",
    "scratch",
)
"""The same as in `stepgym.claims.alphazero.claim`, which imports torch; a test compares the two."""


@click.command("alphazero")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/alphazero"),
    show_default=True,
    help="Folder for results; run the same command to continue.",
)
@click.option(
    "--seeds", default=3, show_default=True, type=click.IntRange(min=1), help="Number of seeds."
)
@click.option(
    "--first-seed", default=0, show_default=True, type=click.IntRange(min=0), help="First seed."
)
@click.option("--generations", type=click.IntRange(min=1), help="In task of each arm's own.")
@click.option(
    "--episodes",
    default=400,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems played per generation.",
)
@click.option(
    "--held-out",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Held-out problems.",
)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=("vote", "random"),
    show_default=True,
    help=f"One of {', '.join(ARMS)}, or all.",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share the seeds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(as_json: bool, arms: tuple[str, ...], **given: Any) -> None:
    """Improve a policy by self-play without labels, and compare with a random teacher and other controls."""
    use_one_thread()
    # Imports torch.
    from stepgym.claims.alphazero.claim import self_play_improves

    with resumable():
        for arm in set(arms) - {*ARMS, "all"}:
            raise unknown_name("arm", arm, (*ARMS, "all"), dotted=False)
        chosen = ARMS if "all" in arms else arms
        results = self_play_improves(**given, arms=chosen, write_line=report)
    if as_json:
        click.echo(json.dumps(results))
        return
    for arm, figures in results.items():
        for what in ("greedy", "searched"):
            shown = "  ".join(
                f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in figures[what]
            )
            click.echo(f"{arm:10} {what:9} {shown}")
    click.echo(f"curves: {given['out'] / 'index.html'}")

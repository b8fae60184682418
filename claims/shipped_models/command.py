"""`stepgym train embedded`: the command that trains the shipped models."""

from __future__ import annotations

from pathlib import Path

import click

from stepgym.claims.command_line import use_one_thread
from stepgym.cli.options import resumable
from stepgym.cli.progress import show_progress
from stepgym.cli.train import print_figures


@click.command("embedded")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for policy/ and prm/; run the same command to continue.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of data, weights and batches.")
@click.option("--quick", is_flag=True, help="Train for a hundredth of the steps, as a test.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(out: Path, seed: int, quick: bool, as_json: bool) -> None:
    """Train the embedded Countdown policy and reward model from scratch."""
    use_one_thread()
    from stepgym.claims.shipped_models.training import Settings, train_embedded  # imports torch

    settings = Settings(seed=seed)
    if quick:
        settings = settings._replace(
            num_problems=400,
            policy_schedule=settings.policy_schedule._replace(steps=50),
            prm_schedule=settings.prm_schedule._replace(steps=25),
        )
    with resumable():
        figures = train_embedded(out, settings, progress=show_progress())
    print_figures(figures, as_json)

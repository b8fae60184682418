"""`stepgym train`: make a policy or a reward model better; `stepgym train embedded` makes the shipped ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click


@click.group()
def command() -> None:
    """Train a policy or a reward model."""


@command.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for policy/ and prm/; resumes there.")
@click.option("--seed", default=0, show_default=True)
@click.option("--quick", is_flag=True, help="A hundredth of the steps, to see that it runs.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def embedded(out: Path, seed: int, quick: bool, as_json: bool) -> None:
    """Train the embedded Countdown policy and reward model from scratch."""
    import torch

    from stepgym.selfplay.train.embedded import Settings, train_embedded

    torch.set_num_threads(1)
    settings = Settings(seed=seed)
    if quick:
        settings = settings._replace(
            num_problems=400,
            policy_schedule=settings.policy_schedule._replace(steps=50),
            prm_schedule=settings.prm_schedule._replace(steps=25),
        )
    figures = train_embedded(out, settings, progress=show)
    print_figures(figures, as_json)


def show(step: int, steps: int, metrics: dict[str, float]) -> None:
    """One line of progress on standard error, every tenth of the way."""
    if step == steps or step % max(50, steps // 10) == 0:
        told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        click.echo(f"step {step}/{steps}  {told}", err=True)


def print_figures(figures: dict[str, Any], as_json: bool) -> None:
    """Print what came out."""
    if as_json:
        click.echo(json.dumps(figures))
    else:
        for name, value in figures.items():
            click.echo(f"{name:16} {value:.4g}" if isinstance(value, float) else f"{name:16} {value}")

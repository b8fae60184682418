"""`stepgym loop CONFIG`: repeat play, training and evaluation, and keep the better policy."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stepgym.cli.options import resumable


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", help="Folder of the loop  [default: the name of CONFIG without its suffix]")
@click.option(
    "--generations",
    type=click.IntRange(min=0),
    help="Overrides the config; a larger number than before continues the loop.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the generations as JSON.")
def command(config: Path, out: str | None, generations: int | None, as_json: bool) -> None:
    """Run the loop that CONFIG (TOML) describes; run the same command to continue."""
    import torch

    # These import torch.
    from stepgym.selfplay.curves import write_curves
    from stepgym.selfplay.loop import run_loop
    from stepgym.selfplay.loop_config import read_loop_config

    torch.set_num_threads(1)
    with resumable():
        settings = read_loop_config(config, out=out, generations=generations)
        lines = run_loop(settings, tell=lambda line: click.echo(line, err=True))
    page = write_curves(Path(settings.out), {Path(settings.out).name: [lines]})
    if as_json:
        click.echo(
            json.dumps(
                [
                    {k: v for k, v in line.items() if k not in ("solved", "searched_solved")}
                    for line in lines
                ]
            )
        )
    else:
        click.echo(f"curves: {page}")

"""`stepgym reproduce transfer`: options and output of this claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.agents.registry import load_policy
from stepgym.claims.command_line import report, use_one_thread
from stepgym.cli.options import resumable
from stepgym.plugins.errors import UserError


@click.command("transfer")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs/transfer"),
    show_default=True,
    help="Folder for results; run the same command to continue.",
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="Measure this policy instead of training any; may be repeated.",
)
@click.option(
    "--env",
    "envs",
    multiple=True,
    metavar="ID[,NAME=VALUE...]",
    help="With --policy: an environment, such as Countdown-v0,level=3; may be repeated.",
)
@click.option(
    "--agent",
    default="greedy",
    show_default=True,
    metavar="NAME",
    help="With --policy: search method.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of seeds of training; with --policy, of problems.",
)
@click.option(
    "--problems",
    "num_problems",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Held-out problems per task and seed.",
)
@click.option(
    "--steps",
    default=600,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps on each task.",
)
@click.option(
    "--adapt-steps",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps of the adaptation to each task.",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share the seeds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def command(
    as_json: bool, policies: tuple[str, ...], envs: tuple[str, ...], agent: str, **given: Any
) -> None:
    """Train on one task, measure on all; or measure your own policies on any environments."""
    use_one_thread()
    # Imports torch.
    from stepgym.claims.transfer.claim import reproduce_transfer

    with resumable():
        if bool(policies) != bool(envs):
            raise UserError(
                "--policy and --env need each other: give the policies and the environments"
            )
        results = (
            _transfer_of(policies, envs, agent, given)
            if policies
            else reproduce_transfer(**given, write_line=report)
        )
    if as_json:
        click.echo(json.dumps(results))
        return
    for name in ("as_is", "adapted"):
        if name in results:
            click.secho(name.replace("_", " "), bold=True)
            _print_matrix(results[name])
    click.echo(f"heat map: {given['out'] / 'heatmap.png'}")


def _transfer_of(
    policies: tuple[str, ...], envs: tuple[str, ...], agent: str, given: dict[str, Any]
) -> dict[str, Any]:
    # Imports torch.
    from stepgym.claims.transfer.claim import matrix, measure, read_task, write_transfer

    tasks = [read_task(env) for env in envs]
    loaded = {name: load_policy(name, seed=0) for name in policies}
    players = {name: (lambda task, policy=policy: policy) for name, policy in loaded.items()}
    found = [
        measure(
            players,
            tasks,
            num_problems=given["num_problems"],
            seed=seed,
            agent=agent,
            write_line=report,
        )
        for seed in range(given["seeds"])
    ]
    outcomes = {
        row: {column: [seed[row][column] for seed in found] for column in cells}
        for row, cells in found[0].items()
    }
    about = {"agent": agent, "problems": given["num_problems"], "seeds": given["seeds"]}
    return write_transfer(given["out"], {**about, "as_is": matrix(outcomes)})


def _print_matrix(cells: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(cell["on"] for cell in cells))
    width = max(map(len, (*columns, "0.000 (0.000, 0.000)"))) + 2
    click.echo(f"{'trained on':26}" + "".join(f"{column:>{width}}" for column in columns))
    for row in dict.fromkeys(cell["trained_on"] for cell in cells):
        line = [cell for cell in cells if cell["trained_on"] == row]
        shown = [
            f"{cell['solved']:.3f} ({cell['ci'][0]:.3f}, {cell['ci'][1]:.3f})" for cell in line
        ]
        click.echo(f"{row:26}" + "".join(f"{text:>{width}}" for text in shown))

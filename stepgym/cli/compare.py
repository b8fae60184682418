"""`stepgym compare`: two runs over the same problems."""

from __future__ import annotations

import json

import click

from stepgym.cli.options import JSON_OBJECT, user_errors
from stepgym.records.comparison import compare
from stepgym.records.run_folder import read_config, read_episodes

MAX_SHOWN = 10


@click.command("compare")
@click.argument("first", metavar="DIR", type=click.Path())
@click.argument("second", metavar="DIR", type=click.Path())
@JSON_OBJECT
def command(first: str, second: str, as_json: bool) -> None:
    """Compare the second run with the first, problem by problem.

    Prints the difference of their accuracies with a paired bootstrap interval, an exact McNemar test, and the
    problems that changed. Undecided and failed episodes are left out.
    """
    with user_errors():
        for folder in (first, second):
            read_config(folder)
        result = compare(read_episodes(first), read_episodes(second))
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    click.echo(f"{result.num_problems} problems decided in both runs")
    click.echo(f"first:  {result.first:.1%}  {first}")
    click.echo(f"second: {result.second:.1%}  {second}")
    click.echo(
        f"difference: {100 * result.difference:+.1f} points [{100 * result.ci.low:+.1f}, {100 * result.ci.high:+.1f}],"
        f" McNemar p = {result.p_value:.3g}"
    )
    for name, problems in (("gained", result.gained), ("lost", result.lost)):
        shown = ", ".join(problems[:MAX_SHOWN])
        more = f" and {len(problems) - MAX_SHOWN} more" if len(problems) > MAX_SHOWN else ""
        click.echo(f"{name}: {len(problems)}{f'  {shown}{more}' if problems else ''}")
    if result.only_first or result.only_second:
        click.echo(
            f"left out: {result.only_first} problems that only the first run decided,"
            f" {result.only_second} that only the second did"
        )

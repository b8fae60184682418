"""`stepgym validate`: check that references pass and that empty and constant answers fail."""

from __future__ import annotations

import json
from typing import Any

import click

from stepgym.cli.options import JSON_OBJECT, settings_option, user_errors
from stepgym.envs.registry import load_env
from stepgym.envs.validation import REPEATS, Validation, validate

SHOWN = 20


@click.command()
@click.argument("env_id")
@settings_option("--env-option", "Option of the environment, such as file=PATH.")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=1),
    help="Validate so many problems (all of a data set, 200 of a procedural set by default).",
)
@click.option(
    "--repeats",
    type=click.IntRange(min=1),
    default=REPEATS,
    show_default=True,
    help="Verify each reference so often; its verdicts must agree.",
)
@JSON_OBJECT
def command(
    env_id: str,
    env_option: tuple[tuple[str, Any], ...],
    count: int | None,
    repeats: int,
    as_json: bool,
) -> None:
    """Validate the problems of ENV_ID and list those to leave out.

    Every command leaves them out with `--env-option leave_out=REPORT`, REPORT being the output of this command with
    --json.
    """
    with user_errors():
        env = load_env(env_id, **dict(env_option))
        try:
            found = validate(env, count=count, repeats=repeats)
        finally:
            env.close()
    if as_json:
        click.echo(json.dumps(found.row()))
    else:
        _print(found)


def _print(found: Validation) -> None:
    click.echo(f"problems               {found.problems}")
    click.echo(f"rows left out          {len(found.rows_skipped)}")
    click.echo(f"reference correct      {found.reference_correct}")
    click.echo(f"reference undecided    {found.reference_undecided}")
    click.echo(f"empty answer correct   {found.empty_correct}")
    click.echo(f"constant answer correct {found.constant_correct}")
    click.echo(f"verdicts that differ   {found.unstable}")
    click.echo(f"time                   {found.seconds:.1f} s")
    for use in sorted(found.uses, key=lambda use: use.share)[-1:]:
        click.echo(
            f"nearest to its limit   {use.id}: CPU {use.cpu_s:.2f} s of {use.limit_cpu_s or 'unlimited'}, "
            f"memory {use.memory_mib:.0f} MiB of {use.limit_memory_mib or 'unlimited'}"
        )
    if found.near_limit:
        click.echo(
            f"over half of a limit   {len(found.near_limit)}: {', '.join(found.near_limit[:5])}"
        )
    if found.missing_packages:
        click.echo(f"missing packages       {', '.join(found.missing_packages)}")
    for finding in found.findings[:SHOWN]:
        click.echo(f"leave out {finding.id}: {finding.fault}: {finding.reason[:160]}")
    for reason in found.rows_skipped[:SHOWN]:
        click.echo(f"row left out: {reason[:160]}")
    if len(found.findings) > SHOWN:
        click.echo(f"and {len(found.findings) - SHOWN} more findings; --json lists all")

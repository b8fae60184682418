"""`stepgym migrate`: run folders of an earlier schema, rewritten."""

from __future__ import annotations

import json

import click

from stepgym.cli.options import JSON_OBJECT, user_errors
from stepgym.records.migration import migrate


@click.command("migrate")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@JSON_OBJECT
def command(folders: tuple[str, ...], as_json: bool) -> None:
    """Rewrite run folders of schema 1 as schema 2. Folders of schema 2 are left alone."""
    counts = {}
    for folder in folders:
        with user_errors():
            counts[folder] = migrate(folder)
        if not as_json:
            click.echo(f"{folder}: {counts[folder]:,} episodes rewritten")
    if as_json:
        click.echo(json.dumps({"rewritten": counts}))

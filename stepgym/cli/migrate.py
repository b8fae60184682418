"""`stepgym migrate`: run folders of an earlier schema, rewritten."""

from __future__ import annotations

import click

from stepgym.cli.options import user_errors
from stepgym.records.migration import migrate


@click.command("migrate")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
def command(folders: tuple[str, ...]) -> None:
    """Rewrite run folders of schema 1 as schema 2. Folders of schema 2 are left alone."""
    for folder in folders:
        with user_errors():
            count = migrate(folder)
        click.echo(f"{folder}: {count:,} episodes rewritten")

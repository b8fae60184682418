"""`stepgym view`: one self-contained HTML page of search trees."""

from __future__ import annotations

import json
from pathlib import Path

import click

from stepgym.cli.options import JSON_OBJECT, VIEW, user_errors
from stepgym.records.types import View
from stepgym.serving.page import write_page


@click.command("view")
@click.argument("folders", metavar="DIR...", type=click.Path(), nargs=-1, required=True)
@click.option("--out", type=click.Path(), help="The page  [default: page.html in the first DIR]")
@VIEW
@JSON_OBJECT
def command(folders: tuple[str, ...], out: str | None, view: str, as_json: bool) -> None:
    """Write the search trees and charts of run folders as one HTML page; it needs no network and no server.

    Two runs over the same problems are compared problem by problem. The folder of a loop stands for the runs of its
    generations.
    """
    target = Path(out) if out else Path(folders[0]) / "page.html"
    with user_errors():
        count = write_page(*folders, out=target, view=View(view))
    if as_json:
        click.echo(json.dumps({"file": str(target), "episodes": count, "view": view}))
        return
    click.echo(
        f"{target}: {count:,} episodes, {target.stat().st_size / 1e6:.1f} MB. Open it in a browser."
    )

"""`stepgym view`: one self-contained HTML page of search trees."""

from __future__ import annotations

from pathlib import Path

import click

from stepgym.cli.options import user_errors
from stepgym.serving.page import write_page


@click.command("view")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option("--out", type=click.Path(dir_okay=False), help="The page  [default: DIR/page.html]")
def command(folder: str, out: str | None) -> None:
    """Write the search trees of a run folder as one HTML page; it needs no network and no server."""
    target = Path(out) if out else Path(folder) / "page.html"
    with user_errors():
        count = write_page(folder, target)
    click.echo(
        f"{target}: {count:,} episodes, {target.stat().st_size / 1e6:.1f} MB. Open it in a browser."
    )

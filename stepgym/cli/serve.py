"""`stepgym serve`: watch a run in the browser while it is written."""

from __future__ import annotations

import click

from stepgym.cli.options import user_errors
from stepgym.plugins.errors import UserError


@click.command("serve")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0 takes any free one.",
)
def command(folder: str, port: int) -> None:
    """Serve the search trees of a run folder to this machine's browser; reload to see what is new.

    Listens on the loopback address only.
    """
    from stepgym.serving.watch import WatchServer

    with user_errors():
        try:
            server = WatchServer(folder, port=port)
        except OSError as error:
            raise UserError(
                f"cannot listen on port {port} ({error.strerror}); --port 0 takes a free one"
            ) from error
    click.echo(f"{server.url}   Ctrl-C ends it")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")

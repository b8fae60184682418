"""`stepgym serve page DIR`, or `stepgym serve DIR`: show a run in the browser while it is written."""

from __future__ import annotations

import click

from stepgym.cli.options import user_errors
from stepgym.plugins.errors import UserError
from stepgym.serving.live_page import LivePageServer


@click.command("page")
@click.argument("folder", metavar="DIR", type=click.Path())
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port; 0 takes any free one.",
)
def command(folder: str, port: int) -> None:
    """Serve the search trees of a run folder to a browser on this machine; reload the page to see new episodes.

    Listens on the loopback address only.
    """
    with user_errors():
        try:
            server = LivePageServer(folder, port=port)
        except OSError as error:
            raise UserError(
                f"cannot listen on port {port} ({error.strerror}); --port 0 takes a free one"
            ) from error
    click.echo(f"{server.url}   Press Ctrl-C to stop.")
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("")

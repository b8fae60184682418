"""`stepgym serve`: web servers on this machine."""

from __future__ import annotations

import click

from stepgym.cli.lazy_group import LazyGroup

SERVERS = {
    "page": (
        "stepgym.cli.serve_page:command",
        "The search trees of a run folder; `stepgym serve DIR` is the same.",
    ),
    "chat": (
        "stepgym.cli.serve_chat:command",
        "An OpenAI-compatible endpoint that thinks by search.",
    ),
    "openenv": ("stepgym.cli.serve_openenv:command", "An environment for OpenEnv's clients."),
}


class ServerGroup(LazyGroup):
    """A group that takes a folder in place of a member's name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        known = {*self.members, "-h", "--help"}
        return super().parse_args(ctx, args if not args or args[0] in known else ["page", *args])


@click.group(cls=ServerGroup, members=SERVERS, noun="server")
def command() -> None:
    """Serve a run's page, a chat endpoint or an environment."""

"""A command group that imports a member when it is used, and suggests the nearest name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from stepgym.plugins.names import load_dotted, unknown_name


class LazyGroup(click.Group):
    """A group whose `members` map a name to a dotted path and a line of help; it may have other commands as well."""

    def __init__(
        self, *args: Any, members: Mapping[str, tuple[str, str]], noun: str, **settings: Any
    ) -> None:
        super().__init__(*args, **settings)
        self.members = members
        self.noun = noun

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self.members]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        if cmd_name not in self.members:
            known = self.list_commands(ctx)
            ctx.fail(str(unknown_name(self.noun, cmd_name, known, dotted=False)))
        command: click.Command = load_dotted(self.members[cmd_name][0])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = [(name, each.get_short_help_str(80)) for name, each in self.commands.items()]
        lines += [(name, line) for name, (_, line) in self.members.items()]
        with formatter.section("Commands"):
            formatter.write_dl(lines)

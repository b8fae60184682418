"""The command line: one file per command in this folder, imported only when that command is asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import click
import typer
from typer.core import TyperGroup

COMMANDS = {
    "demo": "Run the whole loop in small: a table, a dataset and a page of search trees.",
    "envs": "List the environments with their levels, source and an example.",
    "solve": "Solve problems with any agent and show the steps.",
    "selfplay": "Generate a self-play dataset into a run folder; the same command resumes it.",
    "runs": "Summarise run folders: counts by verdict, tokens, seconds.",
    "export": "Turn a run folder into training data (sft, preference, steps, tree).",
    "train": "Train a policy or a reward model on records.",
    "loop": "Play, verify, train, evaluate, gate; repeat.",
    "reproduce": "Reproduce the field's claims on this machine.",
    "eval": "Measure an agent on an environment, with intervals and compute.",
    "view": "Write a self-contained HTML page of search trees.",
    "serve": "Serve the viewer, an OpenAI-compatible endpoint or remote environments.",
    "sandbox": "Build, inspect and attack the sandboxes.",
    "check": "Hold your own policy, search, sandbox or environment to the contract.",
    "check-answers": "Run the mathematics verifier over a JSONL file of answers.",
}
"""Command -> its line in `stepgym --help`. Command `x-y` lives in `stepgym/cli/x_y.py` as a Typer app named `app`."""


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module("stepgym.cli." + cmd_name.replace("-", "_"))
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from stepgym.sandbox.plugins import UnknownNameError, unknown_name

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            error: UnknownNameError = unknown_name("command", args[0], COMMANDS)
            ctx.fail(str(error).removesuffix("; or package.module:Thing"))
        return super().resolve_command(ctx, args)


def main(argv: Sequence[str] | None = None) -> Any:
    """Run the command line; wrong input ends with exit status 2 and one line that shows the way out."""
    group = LazyGroup(
        name="stepgym",
        help="The gym in which reasoning agents learn: verified steps, search inside a budget, self-play.",
        no_args_is_help=True,
    )
    return group.main(args=list(argv) if argv is not None else None, prog_name="stepgym")


if __name__ == "__main__":
    sys.exit(main())

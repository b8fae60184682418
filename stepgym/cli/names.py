"""`stepgym agents`, `stepgym policies`, `stepgym reward-models`: the names that options take, plug-ins included."""

from __future__ import annotations

import json
import shutil
from typing import Any

import click

from stepgym.agents.registry import POLICIES, REWARD_MODELS, SEARCHES
from stepgym.cli.options import JSON_OBJECT
from stepgym.plugins.listing import Listed, list_names
from stepgym.plugins.registry import Registry


def _listing(registry: Registry, option: str, help: str) -> click.Command:
    """Make the command that lists the names of a registry."""

    @click.command(help=help)
    @JSON_OBJECT
    def listing(as_json: bool) -> None:
        names = list_names(registry)
        if as_json:
            click.echo(json.dumps([each._asdict() for each in names]))
            return
        for each in names:
            _print(each)
        click.echo(f"\nOwn {registry.kind}: {option} PACKAGE.MODULE:THING")

    return listing


def _print(listed: Listed) -> None:
    origin = "" if listed.package == "stepgym" else f"  (from {listed.package})"
    click.echo(f"{click.style(listed.name, bold=True)}{origin}")
    width, indent = min(100, shutil.get_terminal_size().columns), "    "
    lines: list[Any] = [listed.summary] if listed.summary else []
    if listed.settings:
        pairs = [
            f"{name}={default}" if default else name for name, default in listed.settings.items()
        ]
        lines.append("settings: " + ", ".join(pairs))
    for line in lines:
        click.echo(
            click.wrap_text(line, width=width, initial_indent=indent, subsequent_indent=indent)
        )


agents = _listing(
    SEARCHES, "--agent", "List the agents with their settings (--agent-option) and defaults."
)
policies = _listing(
    POLICIES, "--policy", "List the policies with their settings (--policy-option) and defaults."
)
reward_models = _listing(
    REWARD_MODELS, "--reward-model", "List the reward models with their settings and defaults."
)

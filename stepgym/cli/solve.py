"""`stepgym solve`: solve problems with any agent and show the steps."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from stepgym.agents.solving import solve
from stepgym.agents.types import EpisodeRecord
from stepgym.cli.eval import open_run
from stepgym.cli.options import (
    AGENT,
    BUDGET,
    CONTINUOUS,
    ENVIRONMENT,
    MONEY,
    VERDICTS,
    add_options,
    budget,
    episodes_option,
    parallel_option,
    user_errors,
)
from stepgym.envs.tokens import visible_text

MAX_SHOWN = 200
"""Nodes of a whole tree that are drawn; the others are only counted."""


@click.command("solve")
@add_options(
    *ENVIRONMENT,
    *AGENT,
    *BUDGET,
    *MONEY,
    episodes_option(1, "Problems to solve."),
    parallel_option(64),
    CONTINUOUS,
    VERDICTS,
)
@click.option("--show-reasoning", is_flag=True, help="Show internal reasoning too.")
@click.option(
    "--tree", "whole_tree", is_flag=True, help="Show the whole tree, not only the chosen path."
)
@click.option("--json", "as_json", is_flag=True, help="Print the records, one JSON line each.")
def command(as_json: bool, show_reasoning: bool, whole_tree: bool, **given: Any) -> None:
    """Solve an environment's first problems and show the steps."""
    limit = budget(given)
    with user_errors(), open_run(given) as run:
        records = solve(run.pop("problems"), budget=limit, **run)
    if as_json:
        for record in records:
            click.echo(json.dumps(asdict(record)))
        return
    console = Console()
    for record in records:
        show(console, record, show_reasoning=show_reasoning, whole_tree=whole_tree)


def show(
    console: Console, record: EpisodeRecord, *, show_reasoning: bool, whole_tree: bool
) -> None:
    """Print one record: the problem, the steps, the verdict, the cost."""

    console.print(Panel(Text(record.prompt), title=Text(record.problem_id), title_align="left"))
    console.print(_steps(record, show_reasoning, whole_tree))
    colour = {"correct": "green", "incorrect": "red"}.get(record.verdict, "yellow")
    console.print(
        Text.assemble(
            "answer: ", (record.answer or "none", "bold"), "   ", (record.verdict, f"bold {colour}")
        )
    )
    if record.note:
        console.print(Text(record.note, style="yellow"))
    tokens = int(record.usage["visible_tokens"] + record.usage["reasoning_tokens"])
    console.print(
        f"[dim]{len(record.nodes) - 1:,} nodes, {tokens:,} new tokens, "
        f"{int(record.usage['model_calls']):,} model calls, {record.usage['wall_s']:.2f} s[/dim]\n"
    )


def _steps(record: EpisodeRecord, show_reasoning: bool, whole_tree: bool) -> Tree:

    root = Tree(Text("start", style="dim"))
    drawn = {0: root}
    chosen = set(record.path)
    hidden = 0
    for at, node in enumerate(record.nodes):
        if at == 0 or not (whole_tree or at in chosen):
            continue
        if node.parent not in drawn or len(drawn) > MAX_SHOWN:
            hidden += 1
            continue
        line = _text(node.text, show_reasoning)
        line.stylize("bold" if whole_tree and at in chosen else "")
        line.append(_figures(node), style="dim")
        if node.reply:
            line.append("\n" + node.reply, style="cyan")
        drawn[at] = drawn[node.parent].add(line)
    if hidden:
        root.add(Text(f"... and {hidden:,} more nodes", style="dim"))
    return root


def _text(text: str, show_reasoning: bool) -> Any:

    return Text(text if show_reasoning else visible_text(text))


def _figures(node: Any) -> str:
    figures = [f"visits {node.visits}"] if node.visits else []
    figures += [f"score {node.score:.2f}"] if node.score is not None else []
    figures += [node.verdict] if node.verdict else []
    return f"   {', '.join(figures)}" if figures else ""

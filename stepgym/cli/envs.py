"""`stepgym envs`: the list of environments, or examples of one."""

from __future__ import annotations

import json
import shutil
from typing import Any

import click

from stepgym.cli.environment_pages import terminal, wrapped
from stepgym.cli.environment_sections import sections
from stepgym.cli.options import settings_option, user_errors
from stepgym.envs.registry import ENVIRONMENTS, EnvironmentCard, load_env
from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import SandboxError


@click.command()
@click.argument("env_id", required=False)
@click.option(
    "--level", type=int, help="Level of the examples  [default: the environment's own default]"
)
@settings_option("--env-option", "Option of the environment, such as file=PATH.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the examples.")
@click.option(
    "--count",
    "-n",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many examples.",
)
@click.option("--reference", is_flag=True, help="Also show the references.")
@click.option("--solution", is_flag=True, help="Also show worked solutions, if there are any.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    env_id: str | None,
    level: int | None,
    env_option: tuple[tuple[str, Any], ...],
    seed: int,
    count: int,
    reference: bool,
    solution: bool,
    as_json: bool,
) -> None:
    """List the environments, or describe ENV_ID and show example problems."""
    if env_id is None:
        _list(as_json)
        return
    options = {"seed": seed, **dict(env_option), **({} if level is None else {"level": level})}
    with user_errors():
        env = load_env(env_id, **options)
    problems = [env.problems[i] for i in range(min(count, len(env.problems)))]
    shown = [_problem(problem, reference=reference, solution=solution) for problem in problems]
    if as_json:
        env.close()
        click.echo(json.dumps(shown))
        return
    found = sections(env_id, env, options)
    env.close()
    click.echo(f"{env.env_id}\n\n{terminal(found, _width())}")
    click.echo("PROBLEMS")
    for item in shown:
        click.echo(f"\n{item['id']}\n{item['prompt']}")
        for step in item.get("solution", ()):
            click.echo(f"> {step}")
        if reference:
            click.echo(f"= {item['reference']}")
    click.echo()


def _list(as_json: bool) -> None:
    rows = [_row(card) for card in ENVIRONMENTS]
    if as_json:
        click.echo(json.dumps(rows))
        return
    width = _width()
    for row in rows:
        levels = f"levels 1 to {row['levels']}" if row["levels"] else "no levels"
        click.echo(f"{row['id']}  ({levels})")
        click.echo(wrapped(row["source"], width, "    "))
        click.echo(f"    e.g. {_line(row['example'], width - 9)}")
    click.echo("\nstepgym envs ID describes one of them.")


def _width() -> int:
    """Return the columns of the terminal, at most 100."""
    return min(100, shutil.get_terminal_size((100, 24)).columns)


def _row(card: EnvironmentCard) -> dict[str, Any]:
    return {"id": card.id, "levels": card.levels, "source": card.source, "example": _example(card)}


def _example(card: EnvironmentCard) -> str:
    """Return the first problem's prompt, or why there is none (a package or a file is missing)."""
    try:
        env = load_env(card.id)
    except (UserError, SandboxError, ImportError, OSError) as error:
        return f"(not available: {error})"
    prompt = env.problems[0].prompt
    env.close()
    return prompt


def _problem(problem: Problem, *, reference: bool, solution: bool) -> dict[str, Any]:
    shown = {
        "id": problem.id,
        "prompt": problem.prompt,
        "level": problem.level,
        "index": problem.index,
    }
    shown |= {"reference": problem.reference} if reference else {}
    return {**shown, "solution": list(problem.solution)} if solution else shown


def _line(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."

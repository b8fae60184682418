"""`stepgym envs`: the list of environments, or examples of one."""

from __future__ import annotations

import json
from typing import Any

import click

from stepgym.cli.options import settings_option, user_errors
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import ENVIRONMENTS, EnvironmentCard, full_id, load_env
from stepgym.envs.types import LegalSteps, Problem
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import load_dotted
from stepgym.plugins.settings import accepted
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
    facts = _facts(env_id, env)
    env.close()
    if as_json:
        click.echo(json.dumps(shown))
        return
    for name, fact in facts.items():
        click.echo(f"{name:14} {fact}")
    for item in shown:
        click.echo(f"\n{item['id']}\n{item['prompt']}")
        for step in item.get("solution", ()):
            click.echo(f"> {step}")
        if reference:
            click.echo(f"= {item['reference']}")
    click.echo()


def _facts(env_id: str, env: ReasoningEnv) -> dict[str, str]:
    """Return what every environment tells about itself, in the order in which it is shown."""
    card = next((card for card in ENVIRONMENTS if card.id == full_id(env_id)), None)
    legal = isinstance(env.domain, LegalSteps)
    step = env.domain.legal_steps(env.domain.initial(env.problems[0]))[:1] if legal else []  # type: ignore[attr-defined]
    maker = load_dotted(card.entry_point) if card else None
    return {
        "environment": env.env_id,
        "problems": card.source if card else env.problems.name,
        "licence": card.licence if card else "that of its source",
        "source": (card.homepage if card else "") or "this package",
        "levels": f"1 to {card.levels}" if card and card.levels else "none",
        "action": f"one legal step, such as `{step[0]}`" if step else "the text of one step",
        "observation": "the transcript so far",
        "reward": f"{env.rewards.correct:g} for a correct answer, with the last step",
        "steps verified": "no" if env.step_verifier is None else type(env.step_verifier).__name__,
        "options": ", ".join(sorted(accepted(maker).hints)) if maker else "those of its function",
    }


def _list(as_json: bool) -> None:
    rows = [_row(card) for card in ENVIRONMENTS]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        levels = f"levels 1 to {row['levels']}" if row["levels"] else "no levels"
        click.echo(
            f"{row['id']}  ({levels})\n    {row['source']}\n    e.g. {_line(row['example'])}"
        )


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


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else line[:97] + "..."

"""`stepgym demo`: search, self-play, exports and the page of trees in one small run, with nothing to download."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.solving import solve
from stepgym.agents.types import Policy, RewardModel
from stepgym.cli.options import user_errors
from stepgym.envs.registry import load_env
from stepgym.records.exports import export
from stepgym.records.types import ExportFormat
from stepgym.selfplay.play import selfplay
from stepgym.serving.page import write_page

ENV = "stepgym/Countdown-v0"
AGENTS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("greedy", {}),
    ("best_of_n", {"n": 16}),
    ("beam", {"width": 4, "expand": 4}),
    ("mcts", {"simulations": 16, "width": 8}),
)


class Setting(NamedTuple):
    """The problems that every row of the table is measured on."""

    problems: int
    level: int
    seed: int


class Row(NamedTuple):
    """One row of the table; tokens and model calls are means per problem, seconds are those of the whole row."""

    agent: str
    policy: str
    solved: float
    tokens: float
    model_calls: float
    seconds: float


@click.command("demo")
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(file_okay=False),
    help="Folder for the results.",
)
@click.option(
    "--problems",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems for each row of the table.",
)
@click.option(
    "--episodes",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    help="Episodes of self-play.",
)
@click.option(
    "--level",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Difficulty of Countdown.",
)
@click.option(
    "--seed",
    default=2026,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seed of the problems and of sampling.",
)
@click.option(
    "--policy", default="embedded", show_default=True, metavar="NAME", help="Policy that plays."
)
@click.option(
    "--reward-model",
    default="embedded",
    show_default=True,
    metavar="NAME",
    help="Reward model that scores steps.",
)
def command(
    out: str, problems: int, episodes: int, level: int, seed: int, policy: str, reward_model: str
) -> None:
    """Compare searches on new Countdown problems, then write a self-play dataset, its exports and a page of trees.

    The default policy and reward model are tiny transformers that come with the package.
    """
    started = time.perf_counter()
    with user_errors():
        click.echo(f"Countdown, level {level}. {_first_prompt(level, seed)}\n")
        setting = Setting(problems, level, seed)
        loaded = load_policy(policy, seed=seed)
        scorer = load_reward_model(reward_model, seed=seed)
        rows = [
            _measure(name, settings, setting, policy, loaded, scorer) for name, settings in AGENTS
        ]
        # The control: random play that stops at the first answer that the verifier accepts.
        control = "random, with verifier"
        rows.append(
            _measure(
                "best_of_n",
                {"n": 16},
                setting,
                control,
                load_policy("random", seed=seed),
                None,
                see_verdicts=True,
            )
        )
        _table(rows, problems)
        _dataset(Path(out), episodes, level, seed, policy, reward_model)
    click.echo(f"\nThe demo took {time.perf_counter() - started:.0f} s. Next:")
    click.echo(f"  open {Path(out) / 'page.html'} in a browser")
    click.echo(f"  {_program()} selfplay --env {ENV} --agent mcts --episodes 500 --out runs/first")
    click.echo(f"  {_program()} export {Path(out) / 'run'} --format steps")
    click.echo(f"  {_program()} envs")


def _program() -> str:
    """Return how this command was called: `stepgym`, or `.venv/bin/stepgym` if that is not on the path."""
    called = Path(sys.argv[0])
    if called.name != "stepgym" or shutil.which("stepgym") == str(called):
        return "stepgym"
    return str(called.relative_to(Path.cwd()) if called.is_relative_to(Path.cwd()) else called)


def _first_prompt(level: int, seed: int) -> str:
    return " ".join(load_env(ENV, level=level, seed=seed).problems[0].prompt.split())


def _measure(
    agent: str,
    settings: Mapping[str, Any],
    setting: Setting,
    name: str,
    policy: Policy,
    reward_model: RewardModel | None,
    *,
    see_verdicts: bool = False,
) -> Row:
    problems = setting.problems
    with Console(stderr=True).status(f"{agent} with {name} on {problems} problems"):
        started = time.perf_counter()
        records = solve(
            ENV,
            agent=agent,
            agent_settings=settings,
            policy=policy,
            reward_model=reward_model,
            episodes=problems,
            level=setting.level,
            seed=setting.seed,
            see_verdicts=see_verdicts,
        )
        seconds = time.perf_counter() - started
    usage = {
        name: sum(record.usage[name] for record in records) / problems for name in records[0].usage
    }
    return Row(
        agent=agent + "".join(f" {key}={value}" for key, value in settings.items()),
        policy=name,
        solved=sum(record.verdict == "correct" for record in records) / problems,
        tokens=usage["visible_tokens"] + usage["reasoning_tokens"],
        model_calls=usage["model_calls"],
        seconds=seconds,
    )


def _table(rows: list[Row], problems: int) -> None:
    click.echo(
        f"{problems} new problems. Tokens and model calls are per problem. Only the last row may use the verifier."
    )
    table = Table()
    for name in ("agent", "policy"):
        table.add_column(name, no_wrap=True)
    for name in ("solved", "tokens", "calls", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        cells = (
            f"{row.solved:.0%}",
            f"{row.tokens:,.0f}",
            f"{row.model_calls:,.0f}",
            f"{row.seconds:.1f}",
        )
        table.add_row(row.agent, row.policy, *cells)
    Console(width=104).print(table)


def _dataset(
    out: Path, episodes: int, level: int, seed: int, policy: str, reward_model: str
) -> None:
    run = out / "run"
    name, settings = AGENTS[-1]
    summary = selfplay(
        ENV,
        out=run,
        agent=name,
        agent_settings=settings,
        policy=policy,
        reward_model=reward_model,
        episodes=episodes,
        level=level,
        seed=seed + 1,
    )
    click.echo(
        f"\n{run}: {summary.episodes} self-play episodes with {name}, {summary.solved or 0:.0%} solved, {summary.nodes:,} nodes"
    )
    for kind in (ExportFormat.SFT, ExportFormat.PREFERENCE, ExportFormat.STEPS, ExportFormat.TREE):
        file = out / f"{kind.value}.parquet"
        click.echo(f"{file}: {export([run], file, kind=kind):,} rows")
    count = write_page(run, out=out / "page.html")
    click.echo(
        f"{out / 'page.html'}: the search trees of {count} episodes in one file; it needs no network"
    )

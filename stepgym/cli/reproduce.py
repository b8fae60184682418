"""`stepgym reproduce`: the field's claims, trained and measured on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.cli.options import resumable
from stepgym.sandbox.plugins import unknown_name

ARMS = (
    "vote",
    "vote-paths",
    "verifier",
    "rejection",
    "random",
    "shuffled",
    "oracle",
    "imitation",
    "scratch",
)
"""As in `stepgym.selfplay.reproduce`, which is too heavy to import for `--help`; a test compares the two."""


@click.group()
def command() -> None:
    """Train, play and measure: do the field's claims hold here?"""


@command.command("small-beats-14x")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/small-beats-14x"),
    show_default=True,
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--family",
    "families",
    multiple=True,
    type=click.Choice(["countdown", "sums"]),
    default=("countdown", "sums"),
    show_default=True,
)
@click.option(
    "--problems",
    "num_problems",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Fresh problems a seed and level.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    help="Training steps of each policy  [default: the family's].",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share seeds and families.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def small_beats_14x(as_json: bool, **given: Any) -> None:
    """A small model that searches against one of 15 times its size that does not, at equal test-time FLOPs."""
    _one_thread()
    from stepgym.selfplay.small_beats_large import small_beats_large

    with resumable():
        results = small_beats_large(**given, tell=_say)
    if as_json:
        click.echo(json.dumps(results))
        return
    for family in results["families"]:
        click.secho(
            f"{family['family']}, level {family['level']}, {family['steps']} training steps",
            bold=True,
        )
        click.echo(
            f"{'':62} {'solved':>7} {'95% interval':>14} {'over large greedy':>23} {'MFLOP':>8} {'at most':>8}"
        )
        for row in family["methods"]:
            low, high = row["ci"]
            less, more = row["over_large_greedy_ci"]
            click.echo(
                f"{row['name']:62} {row['solved']:7.3f} {low:.3f} to {high:.3f}"
                f"  {row['over_large_greedy']:+.3f} ({less:+.3f}, {more:+.3f}) {row['mflop']:8.2f} {row['mflop_most']:8.2f}"
            )
    click.echo(f"figure: {given['out'] / 'figure.png'}")


@command.command("transfer")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/transfer"), show_default=True
)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    metavar="NAME",
    help="Measure this policy instead of training any; may be repeated.",
)
@click.option(
    "--env",
    "envs",
    multiple=True,
    metavar="ID[,NAME=VALUE...]",
    help="With --policy: where; stepgym/Countdown-v0,level=3.",
)
@click.option(
    "--agent",
    default="greedy",
    show_default=True,
    metavar="NAME",
    help="With --policy: how to search.",
)
@click.option(
    "--seeds",
    default=3,
    show_default=True,
    type=click.IntRange(min=1),
    help="Trainings; with --policy, sets of problems.",
)
@click.option(
    "--problems", "num_problems", default=200, show_default=True, type=click.IntRange(min=1)
)
@click.option(
    "--steps",
    default=600,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps on each family.",
)
@click.option(
    "--adapt-steps",
    default=60,
    show_default=True,
    type=click.IntRange(min=1),
    help="Steps on the family that is measured.",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share the seeds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def transfer(
    as_json: bool, policies: tuple[str, ...], envs: tuple[str, ...], agent: str, **given: Any
) -> None:
    """Train on one family, measure on all; or measure policies of your own on any environments."""
    _one_thread()
    from stepgym.selfplay.transfer import reproduce_transfer

    with resumable():
        if bool(policies) != bool(envs):
            raise ValueError(
                "--policy and --env go together: which policies, and on which environments"
            )
        results = (
            _transfer_of(policies, envs, agent, given)
            if policies
            else reproduce_transfer(**given, tell=_say)
        )
    if as_json:
        click.echo(json.dumps(results))
        return
    for name in ("as_is", "adapted"):
        if name in results:
            click.secho(name.replace("_", " "), bold=True)
            _print_matrix(results[name])
    click.echo(f"heat map: {given['out'] / 'heatmap.png'}")


def _transfer_of(
    policies: tuple[str, ...], envs: tuple[str, ...], agent: str, given: dict[str, Any]
) -> dict[str, Any]:
    from stepgym.agents.registry import load_policy
    from stepgym.selfplay.transfer import matrix, measure, place_of, write_transfer

    places = [place_of(env) for env in envs]
    loaded = {name: load_policy(name, seed=0) for name in policies}
    players = {name: (lambda place, policy=policy: policy) for name, policy in loaded.items()}
    found = [
        measure(
            players, places, num_problems=given["num_problems"], seed=seed, agent=agent, tell=_say
        )
        for seed in range(given["seeds"])
    ]
    outcomes = {
        row: {column: [seed[row][column] for seed in found] for column in cells}
        for row, cells in found[0].items()
    }
    about = {"agent": agent, "problems": given["num_problems"], "seeds": given["seeds"]}
    return write_transfer(given["out"], {**about, "as_is": matrix(outcomes)})


def _print_matrix(cells: list[dict[str, Any]]) -> None:
    columns = list(dict.fromkeys(cell["on"] for cell in cells))
    width = max(map(len, (*columns, "0.000 (0.000, 0.000)"))) + 2
    click.echo(f"{'trained on':26}" + "".join(f"{column:>{width}}" for column in columns))
    for row in dict.fromkeys(cell["trained_on"] for cell in cells):
        line = [cell for cell in cells if cell["trained_on"] == row]
        shown = [
            f"{cell['solved']:.3f} ({cell['ci'][0]:.3f}, {cell['ci'][1]:.3f})" for cell in line
        ]
        click.echo(f"{row:26}" + "".join(f"{text:>{width}}" for text in shown))


def _say(line: str) -> None:
    """Tell of progress, from this process or another."""
    click.echo(line, err=True)


@command.command("alphazero")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/alphazero"), show_default=True
)
@click.option("--seeds", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--first-seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--generations", type=click.IntRange(min=1), help="In place of each arm's own.")
@click.option(
    "--episodes",
    default=400,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems played a generation.",
)
@click.option("--held-out", default=200, show_default=True, type=click.IntRange(min=1))
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=("vote", "random"),
    show_default=True,
    help=f"One of {', '.join(ARMS)}, or all.",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(min=1),
    help="Processes that share the seeds.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def alphazero(as_json: bool, arms: tuple[str, ...], **given: Any) -> None:
    """Self-play without labels makes the policy better; the same with a random teacher does not."""
    _one_thread()
    from stepgym.selfplay.reproduce import self_play_improves

    with resumable():
        for arm in set(arms) - {*ARMS, "all"}:
            raise unknown_name("arm", arm, (*ARMS, "all"), dotted=False)
        chosen = ARMS if "all" in arms else arms
        results = self_play_improves(**given, arms=chosen, tell=_say)
    if as_json:
        click.echo(json.dumps(results))
        return
    for arm, figures in results.items():
        for what in ("greedy", "searched"):
            shown = "  ".join(
                f"{mean:.3f} ({low:.3f} to {high:.3f})" for mean, low, high in figures[what]
            )
            click.echo(f"{arm:10} {what:9} {shown}")
    click.echo(f"curves: {given['out'] / 'index.html'}")


@command.command("llm-generation")
@click.option("--out", default="runs/llm-generation", show_default=True)
@click.option(
    "--init",
    default="smollm2",
    show_default=True,
    help="Language model to start from: smollm2 or hf:NAME_OR_FOLDER.",
)
@click.option("--env", default="stepgym/Math-v0", show_default=True)
@click.option("--level", default=1, show_default=True)
@click.option(
    "--arm",
    "arms",
    multiple=True,
    default=("sft",),
    show_default=True,
    help="sft, unverified (the control), dpo, grpo.",
)
@click.option(
    "--episodes", default=60, show_default=True, type=click.IntRange(min=1), help="Problems played."
)
@click.option(
    "--samples", default=8, show_default=True, type=click.IntRange(min=1), help="Answers to each."
)
@click.option("--temperature", default=1.0, show_default=True, help="Of the play.")
@click.option(
    "--held-out",
    default=200,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems measured on, none of them played.",
)
@click.option(
    "--steps",
    default=40,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training steps of each arm.",
)
@click.option("--batch", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--learning-rate", default=2e-4, show_default=True)
@click.option(
    "--lora",
    default=16,
    show_default=True,
    type=click.IntRange(min=0),
    help="Rank of low-rank adapters; 0 trains the whole model.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def llm_generation(as_json: bool, **given: Any) -> None:
    """A real language model plays arithmetic, learns from what the verifier approves, and is measured before and after."""
    from stepgym.cli.train import show_tenths
    from stepgym.selfplay.llm_generation import Generation, run_generation

    with resumable():
        results = run_generation(Generation(**given), tell=_say, progress=show_tenths())
    if as_json:
        click.echo(json.dumps(results))
        return
    click.echo(
        f"{'policy':26} {'solved':>7} {'95% interval':>16} {'over the first':>24} {'tokens':>7}"
    )
    for row in results["methods"]:
        (low, high), (less, more) = row["ci"], row["gain_ci"]
        change = f"{row['gain']:+.3f} ({less:+.3f} to {more:+.3f})"
        click.echo(
            f"{row['name']:26} {row['share']:7.3f}   {low:.3f} to {high:.3f} {change:>24} {row['tokens']:7.1f}"
        )
    click.echo(f"{len(results['methods'][0]['solved'])} held-out problems on {results['machine']}")


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)

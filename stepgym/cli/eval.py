"""`stepgym eval`: how well an agent does on an environment, with an interval and what it cost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from stepgym.cli.options import agent_options, split_budget, user_errors
from stepgym.plugins.errors import UserError


@click.command("eval")
@agent_options
@click.option(
    "--episodes",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems to solve.",
)
@click.option(
    "--parallel",
    default=64,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems side by side.",
)
@click.option("--continuous", is_flag=True, help="Let problems run ahead of each other.")
@click.option(
    "--verdicts/--no-verdicts",
    "see_verdicts",
    default=None,
    help="Let the search see verdicts  [default: where they need no reference].",
)
@click.option(
    "--curve",
    type=click.Path(dir_okay=False),
    metavar="OUT",
    help="Measure every method at every width instead; write OUT.png and OUT.json.",
)
@click.option(
    "--widths",
    default="1,4,16,64",
    show_default=True,
    metavar="N,N,...",
    help="Widths of the curve.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(as_json: bool, curve: str | None, widths: str, **given: Any) -> None:
    """Measure an agent: the share of problems solved with its 95% interval, and the compute it took."""
    budget, rest = split_budget(given)
    with user_errors():
        if curve:
            _suit_curve(rest)
            with open_run(rest) as run:
                _curve(curve, read_widths(widths), as_json, budget, run)
            return
        from stepgym.agents.evaluate import evaluate

        with open_run(rest) as run:
            result = evaluate(run.pop("problems"), budget=budget, **run)
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    usage = result.usage
    click.echo(
        f"solved {result.solved:.1%} [{result.ci.low:.1%}, {result.ci.high:.1%}] of {result.episodes} problems"
    )
    click.echo(
        f"verdicts: {', '.join(f'{count} {verdict}' for verdict, count in result.verdicts.items())}"
    )
    if result.first_failure:
        click.secho(f"first failure: {result.first_failure}", fg="yellow")
    if result.agent.get("see_verdicts"):
        click.echo("the search saw verdicts while it ran (--no-verdicts hides them)")
    click.echo(
        f"compute: {usage.new_tokens:,} new tokens ({usage.reasoning_tokens:,} reasoning), {usage.prompt_tokens:,} prompt, "
        f"{usage.tool_tokens:,} tool; {usage.model_calls:,} model calls, {usage.flops:.3g} FLOPs, {usage.wall_s:.1f} s"
    )


@contextmanager
def open_run(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn the shared options into the arguments of `stepgym.agents.solve`."""
    from stepgym.agents.players import open_players

    options = dict(given["env_option"])
    options |= {name: given[name] for name in ("level", "sandbox") if given[name] is not None}
    agent_settings = dict(given["agent_option"])
    with open_players(
        given["env_id"],
        agent=given["agent"],
        policy=given["policy"],
        reward_model=given["reward_model"],
        seed=given["seed"],
        env_options=options,
        agent_settings=agent_settings,
        policy_settings=dict(given["policy_option"]),
    ) as players:
        yield {
            "problems": players.env,
            "agent": given["agent"],
            "agent_settings": agent_settings,
            "policy": players.policy,
            "reward_model": players.reward_model,
            "episodes": given["episodes"],
            "seed": given["seed"],
            "see_verdicts": given["see_verdicts"],
            "num_parallel": given["parallel"],
            "continuous": given["continuous"],
        }


def read_widths(text: str) -> list[int]:
    """Read `1,4,16`; raises `ValueError` with the form."""
    try:
        widths = sorted({int(width) for width in text.split(",")})
    except ValueError:
        widths = []
    if not widths or widths[0] < 1:
        raise UserError(f"--widths {text!r} should look like 1,4,16,64")
    return widths


def _suit_curve(given: dict[str, Any]) -> None:
    """Refuse a single agent, as a curve measures them all; its problems run side by side unless asked otherwise."""
    source = click.get_current_context().get_parameter_source
    for name in ("agent", "agent_option"):
        if source(name) is not click.core.ParameterSource.DEFAULT:
            value = given[name]
            raise UserError(
                f"--curve measures every agent at every one of --widths; leave out --{name.replace('_', '-')} {value}"
            )
    if source("parallel") is click.core.ParameterSource.DEFAULT:
        given["parallel"] = None


def _curve(out: str, widths: list[int], as_json: bool, budget: Any, run: dict[str, Any]) -> None:
    from stepgym.agents.curve import measure_curve
    from stepgym.agents.curve_plot import draw_curve
    from stepgym.agents.solving import choose_problems

    problems, env = choose_problems(
        run["problems"], None, run["episodes"], seed=run["seed"], level=None, settings=None
    )
    curve = measure_curve(
        env,
        list(problems),
        policy=run["policy"],
        reward_model=run["reward_model"],
        widths=widths,
        budget=budget,
        num_parallel=run["num_parallel"],
        continuous=run["continuous"],
        seed=run["seed"],
        see_verdicts=run["see_verdicts"],
        on_point=None if as_json else _print_point,
    )
    target = Path(out).with_suffix("") if out.endswith((".png", ".json")) else Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    result = curve.as_json()
    Path(f"{target}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    draw_curve(curve, f"{target}.png")
    if as_json:
        click.echo(json.dumps(result))
        return
    for warning in curve.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    click.echo(f"{target}.png, {target}.json")


def _print_point(point: Any) -> None:
    click.echo(
        f"{point.method:<26}{point.width:>5}  solved {point.solved:.3f} [{point.ci.low:.3f}, {point.ci.high:.3f}]"
        f"  {point.new_tokens:>9,.0f} tokens  {point.flops:>9.3g} FLOPs"
    )

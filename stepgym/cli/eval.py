"""`stepgym eval`: how many problems an agent solves, with an interval and the compute used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from stepgym.agents.curve import measure_curve
from stepgym.agents.curve_plot import draw_curve
from stepgym.agents.evaluate import evaluate
from stepgym.agents.run_setup import choose_problems, open_setup
from stepgym.cli.options import (
    AGENT,
    BUDGET,
    CONTINUOUS,
    ENVIRONMENT,
    JSON_OBJECT,
    VERDICTS,
    add_options,
    budget,
    environment,
    episodes_option,
    parallel_option,
    user_errors,
)
from stepgym.plugins.errors import UserError


@click.command("eval")
@add_options(
    *ENVIRONMENT,
    *AGENT,
    *BUDGET,
    episodes_option(100, "Problems to solve."),
    parallel_option(64),
    CONTINUOUS,
    VERDICTS,
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
@JSON_OBJECT
def command(as_json: bool, curve: str | None, widths: str, **given: Any) -> None:
    """Measure an agent: the share of problems solved with its 95% interval, and the compute used."""
    limit = budget(given)
    with user_errors():
        if curve:
            _prepare_curve(given)
            with open_run(given) as run:
                _curve(curve, read_widths(widths), as_json, limit, run)
            return
        with open_run(given) as run:
            result = evaluate(run.pop("problems"), budget=limit, **run)
    if as_json:
        click.echo(json.dumps(result.as_json()))
        return
    usage = result.usage
    click.echo(
        f"solved: {result.solved:.1%} [{result.ci.low:.1%}, {result.ci.high:.1%}] of {result.episodes} problems"
    )
    click.echo(
        f"verdicts: {', '.join(f'{count} {verdict}' for verdict, count in result.verdicts.items())}"
    )
    if result.first_failure:
        click.secho(f"first failure: {result.first_failure}", fg="yellow")
    if result.agent.get("see_verdicts"):
        click.echo(
            "The search was allowed to check answers with the verifier; --no-verdicts forbids it."
        )
    click.echo(
        f"compute: {usage.new_tokens:,} new tokens ({usage.reasoning_tokens:,} reasoning), {usage.prompt_tokens:,} prompt, "
        f"{usage.tool_tokens:,} tool; {usage.model_calls:,} model calls, {usage.flops:.3g} FLOPs, {usage.wall_s:.1f} s"
    )


@contextmanager
def open_run(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn the shared options into the arguments of `stepgym.agents.solve`."""
    where = environment(given)
    agent_settings = dict(given["agent_option"])
    with open_setup(
        where.id,
        agent=given["agent"],
        policy=given["policy"],
        reward_model=given["reward_model"],
        seed=given["seed"],
        env_options=where.options,
        agent_settings=agent_settings,
        policy_settings=dict(given["policy_option"]),
    ) as setup:
        yield {
            "problems": setup.env,
            "agent": setup.agent,
            "agent_name": setup.agent_name,
            "policy": setup.policy,
            "reward_model": setup.reward_model,
            "episodes": given["episodes"],
            "seed": given["seed"],
            "see_verdicts": given["see_verdicts"],
            "num_parallel": given["parallel"],
            "continuous": given["continuous"],
        }


def read_widths(text: str) -> list[int]:
    """Read `1,4,16`. Raises `UserError` that shows the form."""
    try:
        widths = sorted({int(width) for width in text.split(",")})
    except ValueError:
        widths = []
    if not widths or widths[0] < 1:
        raise UserError(f"--widths {text!r} should look like 1,4,16,64")
    return widths


def _prepare_curve(given: dict[str, Any]) -> None:
    """Refuse a single agent, because a curve measures all of them; all problems run in parallel by default."""
    source = click.get_current_context().get_parameter_source
    for name in ("agent", "agent_option"):
        if source(name) is not click.core.ParameterSource.DEFAULT:
            raise UserError(
                f"--curve measures every agent at every one of --widths; leave out --{name.replace('_', '-')} {given[name]}"
            )
    if source("parallel") is click.core.ParameterSource.DEFAULT:
        given["parallel"] = None


def _curve(out: str, widths: list[int], as_json: bool, limit: Any, run: dict[str, Any]) -> None:
    problems, env = choose_problems(
        run["problems"], None, episodes=run["episodes"], seed=run["seed"]
    )
    curve = measure_curve(
        env,
        list(problems),
        policy=run["policy"],
        reward_model=run["reward_model"],
        widths=widths,
        budget=limit,
        num_parallel=run["num_parallel"],
        continuous=run["continuous"],
        seed=run["seed"],
        see_verdicts=run["see_verdicts"],
        progress=None if as_json else _print_point,
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

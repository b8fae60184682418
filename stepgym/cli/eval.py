"""`stepgym eval`: how many problems an agent solves, with an interval and the compute used."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from stepgym.agents.curve import measure_curve
from stepgym.agents.curve_plot import draw_curve
from stepgym.agents.evaluate import Evaluation, summarise
from stepgym.agents.run_setup import MAX_LISTED, choose_problems, open_setup
from stepgym.agents.types import Usage
from stepgym.cli.episode_progress import EpisodeProgress
from stepgym.cli.options import (
    AGENT,
    ATTEMPTS,
    BUDGET,
    CONTINUOUS,
    ENVIRONMENT,
    EXECUTOR,
    JSON_OBJECT,
    KEEP_FAILED,
    MONEY,
    VERDICTS,
    add_options,
    budget,
    environment,
    environment_option,
    executor,
    keeps_episodes,
    parallel_option,
    policy_settings,
    stop_if_all_failed,
    user_errors,
)
from stepgym.envs.registry import full_id, load_env
from stepgym.plugins.errors import UserError
from stepgym.records.accuracy import Accuracy, Share, accuracy, by_member
from stepgym.records.atomic import make_room, write_whole
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay.play import selfplay, spent_usd

DEFAULT_EPISODES = 100
"""Problems of an endless set."""


@click.command("eval")
@add_options(
    environment_option(multiple=True),
    *ENVIRONMENT[1:],
    *AGENT,
    *BUDGET,
    *MONEY,
    click.option(
        "--episodes",
        type=click.IntRange(min=1),
        help="Problems, from the first  [default: all; 100 of an endless set]",
    ),
    ATTEMPTS,
    parallel_option(64),
    CONTINUOUS,
    VERDICTS,
    KEEP_FAILED,
    *EXECUTOR,
)
@click.option(
    "--out",
    type=click.Path(file_okay=False),
    metavar="DIR",
    help="Run folder; the same command resumes it  [default: a dated folder under runs]",
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
def command(
    as_json: bool,
    curve: str | None,
    widths: str,
    out: str | None,
    env_id: tuple[str, ...],
    **given: Any,
) -> None:
    """Measure an agent: accuracy with 95% intervals, and the compute used. The episodes are kept in a run folder.

    With --attempts K also pass@1 to pass@K and the majority of K answers. Undecided and failed episodes are counted
    apart, and are in no accuracy. Ctrl-C loses at most the unfinished episodes. Several --env give a table, and a run
    folder for each environment inside DIR; a mixture gives a table of its members.
    """
    names = list(dict.fromkeys(map(full_id, env_id)))
    if curve:
        if len(names) > 1:
            raise click.UsageError(f"--curve measures one environment, not {', '.join(names)}")
        with user_errors():
            _prepare_curve(given)
            make_room(Path(f"{_without_suffix(curve)}.json"))
            limit = budget(given)
            with open_run({**given, "env_id": names[0]}) as run:
                _curve(curve, read_widths(widths), as_json, limit, run)
        return
    several = len(names) > 1
    folder = out or _dated_folder("suite" if several else names[0], given)
    folders = {name: str(Path(folder, _short(name))) if several else folder for name in names}
    measured = {
        name: _evaluate(
            folders[name],
            folder,
            as_json,
            {
                **given,
                "env_id": name,
                "budget_usd": _money_left(given["budget_usd"], name, folders),
            },
            alone=not several,
        )
        for name in names
    }
    if several and as_json:
        shown = {name: each.as_json() for name, each in measured.items()}
        click.echo(json.dumps({"environments": shown, "run": folder}))
    elif several:
        _print_table({name: each.accuracy for name, each in measured.items()})
        click.echo(f"episodes: {folder}")
    for name in names:
        stop_if_all_failed(folders[name])


def _money_left(limit: float | None, name: str, folders: Mapping[str, str]) -> float | None:
    """Return what a run may cost: the limit of all, less what was spent on the others."""
    others = [folder for other, folder in folders.items() if other != name]
    spent = sum(spent_usd(folder) for folder in others if Path(folder).exists())
    if limit is None or not spent:
        return limit
    left = max(0.0, limit - spent)
    click.echo(f"--budget-usd: ${left:.4f} of ${limit:g} for {name}, the rest is spent", err=True)
    return left


class Measured(NamedTuple):
    """What `stepgym eval` says of one environment."""

    accuracy: Accuracy
    total: Evaluation
    wall_s: float
    folder: str

    @property
    def usage(self) -> Usage:
        return replace(self.total.usage, wall_s=self.wall_s)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `--json` prints."""
        shown = {**self.total.as_json(), **self.accuracy.as_json(), "run": self.folder}
        shown |= {"usage": asdict(self.usage), "members": _as_json(self.members)}
        return {**shown, "solved": shown["mean"]["value"], "ci": shown["mean"]["ci"]}

    @property
    def members(self) -> dict[str, Accuracy]:
        """The accuracy on each member of a mixture; empty for other environments."""
        return by_member(read_episodes(self.folder))


def _as_json(each: Mapping[str, Accuracy]) -> dict[str, Any]:
    return {name: accuracy.as_json() for name, accuracy in each.items()}


def _short(env_id: str) -> str:
    """Return the id of an environment as a part of a folder's name."""
    return env_id.rpartition("/")[2].replace(":", "-")


def _dated_folder(env_id: str, given: dict[str, Any]) -> str:
    """Return a folder under `runs` that is named by environment, agent and time, and is not there yet."""
    name = _short(env_id)
    stem = f"eval-{name}-{given['agent'].rpartition(':')[2]}-{datetime.now():%Y%m%d-%H%M%S}"
    folders = (Path("runs") / f"{stem}{f'-{k}' if k > 1 else ''}" for k in itertools.count(1))
    return str(next(folder for folder in folders if not folder.exists()))


def _evaluate(
    out: str, command_out: str, as_json: bool, given: dict[str, Any], *, alone: bool
) -> Measured:
    """Play into the folder `out` and say what came of it; `command_out` is what --out would be to continue."""
    limit, where, where_played = budget(given), environment(given), executor(given)
    agent_settings, settings = dict(given["agent_option"]), policy_settings(given)
    progress = EpisodeProgress(quiet=as_json)
    started = time.perf_counter()
    with keeps_episodes(command_out, lambda: progress.num_new) as stop, progress:
        selfplay(
            where.id,
            out=out,
            agent=given["agent"],
            policy=given["policy"],
            reward_model=given["reward_model"],
            budget=limit,
            episodes=given["episodes"] or _default_episodes(where.id, where.options),
            seed=given["seed"],
            env_options=where.options,
            agent_settings=agent_settings,
            policy_settings=settings,
            see_verdicts=given["see_verdicts"],
            num_parallel=given["parallel"],
            continuous=given["continuous"],
            attempts=given["attempts"],
            keep_failed=given["keep_failed"],
            progress=progress.show,
            executor=where_played,
            stop=stop,
        )
    records = list(read_episodes(out))
    measured = Measured(accuracy(records), summarise(records), time.perf_counter() - started, out)
    if as_json and alone:
        click.echo(json.dumps(measured.as_json()))
    elif not as_json:
        if not alone:
            click.echo(f"\n{where.id}")
        _print(measured)
    return measured


def _print_table(rows: Mapping[str, Accuracy]) -> None:
    """Print one line for each environment, and the mean over them, each with the same weight."""
    width = max(map(len, rows))
    click.echo(f"\n{'':{width}}  {'accuracy':>8}  {'95% interval':16}  problems  undecided  failed")
    for name, each in rows.items():
        share, _, interval = _percent(each.mean).partition(" ")
        click.echo(
            f"{name:{width}}  {share:>8}  {interval:16}  {each.num_problems:>8}  "
            f"{each.num_undecided:>9}  {each.num_failed:>6}"
        )
    shares = [each.mean.value for each in rows.values() if not math.isnan(each.mean.value)]
    if shares:
        click.echo(f"{'mean':{width}}  {sum(shares) / len(shares):>8.1%}")


def _default_episodes(env_id: str, options: dict[str, Any]) -> int | None:
    """Return 100 for an endless problem set, else `None`: all of it."""
    env = load_env(env_id, **options)
    try:
        return DEFAULT_EPISODES if len(env.problems) > MAX_LISTED else None
    finally:
        env.close()


def _percent(share: Share) -> str:
    """Return `50.0% [40.0%, 60.0%]`, or `unknown` if no episode was decided."""
    if math.isnan(share.value):
        return "unknown"
    return f"{share.value:.1%} [{share.ci.low:.1%}, {share.ci.high:.1%}]"


def _print(measured: Measured) -> None:
    result, usage, out = measured.accuracy, measured.usage, measured.folder
    rows = [("solved" if result.num_attempts <= 1 else f"avg@{result.num_attempts}", result.mean)]
    if result.num_attempts > 1:
        rows += [(f"pass@{k}", share) for k, share in result.pass_at.items()]
        rows.append((f"majority@{result.num_attempts}", result.majority))
    for name, share in rows:
        click.echo(f"{name}: {_percent(share)}")
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in result.verdicts.items())
    plural = "" if result.num_problems == 1 else "s"
    click.echo(f"{result.num_problems} problem{plural}: {verdicts}")
    if measured.total.agent.get("see_verdicts"):
        click.echo(
            "The search was allowed to check answers with the verifier; --no-verdicts forbids it."
        )
    click.echo(
        f"compute: {usage.new_tokens:,} new tokens ({usage.reasoning_tokens:,} reasoning), {usage.prompt_tokens:,} prompt, "
        f"{usage.tool_tokens:,} tool; {usage.model_calls:,} model calls, {usage.flops:.3g} FLOPs, {usage.wall_s:.1f} s"
    )
    if usage.usd:
        click.echo(f"cost: ${usage.usd:.4f}")
    members = measured.members
    if members:
        _print_table(members)
    click.echo(
        f"episodes: {out}   (stepgym compare {out} OTHER, stepgym view {out} --out page.html)"
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
        policy_settings=policy_settings(given),
    ) as setup:
        yield {
            "problems": setup.env,
            "agent": setup.agent,
            "agent_name": setup.agent_name,
            "policy": setup.policy,
            "reward_model": setup.reward_model,
            "episodes": given["episodes"] or DEFAULT_EPISODES,
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
    target = _without_suffix(out)
    result = curve.as_json()
    write_whole(Path(f"{target}.json"), json.dumps(result, indent=1))
    draw_curve(curve, f"{target}.png")
    if as_json:
        click.echo(json.dumps(result))
        return
    for warning in curve.warnings:
        click.secho(f"warning: {warning}", fg="yellow")
    click.echo(f"{target}.png, {target}.json")


def _without_suffix(out: str) -> Path:
    return Path(out).with_suffix("") if out.endswith((".png", ".json")) else Path(out)


def _print_point(point: Any) -> None:
    click.echo(
        f"{point.method:<26}{point.width:>5}  solved {point.solved:.3f} [{point.ci.low:.3f}, {point.ci.high:.3f}]"
        f"  {point.new_tokens:>9,.0f} tokens  {point.flops:>9.3g} FLOPs"
    )

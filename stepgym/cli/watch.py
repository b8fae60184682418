"""`stepgym watch`: where a reward model disagrees with the verifier."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import click

from stepgym.agents.run_setup import RunSetup, open_setup
from stepgym.cli.eval import read_widths
from stepgym.cli.options import ENVIRONMENT, POLICY, add_options, environment, user_errors
from stepgym.cli.progress import show_progress
from stepgym.plugins.errors import UserError
from stepgym.plugins.registry import Registry
from stepgym.records.atomic import make_room, write_whole
from stepgym.serving.page import write_page

VERIFIERS = Registry("verifier", {}, "stepgym.verifiers")


@click.command("watch")
@add_options(*ENVIRONMENT, *POLICY)
@click.option(
    "--reward-model",
    default="embedded",
    show_default=True,
    metavar="NAME",
    help="The reward model to measure.",
)
@click.option(
    "--episodes",
    default=200,
    show_default=True,
    type=click.IntRange(min=2),
    help="Held-out problems.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Seed of the problems; none of them may be training problems.",
)
@click.option(
    "--widths",
    default="1,2,4,8,16",
    show_default=True,
    metavar="N,N,...",
    help="Widths of the searches.",
)
@click.option(
    "--aggregation",
    default="min",
    show_default=True,
    type=click.Choice(["last", "min", "prod", "mean"]),
    help="How the scores of a path are combined.",
)
@click.option(
    "--strict", metavar="MODULE:CLASS", help="A stricter verifier than the environment's."
)
@click.option(
    "--before",
    type=click.Path(path_type=Path),
    help="watch.json of an earlier watch, to measure drift.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("runs/watch"),
    show_default=True,
    help="Folder for the results.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(as_json: bool, out: Path, widths: str, **given: Any) -> None:
    """Watch a reward model: quality of its step scores, accuracy by search width, largest errors, alarms.

    Writes watch.json, watch.png and, in watch-run/, the sampled trees with a page of them.
    """
    where = environment(given)
    with user_errors():
        make_room(out / "watch.json")
        strict = VERIFIERS.load(given["strict"]) if given["strict"] else None
        before = _read_before(given["before"])
        with open_setup(
            where.id,
            agent="greedy",
            policy=given["policy"],
            reward_model=given["reward_model"],
            seed=given["seed"],
            env_options=where.options,
            policy_settings=dict(given["policy_option"]),
        ) as setup:
            result = _watch(setup, out, read_widths(widths), strict, before, as_json, given)
        write_page(out / "watch-run", out=out / "watch-run" / "page.html")
    if as_json:
        click.echo(json.dumps(result))
        return
    if not result["shape"]["samples"]["count"]:
        raise click.ClickException("; ".join(result["alarms"]))
    _print(result, out)


def _read_before(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); give the watch.json of a watch") from error


def _watch(
    setup: RunSetup,
    out: Path,
    widths: list[int],
    strict: Any,
    before: Any,
    quiet: bool,
    given: dict[str, Any],
) -> dict[str, Any]:
    # These import torch.
    from stepgym.selfplay.reward_hacking import measure_reward_hacking
    from stepgym.selfplay.reward_hacking_plot import draw_reward_hacking

    assert setup.reward_model is not None
    trees = out / "watch-run"
    if (trees / "run.json").is_file():  # the run of an earlier watch is not continued
        shutil.rmtree(trees)
    result = measure_reward_hacking(
        setup.env,
        [setup.env.problems[i] for i in range(given["episodes"])],
        policy=setup.policy,
        reward_model=setup.reward_model,
        widths=widths,
        aggregation=given["aggregation"],
        strict=strict,
        before=before,
        seed=given["seed"],
        trees=trees,
        progress=None if quiet else show_progress(),
    )
    write_whole(out / "watch.json", json.dumps(result, indent=1) + "\n")
    draw_reward_hacking(result, out / "watch.png")
    return result


def _print(result: dict[str, Any], out: Path) -> None:
    from stepgym.selfplay.reward_hacking_plot import shown_auc  # imports torch

    steps, strict, shape = result["steps"], result["strict"], result["shape"]
    click.echo(
        f"steps: AUC {shown_auc(steps['auc'])} over {steps['num_steps']:,} ({steps['share_right']:.0%} right, by {steps['labels']});"
        f" first errors: F1 {steps['f1']:.3f} (erroneous {steps['on_erroneous']:.3f}, correct {steps['on_correct']:.3f})"
    )
    widths = sorted({point["width"] for point in result["curve"]})
    click.echo(f"{'solved at width':18}" + "".join(f"{width:>8}" for width in widths))
    shares = {(point["method"], point["width"]): point["solved"] for point in result["curve"]}
    for method in dict.fromkeys(method for method, _ in shares):
        click.echo(
            f"{method:18}"
            + "".join(
                f"{shares[method, w]:8.3f}" if (method, w) in shares else " " * 8 for w in widths
            )
        )
    click.echo(
        f"stricter verifier: rejects {strict['refused']} of {strict['passed']} chosen answers that the environment accepts"
    )
    for name in ("samples", "correct", "chosen"):
        form = shape[name]
        click.echo(
            f"{name:8} {form['steps']:.2f} steps, {form['tokens']:.1f} tokens, {form['answered']:.1%} with an answer,"
            f" {form['repeats_a_step']:.1%} repeat a step"
        )
    click.echo("largest gaps between score and verdict:")
    for gap in [*result["gaps"]["fooled"][:3], *result["gaps"]["missed"][:3]]:
        click.echo(
            f"  {gap['score']:.3f} for an answer that is {gap['verdict']}: {out / 'watch-run' / 'page.html'}#{gap['episode']} node"
            f" {gap['node']}: {' ; '.join(gap['steps'])[:90]}"
        )
    for alarm in result["alarms"]:
        click.secho(f"alarm: {alarm}", fg="red")
    click.echo(f"{len(result['alarms'])} alarms; {out / 'watch.json'}, {out / 'watch.png'}")

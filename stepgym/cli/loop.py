"""`stepgym loop CONFIG`: repeat play, training and evaluation, and keep the better policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from stepgym.agents.executors import IN_PROCESS
from stepgym.cli.options import EXECUTOR, add_options, executor, resumable
from stepgym.cli.progress import show_progress
from stepgym.plugins.errors import UserError

EXAMPLE = """\
# A loop: play with search, learn from what is approved, evaluate, keep the better policy; repeat.
# Run it with:  stepgym loop {file}
# Every setting: docs/learning.md. Settings that are commented out show their defaults.

env = "stepgym/Countdown-v0"
level = 3                 # of the held-out problems that measure every policy; none is learned from
held_out = 200            # how many
init = "fresh"            # random weights; or embedded (the shipped policy), or a folder that `stepgym train` wrote
agent = "best_of_n"       # the search that plays
teacher = "verifier"      # what approves answers: verifier, or vote (no label is used)
see_verdicts = true       # may the search stop at a verified answer?
band = [0.4, 0.8]         # the level played goes up above this success rate, and down below it
start_level = 1           # the level first played
highest_level = 3
generations = 4
episodes = 200            # problems played in each generation
steps = 300               # training steps in each generation
learning_rate = 2e-3
# form = "paths"          # what is learned: paths, merged or both
# replay = 2              # generations whose episodes are learned from
# own_reward_model = false
# undecidable_is_wrong = false
# seed = 0

[agent_settings]
n = 32
"""
"""The config that `--init-config` writes; `{file}` stands for its name."""


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", help="Folder of the loop  [default: the name of CONFIG without its suffix]")
@click.option(
    "--generations",
    type=click.IntRange(min=0),
    help="Overrides the config; a larger number than before continues the loop.",
)
@click.option(
    "--init-config", is_flag=True, help="Write a commented example to CONFIG, and run nothing."
)
@add_options(*EXECUTOR)
@click.option("--json", "as_json", is_flag=True, help="Print the generations as JSON.")
def command(
    config: Path,
    out: str | None,
    generations: int | None,
    init_config: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Run the loop that CONFIG (TOML) describes; run the same command to continue.

    --workers and --ray play and evaluate in other processes; this one trains.
    """
    if init_config:
        with resumable():
            _write_example(config)
        click.echo(f"Wrote {config}. Next: stepgym loop {config}")
        return
    import torch

    # These import torch.
    from stepgym.selfplay.loop import run_loop
    from stepgym.selfplay.loop_config import read_loop_config
    from stepgym.selfplay.loop_page import write_loop_page

    torch.set_num_threads(1)
    where = executor(given) or IN_PROCESS
    with resumable():
        settings = read_loop_config(config, out=out, generations=generations)
        lines = run_loop(settings, progress=show_progress(), executor=where)
    page = write_loop_page(Path(settings.out), {Path(settings.out).name: [lines]})
    if as_json:
        hidden = ("solved", "searched_solved")
        shown = [{k: v for k, v in line.items() if k not in hidden} for line in lines]
        click.echo(json.dumps(shown))
        return
    for line in lines:
        rejected = "" if line.get("accepted", True) else "; rejected: worse on held-out problems"
        masked = line["undecided"] + line["failed"]
        counted = f"; {masked} undecided or failed" if masked else ""
        click.echo(
            f"generation {line['generation']}: solved greedy {line['greedy']:.1%}, with search"
            f" {line['searched']:.1%}{counted}{rejected}"
        )
    best = Path(settings.out) / lines[-1]["policy"]
    policy = "embedded" if lines[-1]["policy"] == "start" else f"embedded:{best / 'policy'}"
    if policy == "embedded" and settings.init != "embedded":
        policy = f"embedded:{settings.init}"
    click.echo(f"curves: {page}")
    click.echo(
        f"Next: stepgym eval --env {settings.env} --level {settings.level} --policy {policy} --episodes 200"
    )


def _write_example(file: Path) -> None:
    if file.exists():
        raise UserError(f"{file} exists already; name another file, or run: stepgym loop {file}")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is no folder; make it first, or name another file")
    file.write_text(EXAMPLE.replace("{file}", str(file)), encoding="utf-8")

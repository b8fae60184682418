"""`stepgym loop CONFIG`: repeat play, training and evaluation, and keep the better policy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from stepgym.agents.executors import IN_PROCESS
from stepgym.cli.options import EXECUTOR, NameOf, add_options, executor, resumable, settings_option
from stepgym.cli.progress import show_progress
from stepgym.envs.registry import NAMES, full_id
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
# replay = 2              # generations whose episodes train the policy
# own_reward_model = false
# undecidable_is_wrong = false
# seed = 0

[agent_settings]
n = 32
"""
"""The config that `--init-config` writes; `{file}` stands for its name."""


@click.command()
@click.argument("config", required=False, type=click.Path(path_type=Path))
@click.option(
    "--env",
    "env_ids",
    multiple=True,
    type=NameOf(NAMES),
    metavar="ID",
    help="Environment, such as Countdown-v0; several are played as a mixture. Overrides the config; if it is another than "
    "the config's, env_options of the config are dropped.",
)
@click.option("--level", type=int, help="Level of the held-out problems. Overrides the config.")
@settings_option(
    "--env-option",
    "Option of the environment, such as modulus=7; with several --env it is one of the mixture, such as rule=progress. "
    "Joins the config's env_options.",
)
@click.option(
    "--out",
    help="Folder of the loop; needed without CONFIG  [default: the name of CONFIG without its suffix]",
)
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
    config: Path | None,
    env_ids: tuple[str, ...],
    level: int | None,
    env_option: tuple[tuple[str, Any], ...],
    out: str | None,
    generations: int | None,
    init_config: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Play, learn, measure, keep the better policy; repeat. Run the same command to continue.

    CONFIG is a TOML file with the settings; --init-config writes a commented one. Without CONFIG, --env and --out are
    needed, and the loop starts from random weights:

    \b
      stepgym loop first.toml --init-config
      stepgym loop first.toml
      stepgym loop --env Countdown-v0 --env ModularSums-v0 \\
          --level 1 --out runs/both

    Several --env are a mixture: one policy learns all of them. Weights and levels of their own:

    \b
      env = "Mixture-v0"
      [env_options]
      rule = "progress"   # of the weights; or annealed, fixed
      [env_options.members]
      Countdown-v0 = 1
      ModularSums-v0 = {weight = 2, level = 1, modulus = 7}

    With ProposeSolve-v0 the policy proposes the Countdown games that it learns to solve:

    \b
      stepgym loop --env ProposeSolve-v0 --level 2 --out own

    --workers and --ray play and evaluate in other processes; this one trains.
    """
    if init_config:
        if config is None:
            raise click.UsageError(
                "--init-config needs CONFIG, the file to write: stepgym loop first.toml --init-config"
            )
        with resumable():
            _write_example(config)
        click.echo(f"Wrote {config}. Next: stepgym loop {config}")
        return
    if config is None and not (env_ids and out):
        raise click.UsageError(
            "give CONFIG (`stepgym loop first.toml --init-config` writes one), or both --env and --out"
        )
    import torch

    # These import torch.
    from stepgym.agents.embedded import net
    from stepgym.selfplay.loop import run_loop
    from stepgym.selfplay.loop_config import LoopConfig, read_loop_config
    from stepgym.selfplay.loop_curriculum import held_out_id, held_out_options
    from stepgym.selfplay.loop_folder import model_home
    from stepgym.selfplay.loop_page import write_loop_page

    torch.set_num_threads(1)
    where = executor(given) or IN_PROCESS
    with resumable():
        overridden = {
            "out": out,
            "generations": generations,
            "level": level,
            **_environment(env_ids, dict(env_option)),
        }
        settings = (
            LoopConfig(
                **{"init": "fresh", **{k: v for k, v in overridden.items() if v is not None}}
            )
            if config is None
            else read_loop_config(config, **overridden)
        )
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
        if made := line.get("proposals"):
            click.echo(
                f"  proposals: {made['counted']} of {made['made']} counted, mean reward {made['reward']:.2f};"
                f" {made['solved']} of {made['problems']} problems solved and learned from"
            )
        for env_id, found in line.get("environments", {}).items():
            click.echo(
                f"  {env_id}: {found['greedy']:.1%}, with search {found['searched']:.1%},"
                f" of {found['problems']} problems"
            )
    folder = net.model_folder(model_home(settings, lines[-1]["policy"]), net.POLICY)
    click.echo(f"curves: {page}")
    options = [
        f"--env-option {shlex.quote(f'{name}={json.dumps(value)}')}"
        for name, value in held_out_options(settings).items()
    ]
    click.echo(
        f"Next: stepgym eval --env {held_out_id(settings)} {' '.join(options)} --policy {shlex.quote(f'embedded:{folder}')} --episodes 200"
    )


def _environment(env_ids: Sequence[str], options: dict[str, Any]) -> dict[str, Any]:
    """Return the loop's settings of the environments that are named, several as a mixture."""
    found: dict[str, Any] = {"env_options": options} if options else {}
    if len(env_ids) > 1:
        if len({full_id(env_id) for env_id in env_ids}) < len(env_ids):
            raise click.UsageError(f"--env names one environment twice: {', '.join(env_ids)}")
        members = dict.fromkeys(env_ids, 1)
        return {"env": "stepgym/Mixture-v0", "env_options": {**options, "members": members}}
    return found | ({"env": env_ids[0]} if env_ids else {})


def _write_example(file: Path) -> None:
    if file.exists():
        raise UserError(f"{file} exists already; name another file, or run: stepgym loop {file}")
    if not file.parent.is_dir():
        raise UserError(f"{file.parent} is no folder; make it first, or name another file")
    file.write_text(EXAMPLE.replace("{file}", str(file)), encoding="utf-8")

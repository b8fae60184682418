"""`stepgym selfplay`: generate a self-play dataset in a run folder; the same command resumes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from stepgym.cli.episode_progress import EpisodeProgress
from stepgym.cli.options import (
    AGENT,
    ATTEMPTS,
    BUDGET,
    CONTINUOUS,
    ENVIRONMENT,
    EXECUTOR,
    KEEP_FAILED,
    MONEY,
    VERDICTS,
    add_options,
    budget,
    environment,
    episodes_option,
    executor,
    keeps_episodes,
    parallel_option,
    policy_settings,
    stop_if_all_failed,
)
from stepgym.selfplay.play import selfplay


@click.command("selfplay")
@add_options(
    *ENVIRONMENT,
    *AGENT,
    *BUDGET,
    *MONEY,
    episodes_option(100, "Problems to play."),
    parallel_option(16),
    CONTINUOUS,
    VERDICTS,
)
@ATTEMPTS
@KEEP_FAILED
@add_options(*EXECUTOR)
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and no progress.")
def command(out: str, episodes: int, parallel: int, as_json: bool, **given: Any) -> None:
    """Play an environment's problems and record every finished search as one line of JSON.

    Ctrl-C or a crash loses at most the unfinished episodes. Run the same command to continue; a larger --episodes
    extends the run.
    """
    limit, where, where_played = budget(given), environment(given), executor(given)
    progress = EpisodeProgress(quiet=as_json)
    settings = policy_settings(given)
    with keeps_episodes(out, lambda: progress.num_new) as stop, progress:
        summary = selfplay(
            where.id,
            out=out,
            budget=limit,
            episodes=episodes,
            env_options=where.options,
            agent_settings=dict(given.pop("agent_option")),
            policy_settings=settings,
            num_parallel=parallel,
            progress=progress.show,
            executor=where_played,
            stop=stop,
            **given,
        )
    if as_json:
        click.echo(json.dumps(asdict(summary)))
        stop_if_all_failed(out)
        return
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())
    click.echo(f"{out}: {summary.episodes} episodes ({verdicts}), {progress.num_new} of them new")
    stop_if_all_failed(out)
    click.echo(f"Next: stepgym export {out} --format sft   |   stepgym view {out} --out page.html")

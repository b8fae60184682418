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
    KEEP_FAILED,
    VERDICTS,
    WORKERS,
    add_options,
    budget,
    environment,
    episodes_option,
    parallel_option,
    stop_if_all_failed,
    user_errors,
)
from stepgym.records.types import RunBusyError
from stepgym.sandbox.types import SandboxError
from stepgym.selfplay.play import selfplay


@click.command("selfplay")
@add_options(
    *ENVIRONMENT,
    *AGENT,
    *BUDGET,
    episodes_option(100, "Problems to play."),
    parallel_option(16),
    CONTINUOUS,
    VERDICTS,
)
@ATTEMPTS
@KEEP_FAILED
@WORKERS
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and no progress.")
def command(out: str, episodes: int, parallel: int, as_json: bool, **given: Any) -> None:
    """Play an environment's problems and record every finished search as one line of JSON.

    Ctrl-C or a crash loses at most the unfinished episodes. Run the same command to continue; a larger --episodes
    extends the run.
    """
    limit, where = budget(given), environment(given)
    progress = EpisodeProgress(quiet=as_json)
    try:
        with user_errors(), progress:
            summary = selfplay(
                where.id,
                out=out,
                budget=limit,
                episodes=episodes,
                env_options=where.options,
                agent_settings=dict(given.pop("agent_option")),
                policy_settings=dict(given.pop("policy_option")),
                num_parallel=parallel,
                progress=progress.show,
                executor=given.pop("workers"),
                **given,
            )
    except RunBusyError as error:
        raise click.ClickException(str(error)) from error
    except click.UsageError as error:
        if progress.num_new and isinstance(error.__cause__, SandboxError):
            raise click.ClickException(
                f"{error.message}\nStopped. {_safe(progress.num_new, out)}"
            ) from error
        raise
    except KeyboardInterrupt:
        click.echo(f"\nStopped. {_safe(progress.num_new, out)}", err=True)
        raise click.exceptions.Exit(130) from None
    if as_json:
        click.echo(json.dumps(asdict(summary)))
        stop_if_all_failed(out)
        return
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())
    click.echo(f"{out}: {summary.episodes} episodes ({verdicts}), {progress.num_new} of them new")
    stop_if_all_failed(out)
    click.echo(f"Next: stepgym export {out} --format sft   |   stepgym view {out} --out page.html")


def _safe(count: int, out: str) -> str:
    return f"{count} new episodes are kept in {out}; run the same command to continue."

"""`stepgym selfplay`: generate a self-play dataset into a run folder; the same command resumes it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from stepgym.cli.options import agent_options, split_budget, user_errors
from stepgym.training.types import Progress


@click.command("selfplay")
@agent_options
@click.option(
    "--episodes",
    default=100,
    show_default=True,
    type=click.IntRange(min=1),
    help="Problems to play.",
)
@click.option("--out", required=True, type=click.Path(file_okay=False), help="The run folder.")
@click.option(
    "--parallel",
    default=16,
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
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON, and no progress.")
def command(out: str, episodes: int, parallel: int, as_json: bool, **given: Any) -> None:
    """Play an environment's problems and record every finished search as one line of JSON.

    Ctrl-C or a crash loses at most the episodes in flight; the same command goes on from there, and a larger
    --episodes extends the run.
    """
    from stepgym.records.types import RunBusyError
    from stepgym.sandbox.types import SandboxError
    from stepgym.selfplay.play import selfplay

    budget, rest = split_budget(given)
    env_options = dict(rest.pop("env_option"))
    if sandbox := rest.pop("sandbox"):
        env_options["sandbox"] = sandbox
    progress = _Progress(episodes, quiet=as_json)
    try:
        with user_errors(), progress:
            summary = selfplay(
                rest.pop("env_id"),
                out=out,
                budget=budget,
                episodes=episodes,
                env_options=env_options,
                agent_settings=dict(rest.pop("agent_option")),
                policy_settings=dict(rest.pop("policy_option")),
                num_parallel=parallel,
                progress=progress.show,
                **rest,
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
        return
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in summary.verdicts.items())
    click.echo(f"{out}: {summary.episodes} episodes ({verdicts}), {progress.num_new} of them new")
    click.echo(f"Next: stepgym export {out} --format sft   |   stepgym view {out} --out page.html")


def _safe(count: int, out: str) -> str:
    return f"{count} new episodes are safe in {out}; the same command goes on."


class _Progress:
    """The progress bar with verdicts so far; on a pipe or with --json nothing is drawn."""

    def __init__(self, total: int, *, quiet: bool) -> None:
        from rich import progress as rich_progress
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        self._bar = rich_progress.Progress(
            TextColumn("self-play"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[verdicts]}"),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total, verdicts="")
        self.num_new = 0

    def show(self, now: Progress) -> None:
        self.num_new = int(sum(now.figures.values()))
        words = " ".join(f"{count:.0f} {verdict}" for verdict, count in now.figures.items())
        self._bar.update(self._task, completed=now.done, verdicts=words)

    def __enter__(self) -> None:
        self._bar.start()

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

"""`stepgym verify`: verdicts of stored runs anew."""

from __future__ import annotations

import json

import click

from stepgym.cli.options import RAY, WORKERS, in_order, user_errors
from stepgym.records.reverify import reverify
from stepgym.records.types import Reverification

MAX_SHOWN_CHARS = 60


@click.command("verify")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@click.option(
    "--keep/--no-keep",
    default=True,
    show_default=True,
    help="Keep the new verdicts in the run, beside the recorded ones.",
)
@WORKERS
@RAY
@click.option("--show", default=10, show_default=True, help="Changed answers to show per run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per run.")
def command(
    folders: tuple[str, ...],
    keep: bool,
    workers: str | None,
    ray: str | None,
    show: int,
    as_json: bool,
) -> None:
    """Verify all answers of run folders anew and list the differences by kind.

    Readers of a run (export, train, runs, view) then use the new verdicts. An answer that the verifier leaves undecided
    through a limit of its own keeps its recorded verdict.
    """
    for folder in folders:
        with user_errors():
            found = reverify(folder, keep=keep, in_order=in_order(workers, ray))
        if as_json:
            click.echo(json.dumps(_plain(found)))
        else:
            _show(found, show, keep)


def _plain(found: Reverification) -> dict[str, object]:
    return {
        "run": found.run,
        "episodes": found.episodes,
        "answers": found.answers,
        "changed": dict(found.changed),
        "changes": [change._asdict() for change in found.changes],
        "seconds": round(found.seconds, 3),
    }


def _show(found: Reverification, show: int, keep: bool) -> None:
    click.echo(
        f"{found.run}: {found.answers:,} answers of {found.episodes:,} episodes verified in {found.seconds:.1f} s, "
        f"{len(found.changes):,} verdicts changed"
    )
    for kind, count in found.changed.items():
        click.echo(f"  {kind}  {count:,}")
    for change in found.changes[:show]:
        answer, reference = (_short(text) for text in (change.answer, change.reference))
        click.echo(f"  {change.problem_id}: {change.before} -> {change.verdict}: {answer}")
        click.echo(f"    reference: {reference}")
        if change.reason:
            click.echo(f"    reason: {_short(change.reason)}")
    if len(found.changes) > show:
        click.echo(f"  {len(found.changes) - show:,} more; --show {len(found.changes)} lists all")
    if found.changes and keep:
        click.echo("The run keeps the recorded verdicts too.")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= MAX_SHOWN_CHARS else line[: MAX_SHOWN_CHARS - 3] + "..."

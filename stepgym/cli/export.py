"""`stepgym export`: write training data from run folders."""

from __future__ import annotations

from pathlib import Path

import click

from stepgym.cli.options import user_errors
from stepgym.records.exports import export
from stepgym.records.types import ExportFormat

FORMATS = [kind.value for kind in ExportFormat]


@click.command("export")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@click.option(
    "--format",
    "kind",
    default="sft",
    show_default=True,
    type=click.Choice(FORMATS),
    help="Kind of rows.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="FILE.parquet or FILE.jsonl  [default: DIR/FORMAT.parquet]",
)
@click.option("--dedup/--no-dedup", default=True, show_default=True, help="Drop duplicate rows.")
@click.option(
    "--learn-reasoning/--mask-reasoning",
    default=True,
    show_default=True,
    help="Whether internal reasoning counts for the loss.",
)
def command(
    folders: tuple[str, ...], kind: str, out: str | None, dedup: bool, learn_reasoning: bool
) -> None:
    """Write training rows that `datasets.load_dataset` reads. Undecided verdicts are left out.

    sft: verified solutions with loss-mask spans. preference: pairs of continuations from one state. steps: a label for
    every step. tree: every node with visits and value. verl, openrlhf: the columns of those trainers.
    """
    target = Path(out) if out else Path(folders[0]) / f"{kind}.parquet"
    with user_errors():
        count = export(
            folders, target, kind=ExportFormat(kind), dedup=dedup, learn_reasoning=learn_reasoning
        )
    loader = "parquet" if target.suffix == ".parquet" else "json"
    click.echo(f"{target}: {count:,} rows")
    click.echo(f'Read it: datasets.load_dataset("{loader}", data_files="{target}", split="train")')

"""`stepgym export`: run folders to training data."""

from __future__ import annotations

from pathlib import Path

import click

from stepgym.cli.options import user_errors

FORMATS = ("sft", "preference", "steps", "tree", "verl", "openrlhf")


@click.command("export")
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@click.option("--format", "kind", default="sft", show_default=True, type=click.Choice(FORMATS))
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="FILE.parquet or FILE.jsonl  [default: DIR/FORMAT.parquet]",
)
@click.option("--dedup/--no-dedup", default=True, show_default=True, help="Keep one of equal rows.")
@click.option(
    "--learn-reasoning/--mask-reasoning",
    default=True,
    show_default=True,
    help="Loss on internal reasoning.",
)
def command(
    folders: tuple[str, ...], kind: str, out: str | None, dedup: bool, learn_reasoning: bool
) -> None:
    """Write training rows that `datasets.load_dataset` reads. Only what a verifier decided counts.

    sft: verified ways to the answer, with loss-mask spans. preference: two ways from one fork. steps: a label for
    every step. tree: every node with visits and value. verl, openrlhf: the columns of those trainers.
    """
    from stepgym.records.exports import export
    from stepgym.records.types import ExportFormat

    target = Path(out) if out else Path(folders[0]) / f"{kind}.parquet"
    with user_errors():
        count = export(
            folders, target, kind=ExportFormat(kind), dedup=dedup, learn_reasoning=learn_reasoning
        )
    loader = "parquet" if target.suffix == ".parquet" else "json"
    click.echo(f"{target}: {count:,} rows")
    click.echo(f'Read it: datasets.load_dataset("{loader}", data_files="{target}", split="train")')

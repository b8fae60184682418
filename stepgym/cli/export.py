"""`stepgym export`: write training data from run folders."""

from __future__ import annotations

from pathlib import Path

import click

from stepgym.cli.options import user_errors
from stepgym.records.exports import export
from stepgym.records.types import Advantage, ExportFormat, TextLayout

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
@click.option(
    "--layout",
    default=TextLayout.CHAT.value,
    show_default=True,
    type=click.Choice([each.value for each in TextLayout]),
    help="sft, preference: messages, one text, or token ids.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="hf:NAME_OR_FOLDER or smollm2: the tokenizer for token rows. Recorded tokens need none.",
)
@click.option(
    "--retokenise",
    is_flag=True,
    help="Tokenise the text anew if the recorded tokens are those of another tokenizer.",
)
@click.option(
    "--advantages",
    default=Advantage.GROUP.value,
    show_default=True,
    type=click.Choice([each.value for each in Advantage]),
    help="tokens: baseline per problem, or per fork of the tree.",
)
def command(
    folders: tuple[str, ...],
    kind: str,
    out: str | None,
    dedup: bool,
    learn_reasoning: bool,
    layout: str,
    model: str | None,
    retokenise: bool,
    advantages: str,
) -> None:
    """Write training rows that `datasets.load_dataset` reads. Undecided verdicts are left out.

    sft: verified solutions. preference: pairs of continuations from one state. steps: a label for every step. tree:
    every node with visits and value. tokens: token ids with labels and advantages. verl, openrlhf: the columns of
    those trainers. What the environment replied is never learned.
    """
    target = Path(out) if out else Path(folders[0]) / f"{kind}.parquet"
    with user_errors():
        count = export(
            folders,
            target,
            kind=ExportFormat(kind),
            layout=TextLayout(layout),
            model=model,
            retokenise=retokenise,
            advantages=Advantage(advantages),
            dedup=dedup,
            learn_reasoning=learn_reasoning,
        )
    loader = "parquet" if target.suffix == ".parquet" else "json"
    click.echo(f"{target}: {count:,} rows")
    click.echo(f'Read it: datasets.load_dataset("{loader}", data_files="{target}", split="train")')

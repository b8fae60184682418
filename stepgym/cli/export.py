"""`stepgym export`: write training data from run folders."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from stepgym.cli.options import JSON_OBJECT, VIEW, user_errors
from stepgym.cli.progress import show_progress
from stepgym.records.card import write_card
from stepgym.records.decontamination import NGRAM
from stepgym.records.exports import write_export
from stepgym.records.formats import FORMATS
from stepgym.records.run_folder import num_episodes
from stepgym.records.types import Advantage, ExportFormat, ExportReport, TextLayout, View
from stepgym.training.types import Progress

MAX_SHOWN = 10


class FormatsInHelp(click.Command):
    """A command whose help lists the export formats."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Formats"):
            formatter.write_dl([(kind.value, made.summary) for kind, made in FORMATS.items()])
        super().format_options(ctx, formatter)


@click.command("export", cls=FormatsInHelp)
@click.argument("folders", nargs=-1, required=True, metavar="DIR...", type=click.Path())
@click.option(
    "--format",
    "kind",
    default="sft",
    show_default=True,
    metavar="NAME",
    type=click.Choice([kind.value for kind in ExportFormat]),
    help="Kind of rows, from the list above.",
)
@click.option(
    "--out", type=click.Path(), help="FILE.parquet or FILE.jsonl  [default: DIR/FORMAT.parquet]"
)
@click.option(
    "--split",
    "test_share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Write NAME-train and NAME-test; SHARE of the problems are for testing. A problem is on one side in every run.",
)
@click.option(
    "--decontaminate",
    multiple=True,
    metavar="FILE",
    type=click.Path(),
    help="Leave out problems that this benchmark file has (JSONL, JSON or Parquet).",
)
@click.option(
    "--ngram",
    default=NGRAM,
    show_default=True,
    type=click.IntRange(min=1),
    help="Words in a row that make two problems equal for --decontaminate.",
)
@VIEW
@click.option("--card", is_flag=True, help="Write a dataset card, README.md, beside the rows.")
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
    help="sft, preference, kto: messages, one text, or (sft) token ids.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="hf:NAME_OR_FOLDER or smollm2: the tokenizer for token rows. Recorded tokens need none.",
)
@click.option(
    "--retokenise",
    is_flag=True,
    help="Tokenise the text anew unless the recorded tokens are known to be of this tokenizer.",
)
@click.option(
    "--advantages",
    default=Advantage.GROUP.value,
    show_default=True,
    type=click.Choice([each.value for each in Advantage]),
    help="tokens: baseline per problem, or per fork of the tree.",
)
@JSON_OBJECT
def command(
    folders: tuple[str, ...], kind: str, out: str | None, card: bool, as_json: bool, **given: Any
) -> None:
    """Write training rows from run folders. Undecided verdicts are left out.

    What the environment or a tool wrote is never learned.
    """
    made = FORMATS[ExportFormat(kind)]
    suffix = "jsonl" if made.columns is None else "parquet"
    target = Path(out) if out else Path(folders[0]) / f"{kind}.{suffix}"
    layout = TextLayout(given.pop("layout"))
    with user_errors():
        total = sum(map(num_episodes, folders))
        shown = show_progress()
        report = write_export(
            folders,
            target,
            kind=ExportFormat(kind),
            layout=layout,
            view=View(given.pop("view")),
            advantages=Advantage(given.pop("advantages")),
            progress=lambda done: shown(Progress("export", done, max(done, total), "episodes")),
            **given,
        )
        written = _card(report, folders, layout) if card and report.rows else None
    if as_json:
        click.echo(json.dumps({**asdict(report), "card": written and str(written)}))
    else:
        _show(report)
        if written:
            click.echo(f"{written}: dataset card")
    if report.why_empty:
        raise click.ClickException(report.why_empty)


def _card(report: ExportReport, folders: tuple[str, ...], layout: TextLayout) -> Path:
    words = ["stepgym", "export", *sys.argv[2:]] if sys.argv[1:2] == ["export"] else []
    return write_card(report, folders, layout=layout, command=shlex.join(words))


def _show(report: ExportReport) -> None:
    for file, count in report.files.items():
        click.echo(f"{file}: {count:,} rows")
    found = report.contaminated
    if report.decontaminated:
        click.echo(f"problems left out because a benchmark has them: {len(found):,}")
        for each in found[:MAX_SHOWN]:
            click.echo(f"  {each.problem_id}: {Path(each.file).name}, line {each.line}")
            click.echo(f"    shared: {each.shared[:100]}")
        if len(found) > MAX_SHOWN:
            click.echo(f"  {len(found) - MAX_SHOWN:,} more; --json lists all")
    if report.rows:
        file = next(iter(report.files))
        loader = "parquet" if file.endswith(".parquet") else "json"
        click.echo(
            f'Read it: datasets.load_dataset("{loader}", data_files="{file}", split="train")'
        )

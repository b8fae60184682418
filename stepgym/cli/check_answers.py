"""`stepgym check-answers FILE`: run the maths verifier over a JSONL file of answers and references."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stepgym.envs.maths import MathOptions, verify_answers
from stepgym.envs.types import Verdict

CHUNK = 64


def read_rows(path: Path, answer: str, reference: str) -> list[dict[str, Any]]:
    """Read every line as an object with both columns; an error names the file and the line."""
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise click.UsageError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise click.UsageError(f"{path}:{number}: not an object: {line.strip()[:60]!r}")
            for column in (answer, reference):
                if column not in row:
                    known = ", ".join(map(repr, row))
                    raise click.UsageError(
                        f"{path}:{number}: no column {column!r}; the line has {known}; name it with --answer or --reference"
                    )
            rows.append(row)
    return rows


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--answer",
    default="answer",
    show_default=True,
    help="Column of the answer: the bare answer, or a whole completion.",
)
@click.option(
    "--reference", default="reference", show_default=True, help="Column of the reference."
)
@click.option(
    "--float-tolerance",
    default=0.0,
    show_default=True,
    help="Relative tolerance if the reference is a decimal.",
)
@click.option("--simplified", is_flag=True, help="Require a simplified answer.")
@click.option("--order-matters", is_flag=True, help="Require lists in the order of the reference.")
@click.option(
    "--units-required",
    is_flag=True,
    help="Reject an answer without a unit if the reference has one.",
)
@click.option(
    "--limit-s",
    default=2.0,
    show_default=True,
    help="Time limit for one pair in the symbolic checks, in seconds.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every line with its verdict to this JSONL file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    file: Path,
    answer: str,
    reference: str,
    float_tolerance: float,
    simplified: bool,
    order_matters: bool,
    units_required: bool,
    limit_s: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Verify every line of FILE (JSONL), and count the verdicts by the check that decided."""
    try:
        options = MathOptions(
            float_tolerance=float_tolerance,
            simplified=simplified,
            order_matters=order_matters,
            units_required=units_required,
            limit_s=limit_s,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    rows = read_rows(file, answer, reference)
    verdicts: list[Verdict] = []
    start = time.perf_counter()
    parts = list(range(0, len(rows), CHUNK))
    with click.progressbar(parts, label="checking", file=sys.stderr) as bar:
        for at in bar:
            part = rows[at : at + CHUNK]
            verdicts += verify_answers(
                [_text(row[answer]) for row in part],
                references=[_text(row[reference]) for row in part],
                options=options,
            )
    seconds = time.perf_counter() - start
    if out is not None:
        _write(out, rows, verdicts)
    _report(verdicts, seconds, as_json=as_json)


def _write(path: Path, rows: list[dict[str, Any]], verdicts: list[Verdict]) -> None:
    with path.open("w", encoding="utf-8") as lines:
        for row, verdict in zip(rows, verdicts):
            said = {
                "status": verdict.status.value,
                "decided_by": verdict.decided_by,
                "reason": verdict.reason,
            }
            lines.write(json.dumps({**row, "verdict": {**said, **verdict.details}}) + "\n")


def _report(verdicts: list[Verdict], seconds: float, *, as_json: bool) -> None:
    statuses = Counter(verdict.status.value for verdict in verdicts)
    rungs = Counter((verdict.decided_by, verdict.status.value) for verdict in verdicts)
    names = ("correct", "incorrect", "undecided")
    by_rung = {
        rung: {name: rungs[rung, name] for name in names}
        for rung in dict.fromkeys(r for r, _ in rungs)
    }
    if as_json:
        summary = {name: statuses[name] for name in names}
        click.echo(
            json.dumps(
                {
                    "pairs": len(verdicts),
                    **summary,
                    "seconds": round(seconds, 4),
                    "by_rung": by_rung,
                }
            )
        )
        return
    table = Table("decided by", *names, title=f"{len(verdicts)} answers in {seconds:.2f} s")
    for rung, counts in sorted(by_rung.items()):
        table.add_row(rung, *(str(counts[name]) for name in names))
    table.add_row("all", *(str(statuses[name]) for name in names), style="bold")
    Console().print(table)

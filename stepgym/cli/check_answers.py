"""`stepgym check-answers FILE`: run the maths verifier over a JSONL file of answers and references.

`stepgym check-answers --attack` runs any verifier over the corpus of answers that must not pass.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from stepgym.cli.options import RAY, WORKERS, in_order, user_errors
from stepgym.envs.maths import MathOptions, verify_answers
from stepgym.envs.maths.attacks import run_attacks
from stepgym.envs.types import Verdict
from stepgym.records.atomic import make_room

CHUNK = 64


def read_rows(
    path: Path, answer: str, reference: str, question: str | None = None
) -> list[dict[str, Any]]:
    """Read every line as an object with all columns; an error names the file and the line."""
    rows: list[dict[str, Any]] = []
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise click.UsageError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise click.UsageError(f"{path}:{number}: not an object: {json.dumps(row)[:60]}")
            for column in filter(None, (answer, reference, question)):
                if column not in row:
                    known = ", ".join(map(repr, row))
                    raise click.UsageError(
                        f"{path}:{number}: no column {column!r}; the line has {known}; name it with --answer, --reference or --question"
                    )
            rows.append(row)
    return rows


def verify_part(part: Mapping[str, Any]) -> list[Verdict]:
    """Verify one part of the file, here or in a worker process."""
    return verify_answers(**part)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@click.command()
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
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
    "--question", default=None, help="Column of the question, which settles what is asked."
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
    "--judge",
    default=None,
    metavar="chat:URL#MODEL",
    help="Model to ask about pairs that stay UNDECIDED; none by default.",
)
@WORKERS
@RAY
@click.option(
    "--attack",
    is_flag=True,
    help="Run the corpus of answers that must not pass instead of FILE; fails if one passes.",
)
@click.option(
    "--verifier",
    default="stepgym",
    show_default=True,
    help="Verifier for --attack: stepgym, math_verify, exact_match, or package.module:Thing.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write every line with its verdict to this JSONL file.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    file: Path | None,
    answer: str,
    reference: str,
    question: str | None,
    float_tolerance: float,
    simplified: bool,
    order_matters: bool,
    units_required: bool,
    limit_s: float,
    judge: str | None,
    workers: str | None,
    ray: str | None,
    attack: bool,
    verifier: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Verify every line of FILE (JSONL), and count the verdicts by the check that decided."""
    if attack is (file is not None):
        raise click.UsageError("give either a FILE of answers or --attack")
    if out is not None:
        with user_errors():
            make_room(out)
    if attack:
        _attack(verifier, judge, out, as_json=as_json)
        return
    assert file is not None
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
    rows = read_rows(file, answer, reference, question)
    verdicts: list[Verdict] = []
    start = time.perf_counter()
    parts = [
        {
            "answers": [_text(row[answer]) for row in part],
            "references": [_text(row[reference]) for row in part],
            "questions": [_text(row[question]) for row in part] if question else None,
            "options": options,
            "judge": judge,
        }
        for part in (rows[at : at + CHUNK] for at in range(0, len(rows), CHUNK))
    ]
    with (
        user_errors(),
        click.progressbar(length=len(rows), label="checking", file=sys.stderr) as bar,
    ):
        for found in in_order(workers, ray)(verify_part, parts):
            verdicts += found
            bar.update(len(found))
    seconds = time.perf_counter() - start
    if out is not None:
        _write(out, rows, verdicts)
    _report(verdicts, seconds, as_json=as_json)


def _attack(verifier: str, judge: str | None, out: Path | None, *, as_json: bool) -> None:
    """Run the attack corpus over a verifier; exit with 1 if an attack passes."""
    try:
        results = run_attacks(verifier, judge=judge)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    rows = [result.row() for result in results]
    if out is not None:
        with out.open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(row) + "\n" for row in rows)
    honest = sum(result.attack.honest for result in results)
    won, missed = sum(r.won for r in results), sum(r.missed for r in results)
    attacks = len(results) - honest
    if as_json:
        summary = {"attacks": attacks, "won": won, "honest": honest, "missed": missed}
        click.echo(json.dumps({**summary, "rows": rows}))
    else:
        table = Table("kind", "rows", "passed as CORRECT", title=f"verifier {verifier}")
        for kind in dict.fromkeys(row["category"] for row in rows):
            passed = [row["verdict"] == "correct" for row in rows if row["category"] == kind]
            table.add_row(kind, str(len(passed)), str(sum(passed)))
        Console().print(table)
        click.echo(f"{won} of {attacks} attacks passed; {missed} of {honest} honest answers failed")
    if won:
        sys.exit(1)


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

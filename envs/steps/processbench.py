"""Measures a step verifier on labelled solutions, as ProcessBench does.

Source: Zheng et al. 2024, arXiv:2412.06559.

A row has `steps` (a list of texts), the question under `problem` or `input`, and under `label` or `mistake_index` the index
of the first erroneous step; -1 or null means that there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.envs.steps.claims import StepReport
from stepgym.envs.steps.verifier import check_steps
from stepgym.envs.types import Status
from stepgym.plugins.errors import UserError


class LabelledSolution(NamedTuple):
    """One row of a file."""

    id: str
    """The row's `id`; `row 3` for the third row if it has none."""
    problem: str
    """The question."""
    steps: tuple[str, ...]
    """Texts of the solution's steps, in order."""
    first_error: int | None
    """Index of the first erroneous step; `None` if there is none."""


class Flag(NamedTuple):
    """A solution whose first step with a false claim is not the labelled one."""

    id: str
    """`LabelledSolution.id`."""
    found: int | None
    """Index of the first step with a false claim; `None` if there is none."""
    labelled: int | None
    """Index of the step that the label calls erroneous; `None` if the label is "no error"."""
    reason: str
    """The proof that the found step is wrong."""


class Figures(NamedTuple):
    """Agreement of flags with labels.

    Shares are in [0, 1], `None` without a solution of that sort.
    """

    num_erroneous: int
    """Solutions with a labelled error."""
    num_correct: int
    """Solutions labelled as free of errors."""
    error_accuracy: float | None
    """Share of erroneous solutions whose first flag is the labelled first error."""
    correct_accuracy: float | None
    """Share of correct solutions without a flag."""
    f1: float | None
    """Harmonic mean of the two."""
    flagged_precision: float | None
    """Share of the flagged erroneous solutions whose first flag is the labelled first error."""
    disagreements: tuple[Flag, ...]
    """Flags that contradict the label, each with its proof."""
    f1_undisputed: float | None
    """F1 without the rows whose label a proof contradicts: no error, or a later one than the proven one."""


def read_labelled(path: str | Path) -> list[LabelledSolution]:
    """Read a JSON list or JSON lines; raises `UserError` that names file and row."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        rows = json.loads(text) if text.lstrip().startswith("[") else list(_lines(text))
    except ValueError as error:
        raise UserError(f"{file}: {error}") from error
    return [_solution(row, file, f"row {number}") for number, row in enumerate(rows, start=1)]


def measure(solutions: Sequence[LabelledSolution]) -> Figures:
    """Verify all solutions and compare the first flag of each with its label."""
    flags = [_first_flag(solution) for solution in solutions]
    erroneous = [flag for flag in flags if flag.labelled is not None]
    correct = [flag for flag in flags if flag.labelled is None]
    hits = sum(flag.found == flag.labelled for flag in erroneous)
    alone = sum(flag.found is None for flag in correct)
    earlier = sum(
        flag.found is not None and flag.labelled is not None and flag.found < flag.labelled
        for flag in erroneous
    )
    error_accuracy = _share(hits, len(erroneous))
    correct_accuracy = _share(alone, len(correct))
    return Figures(
        len(erroneous),
        len(correct),
        error_accuracy,
        correct_accuracy,
        _harmonic_mean(error_accuracy, correct_accuracy),
        _share(hits, sum(flag.found is not None for flag in erroneous)),
        tuple(flag for flag in flags if flag.found is not None and flag.found != flag.labelled),
        _harmonic_mean(_share(hits, len(erroneous) - earlier), _share(alone, alone)),
    )


def _first_flag(solution: LabelledSolution) -> Flag:
    reports: list[StepReport] = check_steps(solution.problem, solution.steps)
    for number, report in enumerate(reports):
        if report.status is Status.INCORRECT:
            return Flag(solution.id, number, solution.first_error, report.reason)
    return Flag(solution.id, None, solution.first_error, "")


def _lines(text: str) -> Iterator[Any]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise UserError(f"line {number}: {error}") from error


def _solution(row: Any, file: Path, name: str) -> LabelledSolution:
    where = f"{file}: {name}"
    steps = row.get("steps") if isinstance(row, dict) else None
    if not isinstance(steps, list) or not all(isinstance(step, str) for step in steps):
        raise UserError(f"{where}: 'steps' is not a list of texts; found {str(steps)[:60]!r}")
    key = next((key for key in ("label", "mistake_index") if key in row), None)
    label = row[key] if key else "missing"
    if label is not None and (not isinstance(label, int) or not -1 <= label < len(steps)):
        raise UserError(
            f"{where}: {key or 'label'} is {label!r}, not the index of a step, -1 or null"
        )
    problem = str(row.get("problem") or row.get("input") or "")
    first_error = None if label is None or label < 0 else label
    return LabelledSolution(str(row.get("id", name)), problem, tuple(steps), first_error)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic_mean(a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return None
    return 2 * a * b / (a + b) if a + b else 0.0

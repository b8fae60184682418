r"""Problems out of data files: JSONL or Parquet with a question and an answer column.

Two conventions are known: GSM8K ends its solution with `#### 42`, MATH boxes its answer, `\boxed{42}`. What is wrong
with a file is said with file, line and column. Files are read whole; a million rows is the size in mind.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.envs.tokens import last_boxed
from stepgym.envs.types import Problem, Verifier
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name

QUESTION_COLUMNS = ("question", "problem", "prompt", "instruction", "query", "input")
ANSWER_COLUMNS = (
    "answer",
    "final_answer",
    "expected_answer",
    "ground_truth",
    "target",
    "solution",
    "response",
    "output",
)


class DataFileError(UserError):
    """A data file that cannot be used; the message names file, line, column and the way out."""


@dataclass(frozen=True)
class Row:
    """One row of a data file and where it stands."""

    path: Path
    line: int
    """Counted from 1: of a JSONL file the line, of a Parquet file the row."""
    data: dict[str, Any]

    def text(self, column: str) -> str:
        """Return a column's text; numbers are written out. Raises `DataFileError` for anything else."""
        if column not in self.data:
            raise self.error(f"no column {column!r}; its columns: {', '.join(self.data) or 'none'}")
        value = self.data[column]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.error(
                f"column {column!r} is {type(value).__name__} {repr(value)[:60]}; it must be text or a number"
            )
        if not value.strip():
            raise self.error(f"column {column!r} is empty; fill it or leave the row out")
        return value

    def error(self, message: str) -> DataFileError:
        return DataFileError(f"{self.path}, line {self.line}: {message}")


class Unverifiable(NamedTuple):
    """A row whose reference the verifier does not find equal to itself."""

    line: int
    reference: str
    reason: str


@dataclass(frozen=True)
class FileSet:
    """The rows of a file as problems, in the file's order."""

    name: str
    path: Path
    questions: tuple[str, ...] = field(repr=False)
    references: tuple[str, ...] = field(repr=False)
    lines: tuple[int, ...] = field(repr=False)
    instructions: str = ""
    unverifiable: tuple[Unverifiable, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.questions)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.path} has problems 0 to {len(self) - 1}, not {index!r}")
        question = self.questions[index]
        return Problem(
            id=f"{self.name}/{index}",
            prompt=f"{question}\n\n{self.instructions}" if self.instructions else question,
            reference=self.references[index],
            index=index,
        )


def load_file_set(
    path: str | Path,
    *,
    name: str = "file",
    question: str | None = None,
    answer: str | None = None,
    instructions: str = "",
    verifier: Verifier | None = None,
) -> FileSet:
    """Read a file of questions and answers; columns are found by their names where they are not given.

    With a verifier, references that do not verify against themselves are listed in `unverifiable` and warned of.
    Raises `DataFileError`.
    """
    rows = read_rows(path)
    found_question = find_column(rows[0], question, QUESTION_COLUMNS, "question")
    found_answer = find_column(rows[0], answer, ANSWER_COLUMNS, "answer", taken=found_question)
    file = rows[0].path
    problems = FileSet(
        name=f"{name}/{file.name}@{_digest(file)}",
        path=file,
        questions=tuple(row.text(found_question) for row in rows),
        references=tuple(_reference(row, found_answer) for row in rows),
        lines=tuple(row.line for row in rows),
        instructions=instructions,
    )
    if verifier is None:
        return problems
    unverifiable = _unverifiable(problems, verifier)
    if unverifiable:
        _warn(file, unverifiable)
    return FileSet(**{**problems.__dict__, "unverifiable": unverifiable})


def read_rows(path: str | Path) -> list[Row]:
    """Read a JSONL or Parquet file; at least one row. Raises `DataFileError`."""
    file = Path(path)
    if not file.is_file():
        raise DataFileError(f"{file}: no such file; give the path of a .jsonl or .parquet file")
    rows = _parquet_rows(file) if file.suffix.lower() in (".parquet", ".pq") else _json_rows(file)
    if not rows:
        raise DataFileError(f"{file}, line 1: the file is empty; it needs at least one row")
    return rows


def find_column(
    row: Row, given: str | None, known: Sequence[str], role: str, *, taken: str | None = None
) -> str:
    """Return the column for a role: the given one, or the first known name that the row has."""
    if given is not None:
        if given not in row.data:
            fault = unknown_name(f"{role} column", given, row.data, dotted=False)
            raise row.error(str(fault))
        return given
    for column in known:
        if column in row.data and column != taken:
            return column
    raise row.error(
        f"no {role} column: looked for {', '.join(known)}; found {', '.join(row.data) or 'none'}; "
        f"name it with {role}=COLUMN"
    )


def final_reference(text: str) -> str:
    r"""Return the reference in an answer column: behind `####` (GSM8K), in the last `\boxed{}` (MATH), or all of it."""
    _, mark, last = text.rpartition("####")
    if mark and last.strip():
        return last.strip()
    return last_boxed(text) or text.strip()


def _reference(row: Row, column: str) -> str:
    return final_reference(row.text(column))


def _json_rows(file: Path) -> list[Row]:
    rows = []
    with file.open("rb") as handle:
        for number, raw in enumerate(handle, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataFileError(
                    f"{file}, line {number}, byte {error.start + 1}: not UTF-8 ({error.reason}); save the file as UTF-8"
                ) from error
            if line:
                rows.append(Row(file, number, _json_object(file, number, line)))
    return rows


def _json_object(file: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        column = error.colno if isinstance(error, json.JSONDecodeError) else 1
        fault = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deep"
        if line.startswith("version https://git-lfs"):
            fault = "a Git LFS pointer in place of the file; run git lfs pull"
        raise DataFileError(
            f"{file}, line {number}, column {column}: broken JSON ({fault}): {line[:60]!r}; "
            "each line must be one JSON object"
        ) from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise DataFileError(f"{file}, line {number}: {error}; write it as text") from error
    if not isinstance(value, dict):
        raise DataFileError(
            f"{file}, line {number}: a {type(value).__name__}, not an object: {line[:60]!r}; "
            "each line must be one JSON object"
        )
    return value


def _parquet_rows(file: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFileError(f"{file}: not a readable Parquet file ({error})") from error
    return [Row(file, number, data) for number, data in enumerate(table.to_pylist(), start=1)]


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:8]


def _unverifiable(problems: FileSet, verifier: Verifier) -> tuple[Unverifiable, ...]:
    items = [problems[i] for i in range(len(problems))]
    verdicts = verifier.verify(items, problems.references)
    return tuple(
        Unverifiable(line, item.reference, verdict.reason or verdict.status.value)
        for line, item, verdict in zip(problems.lines, items, verdicts, strict=True)
        if not verdict.correct
    )


def _warn(file: Path, rows: Sequence[Unverifiable]) -> None:
    shown = "; ".join(f"line {row.line}: {row.reference[:60]!r} ({row.reason})" for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    warnings.warn(
        f"{file}: {len(rows)} references do not verify against themselves, so no answer to them can: {shown}{more}; "
        "correct them or leave them out",
        stacklevel=3,
    )

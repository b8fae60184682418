r"""Problems from data files with a column of questions and one of answers.

`stepgym.envs.rows` lists the file formats.

Two conventions are known: GSM8K ends its solution with `#### 42`, MATH boxes its answer, `\boxed{42}`. A column such as
ASDiv's `body`, which holds the story, is put before the question.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from stepgym.envs.rows import Row, find_column, first_columns, read_rows, usable_rows
from stepgym.envs.tokens import last_boxed
from stepgym.envs.types import Problem, Verifier

QUESTION_COLUMNS = (
    "question",
    "problem",
    "prompt",
    "instruction",
    "query",
    "input",
    "content",
    "question_content",
    "text",
)
ANSWER_COLUMNS = (
    "answer",
    "final_answer",
    "expected_answer",
    "ground_truth",
    "reward_model.ground_truth",
    "target",
    "gold",
    "label",
    "solution",
    "response",
    "output",
)
STORY_COLUMNS = ("body", "context", "passage")
"""Columns whose text, if there is any, is put before the question."""


class Unverifiable(NamedTuple):
    """A row whose reference the verifier does not find equal to itself."""

    line: int
    """Number of the row in the file, from 1."""
    reference: str
    """The reference."""
    reason: str
    """The verifier's reason."""


@dataclass(frozen=True)
class FileSet:
    """The rows of a file as problems, in the file's order."""

    name: str
    """First part of the problems' ids."""
    path: Path
    """The file."""
    questions: tuple[str, ...] = field(repr=False)
    """The question of each problem."""
    references: tuple[str, ...] = field(repr=False)
    """The reference of each problem."""
    lines: tuple[int, ...] = field(repr=False)
    """Number of each problem's row in the file, from 1."""
    instructions: str = ""
    """Text put before each question."""
    unverifiable: tuple[Unverifiable, ...] = field(default=(), repr=False)
    """Rows whose reference does not verify itself; they are kept."""
    skipped: tuple[str, ...] = field(default=(), repr=False)
    """Why rows of the file are left out, one text for each."""

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


class _Item(NamedTuple):
    question: str
    reference: str
    line: int


def load_file_set(
    path: str | Path,
    *,
    name: str = "file",
    question: str | None = None,
    answer: str | None = None,
    instructions: str = "",
    verifier: Verifier | None = None,
) -> FileSet:
    """Read a file of questions and answers as a problem set.

    `question` and `answer` name the columns; by default they are found by their names. `instructions` are added to
    each question. Rows in error are left out and listed in `skipped`. With a verifier, references that do not verify
    against themselves are listed in `unverifiable`, with a warning. Raises `DataFileError` if no row is usable.
    """
    rows = read_rows(path)
    file = rows[0].path
    return file_set(
        rows,
        name=f"{name}/{file.name}@{_digest(file)}",
        question=question,
        answer=answer,
        instructions=instructions,
        verifier=verifier,
    )


def file_set(
    rows: Sequence[Row],
    *,
    name: str,
    question: str | None = None,
    answer: str | None = None,
    instructions: str = "",
    verifier: Verifier | None = None,
) -> FileSet:
    """Return rows as problems.

    Arguments are those of `load_file_set`; `name` is the beginning of every problem's id.
    """
    columns = _columns(rows, question, answer)
    items, skipped = usable_rows(rows, lambda row, _: _item(row, columns))
    problems = FileSet(
        name=name,
        path=rows[0].path,
        questions=tuple(item.question for item in items),
        references=tuple(item.reference for item in items),
        lines=tuple(item.line for item in items),
        instructions=instructions,
        skipped=skipped,
    )
    if verifier is None:
        return problems
    unverifiable = _unverifiable(problems, verifier)
    if unverifiable:
        _warn(rows[0].path, unverifiable)
    return replace(problems, unverifiable=unverifiable)


class _Columns(NamedTuple):
    question: str
    answer: str
    story: str | None


def _columns(rows: Sequence[Row], question: str | None, answer: str | None) -> _Columns:
    """Return the columns of the first row that has them. Raises the first row's error if none has."""

    def find(row: Row) -> _Columns:
        found = find_column(row, question, QUESTION_COLUMNS, "question")
        wanted = find_column(row, answer, ANSWER_COLUMNS, "answer", taken=found)
        story = next((name for name in row.data if name.lower() in STORY_COLUMNS), None)
        return _Columns(found, wanted, None if question else story)

    return first_columns(rows, find)


def _item(row: Row, columns: _Columns) -> _Item:
    question = row.text(columns.question)
    story = row.data.get(columns.story) if columns.story else None
    if isinstance(story, str) and story.strip():
        question = f"{story.strip()} {question}"
    return _Item(question, _reference(row, columns.answer), row.line)


def final_reference(text: str) -> str:
    r"""Return the reference in the text of an answer column.

    It is the text after `####` (GSM8K), else that in the last `\boxed{}` (MATH), else all of it.
    """
    _, mark, last = text.rpartition("####")
    if mark and last.strip():
        return last.strip()
    return last_boxed(text) or text.strip()


def _reference(row: Row, column: str) -> str:
    value = row.value(column)
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], dict):
        row = replace(row, data={column: value[0]})
    return final_reference(row.text(column))


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

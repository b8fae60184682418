r"""Problems out of data files with a question and an answer column (see `stepgym.envs.rows` for the formats).

Two conventions are known: GSM8K ends its solution with `#### 42`, MATH boxes its answer, `\boxed{42}`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from stepgym.envs.rows import Row, find_column, read_rows
from stepgym.envs.tokens import last_boxed
from stepgym.envs.types import Problem, Verifier

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


def final_reference(text: str) -> str:
    r"""Return the reference in an answer column: behind `####` (GSM8K), in the last `\boxed{}` (MATH), or all of it."""
    _, mark, last = text.rpartition("####")
    if mark and last.strip():
        return last.strip()
    return last_boxed(text) or text.strip()


def _reference(row: Row, column: str) -> str:
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

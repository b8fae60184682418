"""CodeContests: competition problems with public, private and generated tests (Li et al. 2022).

Columns: `description`, `public_tests`, `private_tests`, `generated_tests` (each with `input` and `output`), `solutions`
(with `language` and `solution`). An answer is a program that reads standard input.
"""

from __future__ import annotations

from typing import Any

from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

COLUMNS = ("public_tests", "private_tests", "generated_tests")
PYTHON3 = ("PYTHON3", 3)
STDIN = "The program reads standard input and prints the answer."


def matches(row: Row) -> bool:
    """Whether a row is of CodeContests."""
    return any(isinstance(row.data.get(column), dict) for column in COLUMNS)


def code_contests_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    tests: dict[str, list[Any]] = {"input": [], "output": []}
    for column in COLUMNS:
        part = row.data.get(column) or {}
        for key, found in tests.items():
            found += list(part.get(key) or [])
    return code_problem(
        row,
        id=f"{name}/{row.data.get('name', index)}",
        index=index,
        question=f"{row.text('description')}\n\n{STDIN}",
        tests=tests,
        reference=_python_solution(row.data.get("solutions") or {}),
    )


def _python_solution(solutions: Any) -> str:
    """Return the first solution in Python 3, an empty text if there is none."""
    if isinstance(solutions, dict):
        pairs = zip(solutions.get("language") or [], solutions.get("solution") or [])
        return next((str(source) for language, source in pairs if language in PYTHON3), "")
    return str(solutions[0]) if isinstance(solutions, list) and solutions else ""

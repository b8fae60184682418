"""QuixBugs: repair of small programs with one bug (Lin et al. 2017), as a folder or as rows.

A row has `name`, `buggy_program`, `fixed_program` or `solution`, and `tests`: source, or lines `[arguments, expected]`.
`quixbugs_rows` makes rows of a checkout: `python_programs`, `correct_python_programs`, `json_testcases`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.rows import DataFileError, Row
from stepgym.envs.types import Problem

PROGRAMS, FIXED, TABLES = "python_programs", "correct_python_programs", "json_testcases"
QUESTION = "The program has one bug. Give the whole corrected program."


def matches(row: Row) -> bool:
    """Whether a row is of QuixBugs."""
    return "buggy_program" in row.data and "tests" in row.data


def quixbugs_rows(folder: Path) -> list[Row]:
    """Return the rows of a checkout: programs with a table of cases. Raises `DataFileError`."""
    rows = []
    for number, path in enumerate(sorted((folder / TABLES).glob("*.json")), start=1):
        program = folder / PROGRAMS / f"{path.stem}.py"
        fixed = folder / FIXED / f"{path.stem}.py"
        if not program.is_file():
            raise DataFileError(f"{path}: no program {program}")
        rows.append(
            Row(
                path,
                number,
                {
                    "name": path.stem,
                    "buggy_program": program.read_text("utf-8"),
                    "solution": fixed.read_text("utf-8") if fixed.is_file() else "",
                    "tests": _table(path),
                },
            )
        )
    if not rows:
        raise DataFileError(f"{folder}: no file {TABLES}/*.json; give a checkout of QuixBugs")
    return rows


def _table(path: Path) -> dict[str, Any]:
    calls = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            args, expected = json.loads(line)
        except ValueError as error:
            raise DataFileError(f"{path}, line {number}: {error}") from error
        calls.append([args if isinstance(args, list) else [args], expected])
    return {"calls": calls, "positional": True, "from_json": True}


def quixbugs_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    program = row.text("buggy_program")
    return code_problem(
        row,
        id=f"{name}/{row.data.get('name', index)}",
        index=index,
        question=f"{QUESTION}\n\n```python\n{program.rstrip()}\n```",
        tests=row.data["tests"],
        reference=str(row.data.get("solution") or row.data.get("fixed_program") or ""),
        entry_point=row.data.get("entry_point") or row.data.get("name"),
    )

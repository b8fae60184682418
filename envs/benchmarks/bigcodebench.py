"""BigCodeBench: functions over many libraries, with unittest files (Zhuo et al. 2024).

Columns: `complete_prompt`, `instruct_prompt`, `canonical_solution`, `code_prompt`, `test`, `entry_point`, `libs` (a list of
imported modules, as text).
"""

from __future__ import annotations

import ast

from stepgym.envs.benchmarks.module_packages import packages_of_modules
from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem


def matches(row: Row) -> bool:
    """Whether a row is of BigCodeBench."""
    return "complete_prompt" in row.data and "test" in row.data


def bigcodebench_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row, with the prompt that is to be completed."""
    prompt = row.text("complete_prompt")
    return code_problem(
        row,
        id=f"{name}/{str(row.data.get('task_id', index)).rpartition('/')[2]}",
        index=index,
        question=prompt,
        tests={"style": "files", "source": row.text("test")},
        reference=prompt + str(row.data.get("canonical_solution") or ""),
        entry_point=row.text("entry_point"),
        prompt=prompt,
        packages=packages_of(row),
    )


def packages_of(row: Row) -> list[str]:
    """Return the packages of the modules in `libs`, without those of the standard library."""
    value = row.data.get("libs") or []
    try:
        modules = ast.literal_eval(value) if isinstance(value, str) else value
        return packages_of_modules(map(str, modules))
    except (ValueError, SyntaxError, TypeError) as error:
        raise row.error(f"column 'libs' is {value!r:.60}, not a list of modules") from error

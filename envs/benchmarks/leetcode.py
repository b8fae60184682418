"""LeetCode-style sets: a class `Solution`, tests that call `check(candidate)` (LeetCodeDataset and its like).

Columns: `query` or `problem_description`, `starter_code`, `prompt` (imports and node classes), `completion`, `test`,
`entry_point` such as `Solution().twoSum`.
"""

from __future__ import annotations

from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.coding.preamble import leetcode
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem


def matches(row: Row) -> bool:
    """Whether a row is LeetCode style."""
    return "test" in row.data and "()." in str(row.data.get("entry_point"))


def leetcode_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    column = next(c for c in ("query", "problem_description", "prompt") if row.data.get(c))
    preamble = str(row.data.get("prompt") or "") if column != "prompt" else leetcode("")
    starter = str(row.data.get("starter_code") or "")
    return code_problem(
        row,
        id=f"{name}/{row.data.get('task_id', index)}",
        index=index,
        question=f"{row.text(column)}\n\n{starter}" if starter else row.text(column),
        tests={"style": "check", "source": f"{preamble}\n{row.text('test')}"},
        reference=str(row.data.get("completion") or row.data.get("solution") or ""),
        entry_point=row.text("entry_point"),
        preamble=preamble,
    )

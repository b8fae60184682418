"""MBPP, full and sanitized: short functions with asserts (Austin et al. 2021).

Columns: `text` or `prompt`, `code`, `test_list`, `test_setup_code` or `test_imports`, `challenge_test_list`.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.coding.code_set import CodeOptions, code_env, code_problem, code_set
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

NAME = "stepgym/MBPP-v0"
HUB = HubName("google-research-datasets/mbpp", "test", "full")
DEFINED = re.compile(r"^(?:(?:async\s+def|def|class)\s+(\w+)|(\w+)\s*=[^=])", re.MULTILINE)


def matches(row: Row) -> bool:
    """Whether a row is of MBPP."""
    return "test_list" in row.data and "code" in row.data


def mbpp_problem(row: Row, index: int, name: str, *, challenge: bool = False) -> Problem:
    """Return the problem of a row; `challenge` adds the harder tests."""
    tests = list(row.data["test_list"] or [])
    if challenge:
        tests += list(row.data.get("challenge_test_list") or [])
    if not tests or not all(isinstance(test, str) for test in tests):
        raise row.error(
            f"column 'test_list' is {row.data['test_list']!r:.60}; it must list asserts as text"
        )
    setup = [*(row.data.get("test_imports") or []), row.data.get("test_setup_code") or ""]
    source = "\n".join([*setup, *tests]).replace("\r\n", "\n")
    code = str(row.data.get("code") or "").replace("\r\n", "\n")
    names = entry_points(code, source)
    question = row.text("text" if "text" in row.data else "prompt")
    shown = "\n".join(row.data["test_list"])
    data: dict[str, Any] = {"style": "asserts", "source": source, "names": names}
    return code_problem(
        row,
        id=f"{name}/{row.data.get('task_id', index)}",
        index=index,
        question=f"{question}\nThe code must pass these tests:\n{shown}",
        tests=data,
        reference=code,
        entry_point=names[0] if len(names) == 1 else None,
        # The task's own set-up is trusted: what it defines is not taken from the solution.
        prompt="\n".join(setup),
    )


def entry_points(code: str, tests: str) -> list[str]:
    """Return the names that the reference defines and the tests use."""
    used = set(re.findall(r"\w+", tests))
    defined = [function or constant for function, constant in DEFINED.findall(code)]
    return [name for name in dict.fromkeys(defined) if name in used]


def make(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    challenge: bool = False,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/MBPP-v0`. `challenge` grades by the challenge tests as well."""
    rows = benchmark_rows(file, HUB, "mbpp")
    return code_env(code_set(NAME, rows, partial(mbpp_problem, challenge=challenge)), **options)

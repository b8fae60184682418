"""A set of code problems, and the environment over one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Unpack, cast

from stepgym.envs.coding.styles import TestsError, read_tests
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.rows import Row, usable_rows
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.envs.tool_results import ToolResults
from stepgym.envs.types import Problem
from stepgym.plugins.settings import SettingError
from stepgym.sandbox.packages import DEFAULT, installed
from stepgym.sandbox.types import Sandbox

INSTRUCTIONS = "Write the Python code. Give all of it in one ```python block."


class CodeOptions(CommonOptions, total=False):
    """The options that every environment of code problems takes besides its own."""

    tools: bool | ToolKind
    tool_results: ToolResults
    sandbox: str | Sandbox
    strict: bool
    packages: str | Sequence[str]


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


def code_set(
    name: str, rows: Sequence[Row], problem: Callable[[Row, int, str], Problem]
) -> CodeSet:
    """Make the set of the rows' problems; rows in error are left out and listed in `skipped`.

    `problem` takes a row, its index and the set's name. A row that repeats another is in error; one that repeats only its id
    gets an id of its own. Raises `DataFileError` if no row is usable.
    """
    known: dict[str, Problem] = {}

    def make(row: Row, index: int) -> Problem:
        found = problem(row, index, name)
        first = known.get(found.id)
        if first is not None and (first.prompt, first.task) == (found.prompt, found.task):
            raise row.error(f"it repeats the row with the id {found.id!r}")
        if first is not None:
            number = next(n for n in count(2) if f"{found.id}-{n}" not in known)
            found = replace(found, id=f"{found.id}-{number}")
        known[found.id] = found
        return found

    problems, skipped = usable_rows(rows, make)
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
    `limits` (fields of `Limits` that differ for this task), `packages` (Python packages that it needs), `form` and
    `one_process`.
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


def code_env(
    problems: CodeSet, *, answer_form: str | None = None, **options: Unpack[CodeOptions]
) -> ReasoningEnv:
    """Make the environment over a set of code problems.

    `sandbox` grades the answers and, with `tools`, runs the policy's tool calls. `packages` are Python packages that it
    must carry, as a list or `name,name`; those that single tasks need are carried if they are installed here. `strict` refuses verdicts that rest on
    the candidate's own classes. `answer_form` is the sentence of the system text that says how to mark an answer that is no program.
    """
    tools, sandbox = options.pop("tools", True), options.pop("sandbox", "auto")
    strict = options.pop("strict", False)
    shared = CommonOptions.__annotations__
    common = cast(CommonOptions, {key: options[key] for key in shared if key in options})  # type: ignore[literal-required]
    max_steps = common.pop("max_steps", 32)
    settings = sandbox_settings(problems, sandbox, options.pop("packages", ()))
    domain = TextDomain(
        max_steps=max_steps,
        sandbox=sandbox if tools else None,
        sandbox_settings=settings,
        whole_answer=True,
        answer_form=answer_form,
        tools=tools if isinstance(tools, str) else "python",
        tool_results=options.pop("tool_results", "full"),
    )
    verifier = CodingVerifier(sandbox, strict=strict, **settings)
    return ReasoningEnv(problems, domain=domain, verifier=verifier, **common)


def sandbox_settings(
    problems: CodeSet, sandbox: str | Sandbox, packages: str | Sequence[str]
) -> dict[str, Any]:
    """Return the settings with which a sandbox opens that carries what an environment and its tasks need."""
    asked = packages.split(",") if isinstance(packages, str) else list(packages)
    asked = [name.strip() for name in asked if name.strip()]
    if not isinstance(sandbox, str):
        if asked:
            raise SettingError(
                "packages= is for a sandbox that the environment opens; open yours with packages="
            )
        return {}
    of_tasks = [name for p in problems.problems for name in p.task.get("packages") or ()]
    carried = dict.fromkeys([*installed(DEFAULT), *asked, *installed(dict.fromkeys(of_tasks))])
    return {"packages": list(carried)} if asked or of_tasks else {}


__all__ = ["CodeOptions", "CodeSet", "TestsError", "code_env", "code_problem", "code_set"]

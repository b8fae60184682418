"""The style `one_process`: tests and solution in one program. Forgeable: a solution can read and change the tests.

For tests that two processes cannot serve (they replace what has no name, or compare what is logged) and for solutions
that are trusted, such as references. Off by default; every verdict says that it is forgeable.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from stepgym.envs.coding.styles import HARNESS, Task, harness_sources, judging_arguments
from stepgym.envs.coding.usage import used
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program

MODULES = ("local_solution", *HARNESS)
PROGRAM = """\
import json, sys, types
sources, mark, solution, arguments = json.loads({text!r})
for name, source in sources:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(source, f"<{{name}}>", "exec", dont_inherit=True), vars(module))
local = sys.modules["stepgym.envs.coding.harness.local_solution"].LocalSolution(solution, mark)
module.judge(local, *arguments)
"""
MARK_BYTES = 8


def one_process_program(
    solution: str, task: Task, entry_point: str | None, prompt: str | None, *, limits: Limits
) -> Program:
    """Return the program that runs a solution beside its tests and prints a report after a random word."""
    sources = harness_sources(*MODULES)
    arguments = judging_arguments(task, entry_point=entry_point, prompt=prompt, candidate_s=1e9)
    mark = secrets.token_hex(MARK_BYTES)
    text = json.dumps([sources, mark, solution, arguments])
    return Program(
        PROGRAM.format(text=text), args=(mark,), files=dict(task.data_files), limits=limits
    )


def read_one_process(
    run: ExecutionResult, program: Program
) -> tuple[list[list[Any]], dict[str, Any], str]:
    """Return rows of tests, details, and why there is no verdict, empty if there is one."""
    details: dict[str, Any] = {"tests": [], "outcome": run.outcome.value, "forgeable": True}
    details["used"] = used([run], program.limits)
    (mark,) = program.args
    lines = [line for line in run.stdout.splitlines() if line.startswith(mark)]
    if not lines:
        if run.outcome is Outcome.OK:
            return [], details, "the program ended without a report"
        return [["program", "failed", run.outcome.value]], details, ""
    report = json.loads(lines[-1].removeprefix(mark))
    details["tests"] = report["tests"]
    if report["undecided"] is not None:
        return [], details, report["undecided"]
    if report["broken"] is not None:
        return [["program", "failed", report["broken"][1]]], details, ""
    return report["tests"], details, ""

"""Grade code by its tests: the candidate in one process, tests and expected values in another.

The candidate only ever answers calls, so what it can neither read nor touch are the tests, the clock of the tests,
the comparison and the report. A verdict is CORRECT only if at least one test passed, none failed and the candidate's
end of the channel stood to the end. What is the tests' own fault (they do not compile, they never end) is UNDECIDED.
Not covered: several threads of a test calling the candidate at once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from stepgym.envs.coding.stdio import grade_stdio
from stepgym.envs.coding.styles import Task, Tests, TestsError, read_tests, tester_program
from stepgym.envs.types import Status, Verdict
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    PairResult,
    Program,
    Sandbox,
)

LIMITS = Limits(wall_s=6.0, memory_mib=512)
"""What a candidate may use; `wall_s` is how long it may keep the tests waiting, over all calls."""
TESTER_S = 5.0
"""How long the tests themselves may take besides."""
TESTER_MEMORY_MIB = 1024
MAX_SOURCE_BYTES = 8 << 20
WORDS = {
    Outcome.WALL_TIME: "it ran out of time",
    Outcome.CPU_TIME: "it ran out of CPU time",
    Outcome.MEMORY: "it ran out of memory",
    Outcome.PROCESSES: "it started too many processes",
    Outcome.OUTPUT: "it printed too much",
    Outcome.DISK: "it wrote too much",
}


def grade(
    solutions: Sequence[str],
    *,
    tests: Sequence[Tests],
    entry_points: Sequence[str | None],
    sandbox: Sandbox,
    prompts: Sequence[str | None] | None = None,
    styles: Sequence[str | None] | None = None,
    limits: Limits = LIMITS,
) -> list[Verdict]:
    """Grade each solution by its tests, all of them in one batch; verdicts in the same order.

    `tests` are source text or data, see `stepgym.envs.coding.styles`; their style is told from their form unless
    `styles` names it. `prompts` are trusted: helper functions that tests use are taken from there and not from the
    solution. `details["tests"]` says of each test whether it passed. Raises `TestsError` for tests of no known form
    and `SandboxError` for a fault of the sandbox; never anything for a fault of a solution.
    """
    count = len(solutions)
    for name, column in (
        ("tests", tests),
        ("entry_points", entry_points),
        ("prompts", prompts),
        ("styles", styles),
    ):
        if column is not None and (isinstance(column, str) or len(column) != count):
            raise ValueError(f"{name} must be a list as long as solutions ({count})")
    tasks = [read_tests(text, style=styles[i] if styles else None) for i, text in enumerate(tests)]
    verdicts: dict[int, Verdict] = {}
    pairs: dict[int, Pair] = {}
    programs: dict[int, tuple[str, Task]] = {}
    for i, (solution, task) in enumerate(zip(solutions, tasks)):
        fault = _unreadable(solution)
        if fault:
            verdicts[i] = Verdict(Status.INCORRECT, reason=fault, decided_by="source")
        elif task.style == "stdio":
            programs[i] = (solution, task)
        else:
            pairs[i] = _pair(
                solution, task, entry_points[i], prompts[i] if prompts else None, limits
            )
    if pairs:
        for i, result in zip(pairs, sandbox.run_pairs(list(pairs.values()))):
            verdicts[i] = _verdict(result)
    if programs:
        verdicts.update(
            zip(programs, grade_stdio(list(programs.values()), sandbox=sandbox, limits=limits))
        )
    return [verdicts[i] for i in range(count)]


def _unreadable(solution: str) -> str:
    try:
        size = len(solution.encode("utf-8"))
    except UnicodeEncodeError as error:
        return f"the source is not valid Unicode text (position {error.start})"
    if size > MAX_SOURCE_BYTES:
        return f"the source has {size} bytes; at most {MAX_SOURCE_BYTES} are graded"
    return "the source has a null byte" if "\0" in solution else ""


def _pair(
    solution: str, task: Task, entry_point: str | None, prompt: str | None, limits: Limits
) -> Pair:
    wall_s = None if limits.wall_s is None else limits.wall_s + TESTER_S
    candidate_limits = replace(limits, wall_s=wall_s)
    tester_limits = Limits(
        wall_s=wall_s, memory_mib=TESTER_MEMORY_MIB, max_processes=None, output_bytes=1 << 20
    )
    source = tester_program(
        task, entry_point=entry_point, prompt=prompt, candidate_s=limits.wall_s or 1e9
    )
    return Pair(Program(solution, limits=candidate_limits), Program(source, limits=tester_limits))


def _verdict(result: PairResult) -> Verdict:
    """Read a report; whatever is missing from it counts against nobody but makes no verdict CORRECT."""
    candidate, tester, text = result
    report: dict[str, Any] = json.loads(text) if text is not None else {}
    details: dict[str, Any] = {"tests": report.get("tests", []), "outcome": candidate.outcome.value}
    details |= {key: report[key] for key in ("counterexample", "examples") if key in report}
    broken = report.get("broken")
    if broken is not None:
        details["outcome"] = (
            Outcome.WALL_TIME.value if broken[0] == "timeout" else candidate.outcome.value
        )
        return _of(Status.INCORRECT, _why_broken(broken, candidate), "channel", details)
    if text is None:
        return _of(Status.UNDECIDED, _why_no_report(tester), "tests", details)
    if report["undecided"] is not None:
        return _of(Status.UNDECIDED, report["undecided"], "tests", details)
    rows = report["tests"]
    failed = [row for row in rows if row[1] == "failed"]
    passed = sum(row[1] == "passed" for row in rows)
    if failed:
        name, _, message = failed[0]
        reason = f"{len(failed)} of {passed + len(failed)} tests failed; first {name}: {message}"
        return Verdict(Status.INCORRECT, passed / (passed + len(failed)), reason, "tests", details)
    if not passed:
        return _of(Status.UNDECIDED, "no test ran: all were skipped", "tests", details)
    return Verdict(Status.CORRECT, 1.0, f"{passed} tests passed", "tests", details)


def _of(status: Status, reason: str, decided_by: str, details: dict[str, Any]) -> Verdict:
    return Verdict(status, 0.0, reason, decided_by, details)


def _why_broken(broken: list[str], candidate: ExecutionResult) -> str:
    kind, reason = broken
    if kind == "timeout":
        return WORDS[Outcome.WALL_TIME]
    if kind == "closed" and candidate.outcome in WORDS:
        return WORDS[candidate.outcome]
    if kind == "closed" and candidate.outcome is Outcome.KILLED:
        return f"its process was killed: {candidate.reason or candidate.exit_code}"
    return reason


def _why_no_report(tester: ExecutionResult) -> str:
    if tester.outcome is Outcome.WALL_TIME:
        return "the tests did not finish in time"
    last = tester.stderr.strip().rpartition("\n")[2]
    return f"the tests ended without a report ({tester.outcome.value}{': ' + last if last else ''})"


__all__ = ["LIMITS", "TestsError", "grade"]

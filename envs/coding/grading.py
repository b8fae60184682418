"""Grading of code by tests: the candidate in one process, the tests in another.

Expected values stay with the tests.

The candidate only answers calls. It can neither read nor change the tests, the clock of the tests, the comparison and
the report. A verdict is CORRECT only if at least one test passed, none failed or stayed undecided, and the
candidate's end of the channel was intact to the end. A fault of the tests themselves (they do not compile, they never
end) is UNDECIDED, and so is whatever two processes cannot do. Not covered: several threads of a test calling the
candidate at once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from stepgym.envs.coding.extraction import source_of
from stepgym.envs.coding.one_process import one_process_program, read_one_process
from stepgym.envs.coding.preamble import with_preamble
from stepgym.envs.coding.same_program import Run, run_same_program, same_program
from stepgym.envs.coding.starvation import NO_CPU, was_starved
from stepgym.envs.coding.stdio import grade_stdio
from stepgym.envs.coding.styles import (
    HARNESS,
    NEED_ENTRY_POINT,
    TESTER_PROGRAM,
    Task,
    Tests,
    TestsError,
    harness_sources,
    judging_arguments,
    read_tests,
)
from stepgym.envs.coding.usage import used
from stepgym.envs.types import Fault, Status, Verdict
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    PairResult,
    Program,
    Sandbox,
)

LIMITS = Limits(cpu_s=6.0, wall_s=12.0, memory_mib=512)
"""What a candidate may use; `wall_s` is how long it may keep the tests waiting, over all calls."""
TESTER_S = 10.0
"""CPU time that the tests themselves may use."""
PATIENCE = 20
"""A candidate that ran out of time because it got no CPU runs again with so much more wall time, and the same CPU time."""
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
    preambles: Sequence[str | None] | None = None,
    strict: bool = False,
    one_process: bool = False,
    limits: Limits | Sequence[Limits] = LIMITS,
) -> list[Verdict]:
    """Grade each solution by its tests in one batch; return verdicts in the same order.

    `tests` are source text or data, see `stepgym.envs.coding.styles`; their style is recognised by their form unless
    `styles` names it. `entry_points` name the function under test, `None` if there is none. `prompts` are trusted:
    helper functions that tests use are taken from there and not from the solution. `preambles` are trusted source
    that is put before the solution. `limits` are one for all or one each.

    `strict` makes a verdict UNDECIDED if it rests on what the candidate's own classes report. `one_process` runs
    tests beside the solution, where a solution can forge the verdict; every such verdict says so.

    `details["tests"]` has a row for each test: name, outcome, message and, if the test ran, its elapsed seconds. Raises
    `TestsError` for tests of no known form and `SandboxError` for a failure of the sandbox; a failure of a solution never
    raises.
    """
    count = len(solutions)
    for name, column in (
        ("tests", tests),
        ("entry_points", entry_points),
        ("prompts", prompts),
        ("styles", styles),
        ("preambles", preambles),
    ):
        if column is not None and (isinstance(column, str) or len(column) != count):
            raise ValueError(f"{name} must be a list as long as solutions ({count})")
    each = [limits] * count if isinstance(limits, Limits) else list(limits)
    verdicts: dict[int, Verdict] = {}
    pairs: dict[int, PairTask] = {}
    programs: dict[int, tuple[str, Task]] = {}
    together: dict[int, Program] = {}
    alone: dict[int, Run] = {}
    for i, text in enumerate(tests):
        task, entry_point = _task(text, styles[i] if styles else None, entry_points[i])
        fault = _unreadable(solutions[i])
        if fault:
            verdicts[i] = Verdict(Status.INCORRECT, reason=fault, decided_by="source")
            continue
        source = with_preamble(
            source_of(solutions[i].removeprefix("\ufeff"), entry_point),
            preambles[i] if preambles else None,
            entry_point=entry_point,
            tests=task.source,
        )
        prompt = prompts[i] if prompts else None
        if task.style == "same_program":
            alone[i] = same_program(solutions[i], task, prompt, limits=each[i])
        elif task.style == "stdio":
            programs[i] = (source, task)
        elif one_process:
            together[i] = one_process_program(source, task, entry_point, prompt, limits=each[i])
        else:
            pairs[i] = PairTask(source, task, entry_point, prompt, each[i])
    if pairs:
        verdicts |= zip(pairs, _grade_pairs(list(pairs.values()), sandbox, strict=strict))
    if programs:
        allowed = [each[i] for i in programs]
        verdicts |= zip(
            programs, grade_stdio(list(programs.values()), sandbox=sandbox, limits=allowed)
        )
    if alone:
        for i, (rows, details, why) in zip(alone, run_same_program(list(alone.values()), sandbox)):
            verdict = _undecided(why, details) if why else verdict_of_rows(rows, details)
            verdicts[i] = replace(verdict, decided_by="one_process")
    if together:
        for i, result in zip(together, sandbox.run(list(together.values()))):
            rows, details, why = read_one_process(result, together[i])
            verdict = _undecided(why, details) if why else verdict_of_rows(rows, details)
            verdicts[i] = replace(verdict, decided_by="one_process")
    return [verdicts[i] for i in range(count)]


def _task(tests: Tests, style: str | None, entry_point: str | None) -> tuple[Task, str | None]:
    task = read_tests(tests, style=style, entry_point=entry_point)
    entry_point = task.entry_point or entry_point
    if task.style in NEED_ENTRY_POINT and not entry_point:
        raise TestsError(f"tests of the style {task.style!r} need an entry point")
    if entry_point is not None and not ENTRY_POINT.fullmatch(entry_point):
        raise TestsError(
            f"the entry point is {entry_point!r:.60}; it must be a Python name or Solution().method"
        )
    return task, entry_point


def _unreadable(solution: str) -> str:
    try:
        size = len(solution.encode("utf-8"))
    except UnicodeEncodeError as error:
        return f"the source is not valid Unicode text (position {error.start})"
    if size > MAX_SOURCE_BYTES:
        return f"the source has {size} bytes; at most {MAX_SOURCE_BYTES} are graded"
    return "the source has a null byte" if "\0" in solution else ""


ENTRY_POINT = re.compile(r"[^\W\d]\w*(?:\(\)\.[^\W\d]\w*)?")


class PairTask(NamedTuple):
    """One solution and what it is graded by."""

    solution: str
    """Source of the solution."""
    task: Task
    """The tests, read into one form."""
    entry_point: str | None
    """Name of the function under test; `None` if the tests name what they use."""
    prompt: str | None
    """Source that begins the solution's file in the data set (HumanEval); `None` if there is none."""
    limits: Limits
    """Limits of the solution's process."""

    def pair(self, patience: int = 1) -> Pair:
        """Return the two programs. `patience` multiplies the time for which the tests wait."""
        wall_s = None if self.limits.wall_s is None else self.limits.wall_s * patience
        tests_s = TESTER_S if self.task.style != "reference" else self.limits.cpu_s or 1e9
        whole_s = None if wall_s is None else wall_s + tests_s
        candidate = replace(self.limits, wall_s=whole_s)
        if patience > 1 and self.limits.wall_s is not None:
            # No program uses more CPU time in this wall time, also if it has the machine for itself.
            most_s = self.limits.wall_s * (os.cpu_count() or 1)
            candidate = replace(candidate, cpu_s=min(candidate.cpu_s or most_s, most_s))
        tester = Limits(
            cpu_s=tests_s,
            wall_s=whole_s,
            memory_mib=TESTER_MEMORY_MIB,
            max_processes=None,
            output_bytes=1 << 20,
        )
        arguments = judging_arguments(
            self.task,
            entry_point=self.entry_point,
            prompt=self.prompt,
            candidate_s=1e9 if wall_s is None else wall_s,
        )
        files = {**(self.task.folder or {}), **self.task.data_files}
        return Pair(
            Program(self.solution, files=files, limits=candidate),
            Program(TESTER_PROGRAM, args=(json.dumps(arguments),), files=files, limits=tester),
            library=harness_sources(*HARNESS),
        )


def _grade_pairs(tasks: Sequence[PairTask], sandbox: Sandbox, *, strict: bool) -> list[Verdict]:
    results = sandbox.run_pairs([task.pair() for task in tasks])
    late = [i for i, result in enumerate(results) if _lacked_cpu(result, tasks[i])]
    if late:
        again = sandbox.run_pairs([tasks[i].pair(PATIENCE) for i in late])
        for i, result in zip(late, again):
            results[i] = result
    verdicts = [
        _verdict(result, task.limits, strict=strict) for result, task in zip(results, tasks)
    ]
    for i in late:
        if _lacked_cpu(results[i], tasks[i]):
            verdicts[i] = _undecided(NO_CPU, dict(verdicts[i].details))
    return verdicts


def _lacked_cpu(result: PairResult, task: PairTask) -> bool:
    """Whether elapsed time ended a check because a program had to wait for a CPU."""
    broken = (_read_report(result.report) or {}).get("broken")
    if broken is not None:
        late = broken[0] == "timeout" or result.candidate.outcome is Outcome.WALL_TIME
        return late and was_starved(result.candidate, task.limits.wall_s)
    late = result.tester.outcome is Outcome.WALL_TIME
    return late and was_starved(result.tester, task.pair().tester.limits.wall_s)


def _verdict(result: PairResult, limits: Limits, *, strict: bool) -> Verdict:
    """Read a report; what is missing from it counts against nobody but makes no verdict CORRECT."""
    candidate, tester, text = result
    report = _read_report(text)
    if report is None:
        return _undecided(_why_no_report(tester), {"tests": [], "outcome": candidate.outcome.value})
    details: dict[str, Any] = {"tests": report.get("tests", []), "outcome": candidate.outcome.value}
    details["used"] = used([candidate], limits)
    details |= {key: report[key] for key in ("counterexample", "examples") if key in report}
    observed = report.get("observed") or {}
    details |= {"observed": observed} if observed else {}
    broken = report.get("broken")
    if report["undecided"] is not None:
        return _undecided(report["undecided"], details)
    if broken is not None:
        details["outcome"] = (
            Outcome.WALL_TIME.value if broken[0] == "timeout" else candidate.outcome.value
        )
        return Verdict(Status.INCORRECT, 0.0, _why_broken(broken, candidate), "channel", details)
    return verdict_of_rows(report["tests"], details, _forgeable(observed, strict=strict))


def _read_report(text: str | None) -> dict[str, Any] | None:
    """Return a report; `None` for none, or one that was cut off when the tester was ended."""
    try:
        report = json.loads(text) if text is not None else None
    except ValueError:
        return None
    return report if isinstance(report, dict) else None


def _forgeable(observed: dict[str, Any], *, strict: bool) -> str:
    """Return why a CORRECT verdict would rest on the candidate's word and is refused for that, or an empty text."""
    if "set by the candidate" in observed:
        return (
            f"the candidate set {observed['set by the candidate'][0]}, which the tests' own class counts; "
            "who counted cannot be told"
        )
    if strict and "own comparison" in observed:
        return f"the candidate's own class decides a comparison ({observed['own comparison'][0]})"
    return ""


def verdict_of_rows(
    rows: Sequence[Sequence[Any]], details: dict[str, Any], refused: str = ""
) -> Verdict:
    """Return the verdict that rows of tests amount to; `refused` is a reason against CORRECT."""
    failed = [row for row in rows if row[1] == "failed"]
    undecided = [row for row in rows if row[1] == "undecided"]
    passed = sum(row[1] == "passed" for row in rows)
    if failed:
        name, _, message = failed[0][:3]
        reason = f"{len(failed)} of {passed + len(failed)} tests failed; first {name}: {message}"
        return Verdict(Status.INCORRECT, passed / (passed + len(failed)), reason, "tests", details)
    if undecided:
        large = "large answer" in details.get("observed", {})
        return _undecided(
            f"{undecided[0][0]}: {undecided[0][2]}", details, Fault.ANSWER if large else Fault.OURS
        )
    if not passed:
        return _undecided("no test ran: all were skipped", details)
    if refused:
        return _undecided(refused, details, Fault.ANSWER)
    reason = f"{passed} tests passed"
    own = details.get("observed", {}).get("own comparison")
    if own:
        reason += f"; the candidate's own class decided a comparison ({', '.join(own)})"
    return Verdict(Status.CORRECT, 1.0, reason, "tests", details)


def _undecided(reason: str, details: dict[str, Any], fault: Fault = Fault.OURS) -> Verdict:
    return Verdict(Status.UNDECIDED, 0.0, reason, "tests", details, fault)


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

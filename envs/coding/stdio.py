"""Programs that read standard input and print: run every case, then let a checker compare, in the sandbox too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepgym.envs.coding.styles import Task, TestsError, harness
from stepgym.envs.types import Status, Verdict
from stepgym.plugins.names import unknown_name
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox

CHECKERS = ("exact", "tokens", "float")
TOLERANCE = 1e-6
CHECKER_LIMITS = Limits(wall_s=10.0, memory_mib=1024, output_bytes=1 << 22)


def grade_stdio(
    jobs: Sequence[tuple[str, Task]], *, sandbox: Sandbox, limits: Limits
) -> list[Verdict]:
    """Grade programs by what they print; one batch of runs, one of comparisons."""
    settings = [_settings(task) for _, task in jobs]
    programs, owners = [], []
    for number, ((source, _), setting) in enumerate(zip(jobs, settings)):
        for case in setting["cases"]:
            programs.append(
                Program(source, setting["language"], stdin=case["stdin"], limits=limits)
            )
            owners.append(number)
    runs: list[list[ExecutionResult]] = [[] for _ in jobs]
    for number, result in zip(owners, sandbox.run(programs)):
        runs[number].append(result)
    checks = sandbox.run([_check(setting, results) for setting, results in zip(settings, runs)])
    return [
        _verdict(setting, results, check) for setting, results, check in zip(settings, runs, checks)
    ]


def _settings(task: Task) -> dict[str, Any]:
    data: Mapping[str, Any] = task.data if isinstance(task.data, Mapping) else {"cases": task.data}
    checker = data.get("checker", "tokens")
    custom = "\n" in checker
    if not custom and checker not in CHECKERS:
        raise unknown_name("checker", checker, CHECKERS, dotted=False)
    cases = data.get("cases") or []
    if not cases:
        raise TestsError("tests of the style 'stdio' need at least one case")
    for number, case in enumerate(cases):
        if not isinstance(case, Mapping) or "stdout" not in case:
            raise TestsError(f"case {number} is {case!r:.80}, not {{'stdin': ..., 'stdout': ...}}")
    return {
        "language": data.get("language", "python"),
        "cases": [
            {"stdin": case.get("stdin", ""), "stdout": _accepted(case["stdout"])} for case in cases
        ],
        "checker": None if custom else checker,
        "source": checker if custom else None,
        "tolerance": data.get("tolerance", TOLERANCE),
    }


def _accepted(stdout: str | Sequence[str]) -> list[str]:
    return [stdout] if isinstance(stdout, str) else list(stdout)


def _check(setting: dict[str, Any], results: list[ExecutionResult]) -> Program:
    cases = [
        [case["stdin"], run.stdout, case["stdout"]] for case, run in zip(setting["cases"], results)
    ]
    task = {key: setting[key] for key in ("checker", "source", "tolerance")} | {"cases": cases}
    return Program(harness("compare"), stdin=json.dumps(task), limits=CHECKER_LIMITS)


def _verdict(
    setting: dict[str, Any], runs: list[ExecutionResult], check: ExecutionResult
) -> Verdict:
    if check.outcome is not Outcome.OK:
        last = check.stderr.strip().rpartition("\n")[2]
        return Verdict(
            Status.UNDECIDED, 0.0, f"the checker failed ({check.outcome.value}): {last}", "checker"
        )
    rows = []
    for number, (run, agrees) in enumerate(zip(runs, json.loads(check.stdout))):
        good = agrees and run.outcome is Outcome.OK
        message = "" if good else "wrong output" if run.outcome is Outcome.OK else _why(run)
        rows.append([f"case {number}", "passed" if good else "failed", message])
    failed = [row for row in rows if row[1] == "failed"]
    details = {
        "tests": rows,
        "outcome": next((r.outcome.value for r in runs if r.outcome is not Outcome.OK), "ok"),
    }
    if not failed:
        return Verdict(Status.CORRECT, 1.0, f"{len(rows)} tests passed", "tests", details)
    reason = f"{len(failed)} of {len(rows)} tests failed; first {failed[0][0]}: {failed[0][2]}"
    return Verdict(Status.INCORRECT, 1 - len(failed) / len(rows), reason, "tests", details)


def _why(run: ExecutionResult) -> str:
    last = run.stderr.strip().rpartition("\n")[2][:200]
    return f"{run.outcome.value}{': ' + last if last else ''}"

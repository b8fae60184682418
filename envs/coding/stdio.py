"""Programs that read standard input and print: run every case, then let a checker compare, in the sandbox too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from stepgym.envs.coding.harness.failures import PACKAGES
from stepgym.envs.coding.same_program import TRIVIAL, lacking_tool
from stepgym.envs.coding.starvation import NO_CPU, was_starved
from stepgym.envs.coding.styles import Task, TestsError, harness
from stepgym.envs.coding.usage import used
from stepgym.envs.types import Fault, Status, Verdict
from stepgym.plugins.names import unknown_name
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox

CHECKERS = ("exact", "tokens", "float")
TOLERANCE = 1e-6
CHECKER_LIMITS = Limits(wall_s=10.0, memory_mib=1024, output_bytes=1 << 22)
CHECKED_AT_ONCE = 2 << 20
"""Characters of input and output that one checker compares; many large cases take several checkers."""
FRACTION = re.compile(r"(?<![\w.])[+-]?\d*\.\d+(?:[eE][+-]?\d+)?(?![\w.])")


def grade_stdio(
    jobs: Sequence[tuple[str, Task]], *, sandbox: Sandbox, limits: Sequence[Limits]
) -> list[Verdict]:
    """Grade programs by what they print; one batch of runs, one of comparisons."""
    settings = [_settings(task) for _, task in jobs]
    languages = {setting["language"] for setting in settings} & set(TRIVIAL)
    lacking = {name: why for name in languages if (why := lacking_tool(name, sandbox))}
    if lacking:
        kept = [i for i, setting in enumerate(settings) if setting["language"] not in lacking]
        graded = iter(
            grade_stdio([jobs[i] for i in kept], sandbox=sandbox, limits=[limits[i] for i in kept])
        )
        return [
            next(graded) if i in kept else _lacks(lacking[setting["language"]])
            for i, setting in enumerate(settings)
        ]
    programs, owners = [], []
    for number, ((source, task), setting) in enumerate(zip(jobs, settings)):
        for case in setting["cases"]:
            programs.append(
                Program(
                    source,
                    setting["language"],
                    stdin=case["stdin"],
                    args=case["args"],
                    files={**(task.folder or {}), **task.data_files},
                    limits=limits[number],
                )
            )
            owners.append(number)
    runs: list[list[ExecutionResult]] = [[] for _ in jobs]
    for number, result in zip(owners, sandbox.run(programs)):
        runs[number].append(result)
    chunks = [
        (number, chunk)
        for number, (setting, results) in enumerate(zip(settings, runs))
        for chunk in _chunks(setting, results)
    ]
    checks = sandbox.run([_check(settings[n], runs[n], chunk) for n, chunk in chunks])
    rows: list[list[list[Any]]] = [
        [_row_of_run(i, run, allowed.wall_s) for i, run in enumerate(results)]
        for results, allowed in zip(runs, limits)
    ]
    for (number, chunk), check in zip(chunks, checks):
        for place, row in zip(chunk, _rows_of_check(chunk, check)):
            rows[number][place] = row
    for found, results in zip(rows, runs):
        for row, run in zip(found, results):
            row.append(round(run.wall_s, 6))
    return [_verdict(*each) for each in zip(rows, runs, limits)]


def _lacks(why: str) -> Verdict:
    return Verdict(Status.UNDECIDED, 0.0, why, "tests", {"tests": []}, Fault.OURS)


def _settings(task: Task) -> dict[str, Any]:
    data = task.data
    cases = data.get("cases") or []
    if not cases:
        raise TestsError("tests of the style 'stdio' need at least one case")
    for number, case in enumerate(cases):
        if not isinstance(case, Mapping) or "stdout" not in case:
            raise TestsError(f"case {number} is {case!r:.80}, not {{'stdin': ..., 'stdout': ...}}")
    read = [
        {
            "stdin": case.get("stdin", ""),
            "args": tuple(case.get("args", ())),
            "stdout": _accepted(case["stdout"]),
        }
        for case in cases
    ]
    checker = data.get("checker") or _default_checker(read)
    custom = "\n" in checker
    if not custom and checker not in CHECKERS:
        raise unknown_name("checker", checker, CHECKERS, dotted=False)
    return {
        "language": data.get("language", "python"),
        "cases": read,
        "checker": None if custom else checker,
        "source": checker if custom else None,
        "tolerance": data.get("tolerance", TOLERANCE),
    }


def _accepted(stdout: str | Sequence[str]) -> list[str]:
    return [stdout] if isinstance(stdout, str) else list(stdout)


def _default_checker(cases: Sequence[Mapping[str, Any]]) -> str:
    """Compare numbers within a tolerance if some expected number has a fraction, else words."""
    some = any(FRACTION.search(text) for case in cases for text in case["stdout"])
    return "float" if some else "tokens"


def _chunks(setting: dict[str, Any], results: Sequence[ExecutionResult]) -> list[list[int]]:
    """Divide the cases that ended well among checkers; the others need none."""
    chunks: list[list[int]] = []
    size = 0
    for place, (case, run) in enumerate(zip(setting["cases"], results)):
        if run.outcome is not Outcome.OK:
            continue
        weight = len(case["stdin"]) + len(run.stdout) + sum(map(len, case["stdout"]))
        if not chunks or size + weight > CHECKED_AT_ONCE:
            chunks.append([])
            size = 0
        chunks[-1].append(place)
        size += weight
    return chunks


def _check(
    setting: dict[str, Any], results: Sequence[ExecutionResult], chunk: Sequence[int]
) -> Program:
    cases = [
        [setting["cases"][i]["stdin"], results[i].stdout, setting["cases"][i]["stdout"]]
        for i in chunk
    ]
    task = {key: setting[key] for key in ("checker", "source", "tolerance")} | {"cases": cases}
    return Program(harness("output_checker"), stdin=json.dumps(task), limits=CHECKER_LIMITS)


def _row_of_run(number: int, run: ExecutionResult, wall_s: float | None) -> list[str]:
    last = run.stderr.strip().rpartition("\n")[2][:200]
    missing = re.search(r"^ModuleNotFoundError: No module named '([\w.]+)'", last)
    if missing is not None and missing[1].partition(".")[0] in PACKAGES:
        reason = f"the program needs the package {missing[1]!r}, which the sandbox does not have"
        return [f"case {number}", "undecided", reason]
    if run.outcome is Outcome.WALL_TIME and was_starved(run, wall_s):
        return [f"case {number}", "undecided", NO_CPU]
    return [f"case {number}", "failed", f"{run.outcome.value}{': ' + last if last else ''}"]


def _rows_of_check(chunk: Sequence[int], check: ExecutionResult) -> list[list[Any]]:
    names = [f"case {number}" for number in chunk]
    if check.outcome is not Outcome.OK:
        last = check.stderr.strip().rpartition("\n")[2]
        reason = f"the checker failed ({check.outcome.value}): {last}"
        return [[name, "undecided", reason] for name in names]
    rows = []
    for name, said in zip(names, json.loads(check.stdout)):
        if said in (True, False):
            rows.append([name, "passed" if said else "failed", "" if said else "wrong output"])
        else:
            rows.append([name, "undecided", str(said)])
    return rows


def _verdict(rows: list[list[Any]], runs: Sequence[ExecutionResult], limits: Limits) -> Verdict:
    counts = {
        outcome: [row for row in rows if row[1] == outcome] for outcome in ("failed", "undecided")
    }
    details = {
        "tests": rows,
        "outcome": next((r.outcome.value for r in runs if r.outcome is not Outcome.OK), "ok"),
        "used": used(runs, limits),
    }
    if failed := counts["failed"]:
        reason = f"{len(failed)} of {len(rows)} tests failed; first {failed[0][0]}: {failed[0][2]}"
        score = sum(row[1] == "passed" for row in rows) / len(rows)
        return Verdict(Status.INCORRECT, score, reason, "tests", details)
    if undecided := counts["undecided"]:
        return Verdict(Status.UNDECIDED, 0.0, undecided[0][2], "checker", details, Fault.OURS)
    return Verdict(Status.CORRECT, 1.0, f"{len(rows)} tests passed", "tests", details)

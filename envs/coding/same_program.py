"""Tests in the solution's own language, JavaScript or C++, in one program with it, as HumanEval-X has them.

Forgeable: such a solution shares its process with the tests. Early ends, replaced asserts and changed built-in objects do
not help it, but memory that both share could. Every verdict says so. What the task needs and the sandbox lacks (an
interpreter, a module, a header) makes the verdict UNDECIDED.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from stepgym.envs.coding.styles import Task, TestsError
from stepgym.envs.coding.usage import used
from stepgym.plugins.names import unknown_name
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    MissingToolError,
    Outcome,
    Program,
    Sandbox,
)

LANGUAGES = ("javascript", "cpp")
CPP_HEADERS = "algorithm climits cmath cstring iostream map math.h set stdio.h stdlib.h string unistd.h vector".split()
"""Put before a C++ solution, as HumanEval-X's own harness does."""
CPP = """\
{headers}
#define main main_of_solution
{solution}
#undef main
{tests}
int main() {{
    main_of_tests();
    fflush(stdout);
    const char report[] = "\\n{mark} 1 - \\n";
    return write(1, report, sizeof report - 1) < 0;
}}
"""
NODE_PACKAGES = frozenset({"js-md5", "lodash", "mathjs", "moment", "underscore"})
"""Packages that published solutions use. A solution that asks for another unknown module is at fault itself."""
CPP_MAIN = re.compile(r"^[ \t]*int\s+main\s*\([^)]*\)\s*\{", re.MULTILINE)
CPP_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|//[^\n]*|/\*.*?\*/|[{}]', re.DOTALL)
MISSING_HEADER = re.compile(r"fatal error: ([\w./+-]+): No such file")
MISSING_LIBRARY = re.compile(r"cannot find -l(\w+)")
NEEDS = re.compile(r"\brequire\(\s*['\"]([^'\"]+)['\"]\s*\)|#\s*include\s*[<\"]([^>\"]+)[>\"]")


class Run(NamedTuple):
    """One program and what it takes to read its result."""

    program: Program
    mark: str
    needs: frozenset[str]
    """Modules and headers that the task itself asks for."""


def same_program(solution: str, task: Task, prompt: str | None, *, limits: Limits) -> Run:
    """Return the program that runs a solution with its tests. Raises `TestsError` for an unknown language."""
    language = str(task.data.get("language"))
    if language not in LANGUAGES:
        raise unknown_name("language of tests", language, LANGUAGES, dotted=False)
    tests, mark = str(task.data["source"]), secrets.token_hex(8)
    trusted = f"{prompt or ''}\n{tests}"
    needs = frozenset(name for pair in NEEDS.findall(trusted) for name in pair if name)
    if language == "javascript":
        needs |= NODE_PACKAGES
        given = {"mark": mark, "solution": solution, "tests": tests, "needs": sorted(needs)}
        return Run(Program(runner(), language, stdin=json.dumps(given), limits=limits), mark, needs)
    headers = "\n".join(f"#include <{name}>" for name in CPP_HEADERS)
    source = CPP.format(headers=headers, solution=solution, tests=renamed_main(tests), mark=mark)
    return Run(Program(source, language, limits=limits), mark, needs)


@cache
def runner() -> str:
    """Return the JavaScript program that runs solutions."""
    return (files("stepgym.envs.coding") / "same_program.js").read_text("utf-8")


def renamed_main(tests: str) -> str:
    """Rename the tests' `main`, and let it return at its end as no other function may leave out."""
    found = CPP_MAIN.search(tests)
    if found is None:
        raise TestsError("tests in C++ need an `int main() {...}`")
    depth, end = 1, len(tests)
    for token in CPP_TOKEN.finditer(tests, found.end()):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            end = token.start()
            break
    start = f"{tests[: found.start()]}\nstatic int main_of_tests() {{"
    return f"{start}{tests[found.end() : end]}\nreturn 0;\n{tests[end:]}"


def run_same_program(
    runs: Sequence[Run], sandbox: Sandbox
) -> list[tuple[list[list[Any]], dict[str, Any], str]]:
    """Return for each run its rows of tests, details, and why there is no verdict, empty if there is one."""
    languages = {run.program.language for run in runs}
    lacking = {language: lacking_tool(language, sandbox) for language in languages}
    able = [run for run in runs if not lacking[run.program.language]]
    results = iter(sandbox.run([run.program for run in able]))
    found: list[tuple[list[list[Any]], dict[str, Any], str]] = []
    for run in runs:
        why = lacking[run.program.language]
        rows: list[list[Any]] = []
        details: dict[str, Any] = {"forgeable": True}
        if not why:
            result = next(results)
            rows, why = read_run(result, run)
            rows = [[*row, round(result.wall_s, 6)] for row in rows]
            details |= {"outcome": result.outcome.value, "used": used([result], run.program.limits)}
        found.append((rows, {**details, "tests": rows}, why))
    return found


def read_run(result: ExecutionResult, run: Run) -> tuple[list[list[Any]], str]:
    """Return rows of tests, and why there is no verdict, empty if there is one."""
    missing = MISSING_HEADER.search(result.stderr)
    if missing is not None and missing[1] in run.needs:
        return [], f"the task needs the header {missing[1]!r}, which the sandbox does not have"
    library = MISSING_LIBRARY.search(result.stderr)
    if library is not None and any(name.startswith("openssl/") for name in run.needs):
        return [], f"the task needs the library {library[1]!r}, which the sandbox does not have"
    report = next(
        (line for line in reversed(result.stdout.splitlines()) if line.startswith(run.mark)), None
    )
    if report is None or result.outcome is not Outcome.OK:
        return [["program", "failed", _why(result)]], ""
    _, asserted, lacks, *words = report.split(" ", 3)
    if lacks != "-":
        return [], f"the task needs the module {lacks!r}, which the sandbox does not have"
    failure = words[0].strip() if words else ""
    if failure:
        return [["program", "failed", failure]], ""
    if asserted == "0":
        return [], "no test was found: nothing was asserted"
    return [["program", "passed", ""]], ""


def _why(result: ExecutionResult) -> str:
    if result.outcome is Outcome.OK:
        return "the program ended before its tests did"
    lines = [line for line in result.stderr.splitlines() if "error" in line or "ssert" in line]
    words = result.reason or result.outcome.value
    return f"{words}: {lines[0][:200]}" if lines else words


def lacking_tool(language: str, sandbox: Sandbox) -> str:
    """Return why a sandbox cannot run programs of a language, empty if it can."""
    try:
        sandbox.run([Program(TRIVIAL[language], language)])
    except MissingToolError as error:
        return f"the sandbox has no {error.tool!r}, which programs in {language} need"
    return ""


TRIVIAL = {"javascript": "", "cpp": "int main() {}", "c": "int main(void) { return 0; }"}

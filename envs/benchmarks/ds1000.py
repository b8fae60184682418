"""DS-1000: snippets for data science libraries (Lai et al. 2023).

Columns: `prompt`, `code_context`, `reference_code`, `metadata`. The set's own checker runs a snippet inside its code
context, in one process: verdicts are forgeable, and say so. The sandbox must have the task's libraries.
"""

from __future__ import annotations

import re

from stepgym.envs.benchmarks.module_packages import packages_of_modules
from stepgym.envs.coding.code_set import code_problem
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

TESTS = """\
def test_execution():
    execution_of_context(ANSWER)
if 'string_of_context' in globals():
    def test_string():
        string_of_context(ANSWER)
"""
IMPORTED = re.compile(r"^\s*(?:import|from)\s+([\w.]+)", re.MULTILINE)
QUESTION = "Complete the code. Give only what replaces the missing part, in one ```python block."


def matches(row: Row) -> bool:
    """Whether a row is of DS-1000."""
    return "code_context" in row.data and "reference_code" in row.data


def ds1000_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    context = row.text("code_context")
    renamed = context.replace("def test_execution(", "def execution_of_context(").replace(
        "def test_string(", "def string_of_context("
    )
    tests = TESTS if "def test_string(" in context else TESTS.partition("if ")[0]
    return code_problem(
        row,
        id=f"{name}/{index}",
        index=index,
        question=row.text("prompt"),
        tests={"style": "files", "source": f"{renamed}\n{tests}", "names": ["ANSWER"]},
        reference=str(row.data["reference_code"]),
        instructions=QUESTION,
        form="snippet",
        one_process=True,
        packages=packages_of_modules(IMPORTED.findall(context)),
    )

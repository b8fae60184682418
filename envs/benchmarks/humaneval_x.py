"""HumanEval-X: HumanEval in Python, JavaScript and C++ (Zheng et al. 2023).

Columns: `task_id` such as `CPP/0`, `prompt`, `canonical_solution`, `declaration`, `test`. Tests in JavaScript and C++ run
in one program with the solution: their verdicts are forgeable, and say so. The sandbox must have `node` or `g++`.
"""

from __future__ import annotations

import re

from stepgym.envs.coding.code_set import INSTRUCTIONS, code_problem
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

LANGUAGES = {"Python": "python", "JavaScript": "javascript", "CPP": "cpp"}
FENCE = {"javascript": "JavaScript", "cpp": "C++"}
DEFINITION = {
    "python": re.compile(r"^(?:async\s+)?def\s+(\w+)", re.MULTILINE),
    "javascript": re.compile(r"^(?:const|let|var|function)\s+(\w+)", re.MULTILINE),
    "cpp": re.compile(r"(\w+)\s*\([^;{}()]*\)\s*\{\s*$", re.MULTILINE),
}
COMPILE_AND_RUN = {"cpu_s": 20.0, "wall_s": 40.0}


def matches(row: Row) -> bool:
    """Whether a row is of HumanEval-X."""
    return "declaration" in row.data and "example_test" in row.data


def humaneval_x_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    family, _, number = row.text("task_id").partition("/")
    language = LANGUAGES.get(family)
    if language is None:
        raise row.error(f"the language {family!r} is none of {', '.join(LANGUAGES)}")
    prompt, test = row.text("prompt"), row.text("test")
    defined = DEFINITION[language].findall(row.text("declaration"))
    if not defined:
        raise row.error(
            f"column 'declaration' does not end with the head of a function in {family}"
        )
    solution = str(row.data.get("canonical_solution") or "")
    if language == "python":
        return code_problem(
            row,
            id=f"{name}/{number}",
            index=index,
            question=prompt,
            # The call of `check` at the end is the harness's own.
            tests=re.sub(r"^check\(.*\)\s*\Z", "", test, flags=re.MULTILINE),
            reference=prompt + solution,
            entry_point=defined[-1],
            prompt=prompt,
        )
    return code_problem(
        row,
        id=f"{name}/{number}",
        index=index,
        question=prompt,
        tests={"style": "same_program", "language": language, "source": test},
        reference=solution,
        entry_point=defined[-1],
        instructions=INSTRUCTIONS.replace("Python", FENCE[language]).replace("python", language),
        prompt=prompt,
        language=language,
        limits=COMPILE_AND_RUN,
    )

"""CRUXEval: predict what a short function returns, or an input for which it returns a value (Gu et al. 2024).

Columns: `code`, `input`, `output`. An answer is a Python literal and is only read as one: code in an answer is never
run, so that nobody can have the function compute what was to be predicted.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.coding.code_set import CodeOptions, code_env, code_problem, code_set
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem
from stepgym.plugins.names import unknown_name

NAME = "stepgym/CRUXEval-v0"
HUB = HubName("cruxeval-org/cruxeval", "test")
TASKS = ("output", "input")
READ = """\
import ast
def read(text):
    text = text.strip()
    if text == 'set()':
        return set()
    return ast.literal_eval(text)
"""
OUTPUT_TESTS = READ + "assert read(ANSWER) == {output}\n"
INPUT_TESTS = READ + "assert f(*read('(' + ANSWER + ',)')) == {output}\n"
OUTPUT_QUESTION = "What does f({input}) return? Answer with the value alone, as a Python literal."
INPUT_QUESTION = "Find arguments for which f(...) returns {output}. Answer with the arguments alone, as Python literals."


def matches(row: Row) -> bool:
    """Whether a row is of CRUXEval."""
    return {"code", "input", "output"} <= row.data.keys() and "def f(" in str(row.data["code"])


def cruxeval_problem(row: Row, index: int, name: str, *, task: str = "output") -> Problem:
    """Return the problem of a row; `task` says what is to be predicted."""
    code, given, output = row.text("code"), str(row.data["input"]), str(row.data["output"])
    predicts_output = task == "output"
    question = OUTPUT_QUESTION if predicts_output else INPUT_QUESTION
    template = OUTPUT_TESTS if predicts_output else INPUT_TESTS
    source = template.replace("{output}", output)
    tests: dict[str, Any] = {"style": "asserts", "source": source, "names": ["ANSWER", "f"]}
    return code_problem(
        row,
        id=f"{name}/{task}/{row.data.get('id', index)}",
        index=index,
        question=f"{code}\n\n{question.replace('{input}', given).replace('{output}', output)}",
        tests=tests,
        reference=output if predicts_output else given,
        instructions="",
        form=f"literal {task}",
        # The function runs on the candidate's side, where one that does not end counts as wrong.
        preamble="" if predicts_output else code,
    )


def make(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    task: str = "output",
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/CRUXEval-v0`. `task` is what is predicted: "output" or "input"."""
    if task not in TASKS:
        raise unknown_name("CRUXEval task", task, TASKS, dotted=False)
    rows = benchmark_rows(file, HUB, "cruxeval")
    problems = code_set(NAME, rows, partial(cruxeval_problem, task=task))
    return code_env(problems, answer_form="<answer>value</answer>", **options)

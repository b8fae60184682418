"""The shape of a family whose answer is a function: graded by unit tests first, then by a Hypothesis test."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, Unpack

from stepgym.envs.coding.code_set import INSTRUCTIONS
from stepgym.envs.coding.property import PropertyTests
from stepgym.envs.coding.verifier import CodingVerifier
from stepgym.envs.families.code_tasks import CodeTask, Drawn, call
from stepgym.envs.problem_sets import Draft, Generator, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.envs.types import Problem, Verdict, Verifier
from stepgym.sandbox.types import Sandbox

NUM_UNIT_TESTS = 12


class CodeMaker(Protocol):
    """A function that makes the environment of a code family."""

    def __call__(
        self,
        *,
        level: int = 1,
        seed: int = 0,
        sandbox: str | Sandbox = "auto",
        tools: bool | ToolKind = True,
        **common: Unpack[CommonOptions],
    ) -> ReasoningEnv: ...


class FunctionVerifier(CodingVerifier):
    """Grades a function by its unit tests, and one that passes them all by its Hypothesis test."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        verdicts = super().verify(problems, answers)
        passed = [i for i, verdict in enumerate(verdicts) if verdict.correct]
        harder = [
            replace(problems[i], task={**problems[i].task, "tests": problems[i].task["property"]})
            for i in passed
        ]
        verdicts_after = super().verify(harder, [answers[i] for i in passed])
        for i, verdict in zip(passed, verdicts_after):
            verdicts[i] = verdict
        return verdicts


def code_family(
    name: str,
    generate: Generator,
    verifier: Callable[[str | Sandbox], Verifier] = FunctionVerifier,
    *,
    whole_answer: bool = True,
) -> CodeMaker:
    """Return the `make` of a family: levels 1 to 10, free text, Python tool, answers graded in the sandbox."""

    def make(
        *,
        level: int = 1,
        seed: int = 0,
        sandbox: str | Sandbox = "auto",
        tools: bool | ToolKind = True,
        **common: Unpack[CommonOptions],
    ) -> ReasoningEnv:
        max_steps = common.pop("max_steps", 32)
        return ReasoningEnv(
            ProceduralSet(name, generate, level, seed),
            domain=TextDomain(
                max_steps=max_steps,
                sandbox=sandbox if tools else None,
                whole_answer=whole_answer,
                tools=tools if isinstance(tools, str) else "python",
            ),
            verifier=verifier(sandbox),
            **common,
        )

    return make


def function_draft(
    rng: random.Random, drawn: Drawn, question: str, hints: Sequence[str], first: Sequence[int] = ()
) -> Draft:
    """Return a problem that asks for a function; the inputs numbered in `first` are among its unit tests."""
    task = drawn.task
    others = [i for i in range(len(drawn.inputs)) if i not in first]
    chosen = [*first, *rng.sample(others, NUM_UNIT_TESTS - len(first))]
    calls = [[[list(drawn.inputs[i]), {}], _value(drawn.expected[i])] for i in chosen]
    properties = PropertyTests(
        strategies=task.strategies, reference=task.source, seed=rng.randrange(2**31)
    )
    hidden: dict[str, Any] = {
        "tests": {"calls": calls, "from_json": True},
        "property": properties.data(),
        "entry_point": task.entry_point,
    }
    code = f"```python\n{task.source}```"
    return Draft(f"{INSTRUCTIONS}\n\n{question}", task.source, task=hidden, solution=(*hints, code))


def example(drawn: Drawn, index: int) -> str:
    """Return a call and its result in words: `solve([1]) is 1`."""
    return f"{call(drawn.task, drawn.inputs[index])} is {drawn.expected[index]}"


def signature(task: CodeTask) -> str:
    """Return the first line of the function without `def`: `solve(numbers)`."""
    return task.source.partition(":")[0].removeprefix("def ")


def _value(shown: str) -> Any:
    return ast.literal_eval(shown)

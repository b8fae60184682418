"""The shape of a family in free text: a question with a mathematical answer, and a worked solution."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Protocol, Unpack

from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.problem_sets import Draft, Generator, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.steps.verifier import FreeTextStepVerifier
from stepgym.envs.text_domain import INSTRUCTIONS, TextDomain, ToolKind
from stepgym.envs.tool_results import ToolResults
from stepgym.sandbox.types import Sandbox


class Maker(Protocol):
    """A function that makes the environment of a family."""

    def __call__(
        self,
        *,
        level: int = 1,
        seed: int = 0,
        sandbox: str | Sandbox | None = "auto",
        tools: ToolKind = "python",
        tool_results: ToolResults = "full",
        **common: Unpack[CommonOptions],
    ) -> ReasoningEnv: ...


def text_family(name: str, generate: Generator) -> Maker:
    """Return the `make` of a family: levels 1 to 10, free text, Python tool, answers and steps verified."""

    def make(
        *,
        level: int = 1,
        seed: int = 0,
        sandbox: str | Sandbox | None = "auto",
        tools: ToolKind = "python",
        tool_results: ToolResults = "full",
        **common: Unpack[CommonOptions],
    ) -> ReasoningEnv:
        max_steps = common.pop("max_steps", 32)
        return ReasoningEnv(
            ProceduralSet(name, generate, level, seed),
            domain=TextDomain(
                max_steps=max_steps, sandbox=sandbox, tools=tools, tool_results=tool_results
            ),
            verifier=MathVerifier(),
            step_verifier=FreeTextStepVerifier(),
            **common,
        )

    return make


def draft(question: str, answer: object, solution: Sequence[str] = (), **options: Any) -> Draft:
    """Return one item. `solution` is the worked solution without the answer; `options` are those of `MathOptions`."""
    steps = (*solution, f"The answer is <answer>{answer}</answer>.")
    task = {"options": options} if options else {}
    return Draft(f"{question}\n\n{INSTRUCTIONS}", str(answer), task=task, solution=steps)


def worded(rng: random.Random, *templates: str, **values: object) -> str:
    """Return one of the templates, filled in."""
    return rng.choice(templates).format(**values)


def nonzero(rng: random.Random, size: int) -> int:
    """Return a whole number from -size to size that is not 0."""
    return rng.choice((-1, 1)) * rng.randint(1, size)


def scaled(level: int, least: int, most: int) -> int:
    """Return `least` at level 1, `most` at level 10, and evenly between them at the levels in between."""
    return least + (most - least) * (level - 1) // 9


def polynomial(coefficients: Sequence[int], variable: str = "x") -> str:
    """Return a polynomial in plain text, highest power first: `3x^2 - x + 4`."""
    degree = len(coefficients) - 1
    parts: list[str] = []
    for power, coefficient in zip(range(degree, -1, -1), coefficients):
        if coefficient:
            size = "" if abs(coefficient) == 1 and power else str(abs(coefficient))
            letter = "" if not power else variable if power == 1 else f"{variable}^{power}"
            sign = "-" if coefficient < 0 else "+"
            parts.append(f"{sign} {size}{letter}")
    if not parts:
        return "0"
    first, *rest = parts
    return " ".join([first.removeprefix("+ ").replace("- ", "-"), *rest])

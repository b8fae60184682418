"""Procedural mathematics at ten levels, arithmetic to linear systems, and `stepgym/Math-v0` over them or a data file.

Every problem has an exact reference. Steps can be checked as well: an equation in a step is right when it holds at
the solution and still determines it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Unpack

from stepgym.envs.expressions import evaluate
from stepgym.envs.files import load_file_set
from stepgym.envs.maths.linear import read_sides
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.steps.verifier import FreeTextStepVerifier
from stepgym.envs.text_domain import INSTRUCTIONS, TextDomain, ToolKind
from stepgym.envs.tokens import final_answer, visible_text
from stepgym.envs.tool_results import ToolResults
from stepgym.envs.types import Problem, ProblemSet, State, Status, Step, StepVerifier, Verdict
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox

NAME = "stepgym/Math-v0"


class Item(NamedTuple):
    """A question, its answer, and the values of the unknowns at the solution."""

    question: str
    answer: Fraction
    solution: dict[str, Fraction]


def generate(rng: random.Random, level: int) -> Draft:
    """Draw one problem of a level."""
    item = LEVELS[level - 1](rng)
    solution = {name: str(value) for name, value in item.solution.items()}
    prompt = f"{item.question}\n\n{INSTRUCTIONS}"
    return Draft(prompt, str(item.answer), task={"solution": solution})


def problems(level: int = 1, seed: int = 0) -> ProceduralSet:
    """Return the problems of a level, 1 to 10."""
    return ProceduralSet(NAME, generate, level, seed, len(LEVELS))


def _small_sum(rng: random.Random) -> Item:
    return _value(f"{rng.randint(1, 9)} {rng.choice('+-')} {rng.randint(1, 9)}")


def _sum(rng: random.Random) -> Item:
    return _value(f"{rng.randint(10, 99)} {rng.choice('+-')} {rng.randint(10, 99)}")


def _product(rng: random.Random) -> Item:
    return _value(f"{rng.randint(3, 12)} * {rng.randint(11, 99)}")


def _precedence(rng: random.Random) -> Item:
    a, b, c, d = (rng.randint(2, 20) for _ in range(4))
    return _value(f"{a} {rng.choice('+-')} {b} * {c} {rng.choice('+-')} {d}")


def _brackets(rng: random.Random) -> Item:
    a, b, c, d, e = (rng.randint(2, 20) for _ in range(5))
    first, second = (rng.choice("+-") for _ in range(2))
    return _value(f"({a} {first} {b}) * ({c} {second} {d}) {rng.choice('+-')} {e}")


def _fractions(rng: random.Random) -> Item:
    a, c = rng.randint(1, 9), rng.randint(1, 9)
    b, d = rng.randint(2, 12), rng.randint(2, 12)
    return _value(f"{a}/{b} {rng.choice('+-')} {c}/{d}")


def _one_sided(rng: random.Random) -> Item:
    x, a, b = rng.randint(-12, 12), rng.randint(2, 9), _nonzero(rng, 20)
    return _equation(f"{a}x {_signed(b)} = {a * x + b}", x)


def _two_sided(rng: random.Random) -> Item:
    x, b = rng.randint(-12, 12), _nonzero(rng, 20)
    a, c = rng.sample(range(2, 13), 2)
    return _equation(f"{a}x {_signed(b)} = {c}x {_signed((a - c) * x + b)}", x)


def _rational_solution(rng: random.Random) -> Item:
    a, c = rng.sample(range(2, 10), 2)
    b, d, e = _nonzero(rng, 9), _nonzero(rng, 9), _nonzero(rng, 20)
    x = Fraction(c * d + e - a * b, a - c)
    return _equation(f"{a}(x {_signed(b)}) = {c}(x {_signed(d)}) {_signed(e)}", x)


def _system(rng: random.Random) -> Item:
    x, y = rng.randint(-9, 9), rng.randint(-9, 9)
    while True:
        a, b, c, d = (_nonzero(rng, 9) for _ in range(4))
        if a * d != b * c:
            break
    lines = (f"{_times(p, 'x')} {_signed(q, 'y')} = {p * x + q * y}" for p, q in ((a, b), (c, d)))
    question = f"Solve the system {' and '.join(lines)}. What is x + y?"
    return Item(question, Fraction(x + y), {"x": Fraction(x), "y": Fraction(y)})


LEVELS: tuple[Callable[[random.Random], Item], ...] = (
    _small_sum,
    _sum,
    _product,
    _precedence,
    _brackets,
    _one_sided,
    _fractions,
    _two_sided,
    _rational_solution,
    _system,
)


@dataclass(frozen=True)
class EquationStepVerifier:
    """Checks the equations that a step states, one to a line, chains `a = b = c` included.

    With unknowns an equation is right when the solution satisfies it and it is not empty (`0 = 0`), which for one
    unknown means that the solution set is kept; without unknowns when both sides are equal. A step without a readable
    equation is UNDECIDED; a step that gives the final answer is not checked here but by the verifier.
    """

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        return [
            [self._verify(problem, step) for step in state.steps]
            for problem, state in zip(problems, states, strict=True)
        ]

    def _verify(self, problem: Problem, step: Step) -> Verdict:
        solution = {
            name: Fraction(value) for name, value in problem.task.get("solution", {}).items()
        }
        checked = 0
        for line in equations(step.text):
            sides = read_sides(line)
            if sides is None:
                continue
            values = [side.at(solution) for side in sides]
            if None in values:
                continue
            checked += 1
            if len(set(values)) > 1:
                return Verdict(Status.INCORRECT, 0.0, f"{line.strip()!r} does not hold", "linear")
            if any(side.coefficients for side in sides) and all(side == sides[0] for side in sides):
                return Verdict(
                    Status.INCORRECT, 0.0, f"{line.strip()!r} says nothing of the unknown", "linear"
                )
        if checked:
            return Verdict(Status.CORRECT, 1.0, f"{checked} equations hold", "linear")
        if final_answer(step.text) is not None:
            [verdict] = MathVerifier().verify([problem], [step.text])
            return verdict
        return Verdict(Status.UNDECIDED, 0.0, "states no equation that could be read", "linear")


def equations(text: str) -> list[str]:
    """Return the stretches of a step's visible text that look like equations, words around them left out."""
    found = []
    for line in re.split(r"[\n;]|,\s|\.\s|\.$|\band\b", visible_text(text)):
        stretch = re.sub(r"^.*[A-Za-z]{2,}[:,]?\s(?=[^=]*=)", "", line)
        if "=" in stretch:
            found.append(stretch.strip())
    return found


def make(
    *,
    level: int | None = None,
    seed: int = 0,
    file: str | Path | None = None,
    question: str | None = None,
    answer: str | None = None,
    instructions: str = INSTRUCTIONS,
    sandbox: str | Sandbox | None = "auto",
    tools: ToolKind = "python",
    tool_results: ToolResults = "full",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/Math-v0`: procedural at a level (1 where none is given), or the questions of a data file.

    `question` and `answer` name the file's columns, `instructions` are put after each of its questions. The policy's
    Python runs in the sandbox called `sandbox`; with `None` its tool calls are plain text.
    `tools` says whether the interpreter stays between calls (`"python"`) or not (`"python_fresh"`), `tool_results`
    whether long results are shown up to 4,000 characters (`"full"`) or as a summary to read on from (`"short"`).
    """
    verifier = MathVerifier()
    max_steps = common.pop("max_steps", 32)
    chosen: ProblemSet
    step_verifier: StepVerifier | None = None
    if file is None:
        chosen, step_verifier = (
            problems(1 if level is None else level, seed),
            EquationStepVerifier(),
        )
    else:
        if level is not None:
            raise UserError(
                f"a data file has no levels: give file={str(file)!r} or level={level!r}, not both"
            )
        chosen = load_file_set(
            file,
            name=NAME,
            question=question,
            answer=answer,
            instructions=instructions,
            verifier=verifier,
        )
        step_verifier = FreeTextStepVerifier()
    return ReasoningEnv(
        chosen,
        domain=TextDomain(
            max_steps=max_steps, sandbox=sandbox, tools=tools, tool_results=tool_results
        ),
        verifier=verifier,
        step_verifier=step_verifier,
        **common,
    )


def _value(expression: str) -> Item:
    found = evaluate(expression)
    assert found is not None, f"{expression!r} is no expression"
    return Item(f"Compute {expression}.", found.value, {})


def _equation(equation: str, x: int | Fraction) -> Item:
    return Item(f"Solve {equation} for x.", Fraction(x), {"x": Fraction(x)})


def _nonzero(rng: random.Random, largest: int) -> int:
    return rng.choice((-1, 1)) * rng.randint(1, largest)


def _times(coefficient: int, unknown: str) -> str:
    return {1: unknown, -1: f"-{unknown}"}.get(coefficient, f"{coefficient}{unknown}")


def _signed(number: int, unknown: str = "") -> str:
    size = "" if unknown and abs(number) == 1 else str(abs(number))
    return f"{'-' if number < 0 else '+'} {size}{unknown}"

"""Countdown: reach the target from the numbers, each used exactly once, one operation per step.

A step is `a op b` over the numbers left; its result takes their place and must be a whole number of 0 or more. When one
number is left, the episode ends with the expression over the original numbers as answer. A model may also give the
whole expression at once in `<answer>`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, Unpack

from stepgym.envs.expressions import Expression, evaluate
from stepgym.envs.families.countdown_rules import expression, originals, play
from stepgym.envs.families.countdown_solver import moves, reachable
from stepgym.envs.families.game import GameDomain, right, wrong
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.tokens import final_answer
from stepgym.envs.types import Problem, State, Verdict

NAME = "stepgym/Countdown-v0"
Position = tuple[tuple[int, ...], int]
"""`State.public`: the numbers left, ascending, and the target."""


class Level(NamedTuple):
    """The difficulty: how many numbers, the largest of them, and the range of the target."""

    num_numbers: int
    largest: int
    low: int
    high: int


LEVELS = (
    Level(3, 5, 3, 20),
    Level(3, 10, 10, 50),
    Level(4, 10, 10, 50),
    Level(4, 25, 10, 100),
    Level(5, 10, 10, 50),
    Level(5, 25, 10, 100),
    Level(5, 50, 100, 500),
    Level(6, 10, 10, 100),
    Level(6, 25, 100, 500),
    Level(6, 100, 100, 999),
)

_CLAIM = re.compile(r"(.*?)=\s*([0-9]{1,18})\s*", re.DOTALL)


def generate(rng: random.Random, level: int) -> Draft:
    """Draw numbers and play random legal steps until the result is in the level's range; the result is the target."""
    shape = LEVELS[level - 1]
    while True:
        numbers = [rng.randint(1, shape.largest) for _ in range(shape.num_numbers)]
        left = tuple(sorted(numbers))
        steps = []
        while len(left) > 1:
            move = rng.choice(moves(left))
            steps.append(move.text)
            left = move.left
        if shape.low <= left[0] <= shape.high:
            position = (tuple(sorted(numbers)), left[0])
            question, reference = prompt(numbers, left[0]), expression(numbers, steps)
            return Draft(question, reference, position, solution=tuple(steps))


def prompt(numbers: Sequence[int], target: int) -> str:
    """Return the question with the rules."""
    shown = ", ".join(map(str, numbers))
    return (
        f"Reach {target} from the numbers {shown}. Use each number exactly once, with + - * /. "
        "Each step takes two of the numbers that are left and writes one operation, such as `3 * 7`; its result takes "
        "their place and must be a whole number, not negative."
    )


def problems(level: int = 3, seed: int = 0) -> ProceduralSet:
    """Return the problems of a level: level 3 is four numbers from 1 to 10 and a target from 10 to 50."""
    return ProceduralSet(NAME, generate, level, seed, len(LEVELS))


def random_solution(numbers: Sequence[int], target: int, rng: random.Random) -> list[str] | None:
    """Return the steps of a random solution, `None` if there is none; each step is drawn from those that keep the target reachable."""
    left = tuple(sorted(numbers))
    if not reachable(left, target):
        return None
    steps = []
    while len(left) > 1:
        keeping = [move for move in moves(left) if reachable(move.left, target)]
        move = rng.choice(keeping)
        steps.append(move.text)
        left = move.left
    return steps


@dataclass(frozen=True)
class CountdownDomain(GameDomain):
    """The rules of Countdown."""

    step_form = "one operation, such as `3 * 7`,"

    def play(self, position: Position, text: str) -> Position | str:
        left, target = position
        after = play(left, text)
        return after if isinstance(after, str) else (after, target)

    def moves(self, position: Position) -> list[str]:
        """Return every legal step once; `a + b` and `a * b` with the larger number first."""
        return [move.text for move in moves(position[0])]

    def over(self, position: Position) -> bool:
        return len(position[0]) < 2

    def answer(self, position: Position, texts: Sequence[str]) -> str:
        return expression(originals(position[0], texts), texts)


def position(item: State | Problem) -> Position:
    """Return the numbers left and the target."""
    found: Position = item.public  # type: ignore[assignment]
    return found


@dataclass(frozen=True)
class CountdownVerifier:
    """Checks an expression exactly: each number is used once and the value is the target. It may end in `= target`."""

    needs_reference = False

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            self._verify(problem, answer) for problem, answer in zip(problems, answers, strict=True)
        ]

    def same(self, a: str, b: str) -> bool:
        """Return whether two answers are one vote: equal values, or equal texts if they are no expressions."""
        return self.answer_key(a) == self.answer_key(b)

    def answer_key(self, answer: str) -> Fraction | str:
        """Return the answer's value, or its text if it is no expression."""
        found = _read_answer(answer)
        return answer.strip() if found is None else found.value

    def _verify(self, problem: Problem, answer: str) -> Verdict:
        numbers, target = position(problem)
        found = _read_answer(answer)
        if found is None:
            return wrong("not an expression of numbers with + - * /", "expression")
        if sorted(found.numbers) != sorted(numbers):
            return wrong(
                f"uses {list(found.numbers)}, not each of {list(numbers)} exactly once",
                "expression",
            )
        if found.value != target:
            return wrong(f"is {found.value}, not {target}", "expression")
        return right(f"is {target}", "expression")


@dataclass(frozen=True)
class CountdownStepVerifier:
    """A step is right if it is legal and the target can still be reached, which is decided exactly."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        return [
            self._verify(problem, state) for problem, state in zip(problems, states, strict=True)
        ]

    def _verify(self, problem: Problem, state: State) -> list[Verdict]:
        left, target = position(problem)
        verdicts: list[Verdict] = []
        for step in state.steps:
            answer = final_answer(step.text)
            if answer is not None:
                verdicts += CountdownVerifier().verify([problem], [answer])
                continue
            after = play(left, step.text)
            if isinstance(after, str):
                verdicts.append(wrong(after, "rules"))
            elif reachable(after, target):
                verdicts.append(right(f"{target} can be reached from {list(after)}", "search"))
                left = after
            else:
                verdicts.append(wrong(f"{target} cannot be reached from {list(after)}", "search"))
                left = after
        return verdicts


def make(*, level: int = 3, seed: int = 0, **common: Unpack[CommonOptions]) -> ReasoningEnv:
    """Make `stepgym/Countdown-v0`; levels run from 1 to 10."""
    return ReasoningEnv(
        problems(level, seed),
        domain=CountdownDomain(),
        verifier=CountdownVerifier(),
        step_verifier=CountdownStepVerifier(),
        **common,
    )


@lru_cache(maxsize=8192)  # votes compare every answer with every other
def _read_answer(text: str) -> Expression | None:
    claim = _CLAIM.fullmatch(text)
    if claim is None:
        return evaluate(text)
    found = evaluate(claim.group(1))
    return found if found is not None and found.value == int(claim.group(2)) else None

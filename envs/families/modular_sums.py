"""ModularSums: add numbers modulo a prime, in any order, and write every running result.

A step is `a + b = c`: first two of the numbers, then the running result and one more number. The domain continues from
the `c` that the model wrote, right or wrong, and the last one is the answer. One wrong sum makes the answer wrong, and
many orders lead to the same answer, so this family suits votes and process rewards.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Unpack

from stepgym.envs.families.game import GameDomain, right, wrong
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.tokens import final_answer, visible_text
from stepgym.envs.types import Problem, State, Verdict
from stepgym.plugins.errors import UserError

NAME = "stepgym/ModularSums-v0"
NUM_LEVELS = 10
MODULUS = 31
Sum = tuple[tuple[int, ...], int | None, int]
"""`State.public`: the numbers still to be added (ascending), the running result (`None` at first), the modulus."""

_STEP = re.compile(r"\s*([0-9]{1,9})\s*\+\s*([0-9]{1,9})\s*=\s*([0-9]{1,9})\s*")


def generate(rng: random.Random, level: int, *, modulus: int = MODULUS) -> Draft:
    """Draw `level + 2` numbers below the modulus."""
    numbers = [rng.randrange(modulus) for _ in range(level + 2)]
    shown = ", ".join(map(str, numbers))
    prompt = (
        f"Add the numbers {shown} modulo {modulus}, in any order. Each step adds one number to the running result and "
        "is written `a + b = c`, with c below the modulus; the first step adds two of the numbers."
    )
    running, solution = numbers[0], []
    for number in numbers[1:]:
        after = (running + number) % modulus
        solution.append(f"{running} + {number} = {after}")
        running = after
    position = (tuple(sorted(numbers)), None, modulus)
    return Draft(prompt, str(running), position, solution=tuple(solution))


def problems(level: int = 3, seed: int = 0, *, modulus: int = MODULUS) -> ProceduralSet:
    """Return the problems of a level, `level + 2` numbers each."""
    if modulus < 2:
        raise UserError(f"a modulus is 2 or more, not {modulus!r}")
    name = NAME if modulus == MODULUS else f"{NAME}/modulus-{modulus}"
    return ProceduralSet(name, partial(generate, modulus=modulus), level, seed, NUM_LEVELS)


def running_sum(item: State | Problem) -> Sum:
    """Return what is still to be added, the running result and the modulus."""
    found: Sum = item.public  # type: ignore[assignment]
    return found


def play(position: Sum, text: str) -> Sum | str:
    """Return the position after a step, or the reason why it is illegal; whether `c` is right does not matter."""
    remaining, running, modulus = position
    match = _STEP.fullmatch(visible_text(text))
    if match is None:
        return "not a step of the form `a + b = c`"
    a, b, c = map(int, match.groups())
    if running is not None:
        if running not in (a, b):
            return f"neither {a} nor {b} is the running result {running}"
        a, b = (a, b) if a == running and (b in remaining or b != running) else (b, a)
    taken = [a, b] if running is None else [b]
    rest = list(remaining)
    for number in taken:
        if number not in rest:
            return (
                f"{number} is not among the numbers still to be added: {', '.join(map(str, rest))}"
            )
        rest.remove(number)
    return tuple(rest), c, modulus


@dataclass(frozen=True)
class ModularSumsDomain(GameDomain):
    """The rules of modular sums."""

    step_form = "one sum, such as `12 + 25 = 6`,"

    def play(self, position: Sum, text: str) -> Sum | str:
        return play(position, text)

    def moves(self, position: Sum) -> list[str]:
        """Return every legal step once, with every result below the modulus: `(numbers left) x modulus` of them."""
        remaining, running, modulus = position
        if running is None:
            pairs = {(a, b) for i, a in enumerate(remaining) for b in remaining[i + 1 :]}
        else:
            pairs = {(running, b) for b in remaining}
        return [f"{a} + {b} = {c}" for a, b in sorted(pairs) for c in range(modulus)]

    def answer(self, position: Sum, texts: Sequence[str]) -> str:
        return str(position[1])


@dataclass(frozen=True)
class ModularSumsVerifier:
    """The answer is the sum, written as a whole number below the modulus."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            self._verify(problem, answer) for problem, answer in zip(problems, answers, strict=True)
        ]

    def same(self, a: str, b: str) -> bool:
        return _plain(a) == _plain(b)

    def answer_key(self, answer: str) -> str:
        return _plain(answer)

    def _verify(self, problem: Problem, answer: str) -> Verdict:
        if _plain(answer) == problem.reference:
            return right("", "integer")
        return wrong(f"{answer.strip()[:40]!r} is not the sum", "integer")


@dataclass(frozen=True)
class ModularSumsStepVerifier:
    """A step is right if it is legal and its own addition is, whatever the earlier steps were."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        return [
            self._verify(problem, state) for problem, state in zip(problems, states, strict=True)
        ]

    def _verify(self, problem: Problem, state: State) -> list[Verdict]:
        position = running_sum(problem)
        verdicts: list[Verdict] = []
        for step in state.steps:
            answer = final_answer(step.text)
            if answer is not None:
                verdicts += ModularSumsVerifier().verify([problem], [answer])
                continue
            after = play(position, step.text)
            if isinstance(after, str):
                verdicts.append(wrong(after, "rules"))
                continue
            left = sum(position[0]) + (position[1] or 0) - sum(after[0])
            holds = after[1] == left % position[2]
            verdicts.append(right("", "addition") if holds else wrong("", "addition"))
            position = after
        return verdicts


def make(
    *, level: int = 3, seed: int = 0, modulus: int = MODULUS, **common: Unpack[CommonOptions]
) -> ReasoningEnv:
    """Make `stepgym/ModularSums-v0`; levels run from 1 to 10."""
    return ReasoningEnv(
        problems(level, seed, modulus=modulus),
        domain=ModularSumsDomain(),
        verifier=ModularSumsVerifier(),
        step_verifier=ModularSumsStepVerifier(),
        **common,
    )


def _plain(answer: str) -> str:
    """Return a whole number without spaces and leading zeros; other text is only stripped."""
    text = answer.strip()
    return str(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else text

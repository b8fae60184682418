"""Proposed Countdown games: `countdown: 3, 5, 7, 9 -> 42`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from stepgym.envs.families.countdown import prompt, random_solution
from stepgym.envs.families.countdown_rules import expression
from stepgym.envs.families.countdown_solver import reachable
from stepgym.envs.types import Problem

MIN_NUMBERS, MAX_NUMBERS = 3, 6
MAX_NUMBER = 999
MAX_TARGET = 9_999

_FORM = re.compile(r"\s*([0-9]{1,18}(?:\s*,\s*[0-9]{1,18})*)\s*->\s*([0-9]{1,18})\s*")


@dataclass(frozen=True)
class ProposedCountdown:
    """Numbers and a target, under the rules of `stepgym/Countdown-v0`."""

    numbers: tuple[int, ...]
    """Ascending."""
    target: int

    kind = "countdown"

    @property
    def key(self) -> str:
        return f"countdown {','.join(map(str, self.numbers))}->{self.target}"

    @property
    def num_operations(self) -> int:
        return len(self.numbers) - 1

    def too_large(self) -> str:
        if len(self.numbers) > MAX_NUMBERS:
            return f"{len(self.numbers)} numbers; at most {MAX_NUMBERS}"
        if max(self.numbers) > MAX_NUMBER or self.target > MAX_TARGET:
            return f"numbers are at most {MAX_NUMBER}, the target at most {MAX_TARGET}"
        return ""

    def ambiguous(self) -> str:
        return ""

    def undecidable(self) -> str:
        return ""

    def unsolvable(self) -> str:
        if reachable(self.numbers, self.target):
            return ""
        return f"{self.target} cannot be reached from {', '.join(map(str, self.numbers))}"

    def trivial(self) -> str:
        if len(self.numbers) < MIN_NUMBERS:
            return f"{len(self.numbers)} numbers; at least {MIN_NUMBERS}"
        return "the target is one of the numbers" if self.target in self.numbers else ""

    def solution(self) -> str:
        steps = random_solution(self.numbers, self.target, Random(0))
        assert steps is not None, f"{self.key} has no solution"
        return expression(self.numbers, steps)

    def problem(self, reference: str) -> Problem:
        return Problem(
            id=f"proposed/{self.key}",
            prompt=prompt(self.numbers, self.target),
            reference=reference,
            public=(self.numbers, self.target),
        )


def read_countdown(text: str) -> ProposedCountdown | str:
    """Read a game, or return why the text is none."""
    match = _FORM.fullmatch(text)
    if match is None:
        return "not of the form `3, 5, 7, 9 -> 42` with whole numbers"
    numbers = sorted(int(number) for number in match.group(1).split(","))
    return ProposedCountdown(tuple(numbers), int(match.group(2)))

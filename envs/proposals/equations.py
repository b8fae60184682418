"""Proposed linear equations in one unknown: `equation: 3x + 4 = 2x - 7`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from stepgym.envs.expressions import plain_operators
from stepgym.envs.maths.linear import Linear, read_sides
from stepgym.envs.text_domain import INSTRUCTIONS
from stepgym.envs.types import Problem

MAX_OPERATIONS = 12
MAX_DIGITS = 6
MAX_VALUE_DIGITS = 12

_CHARACTERS = re.compile(r"[0-9a-z+\-*/()=.\s]+")
_DIVISION_THEN_PRODUCT = re.compile(r"/\s*(?:[0-9.]+|\([^()]*\)|[a-z])\s*[a-z(]")
_IMPLIED = re.compile(r"[0-9)](?=\s*[a-z(])")


@dataclass(frozen=True)
class ProposedEquation:
    """A linear equation. An equation with other powers of the unknown is not read."""

    text: str
    sides: Sequence[Linear]
    """Both sides; empty if the equation is ambiguous and one reading is not linear."""

    kind = "equation"

    @property
    def unknown(self) -> str:
        return next(letter for letter in self.text if letter.isalpha())

    @property
    def key(self) -> str:
        """The two sides, whichever comes first, without a common factor, whatever the unknown is called."""
        (a, b), (c, d) = [self._numbers(side) for side in self.sides]
        factor = max(abs(a), abs(c)) or 1
        scaled = [(a / factor, b / factor), (c / factor, d / factor)]
        negated = [(-x, -y) for x, y in scaled]
        first, second = min(sorted(scaled), sorted(negated))
        return f"equation {first[0]}x+{first[1]}={second[0]}x+{second[1]}"

    @property
    def num_operations(self) -> int:
        return len(re.findall(r"[-+*/]", self.text)) + len(_IMPLIED.findall(self.text))

    def too_large(self) -> str:
        if self.num_operations > MAX_OPERATIONS:
            return f"{self.num_operations} operations; at most {MAX_OPERATIONS}"
        longest = max(map(len, re.findall("[0-9]+", self.text)), default=0)
        if longest > MAX_DIGITS:
            return f"a number of {longest} digits; at most {MAX_DIGITS}"
        if not self.unsolvable() and len(self.solution()) > MAX_VALUE_DIGITS:
            return f"its solution has more than {MAX_VALUE_DIGITS} characters"
        return ""

    def ambiguous(self) -> str:
        if _DIVISION_THEN_PRODUCT.search(self.text):
            return "a product without * after a division, such as 1/2x, can be read in two ways"
        return ""

    def undecidable(self) -> str:
        return ""

    def unsolvable(self) -> str:
        (a, b), (c, d) = [self._numbers(side) for side in self.sides]
        if a != c:
            return ""
        return f"every {self.unknown} solves it" if b == d else f"no {self.unknown} solves it"

    def trivial(self) -> str:
        alone = Linear(Fraction(0), {self.unknown: Fraction(1)})
        if alone in self.sides and any(not side.coefficients for side in self.sides):
            return f"{self.unknown} is alone on one side"
        return ""

    def solution(self) -> str:
        (a, b), (c, d) = [self._numbers(side) for side in self.sides]
        return str((d - b) / (a - c))

    def problem(self, reference: str) -> Problem:
        prompt = f"Solve {self.text} for {self.unknown}.\n\n{INSTRUCTIONS}"
        return Problem(id=f"proposed/{self.key}", prompt=prompt, reference=reference)

    def _numbers(self, side: Linear) -> tuple[Fraction, Fraction]:
        return side.coefficients.get(self.unknown, Fraction(0)), side.constant


def read_equation(text: str) -> ProposedEquation | str:
    """Read an equation, or return why the text is none."""
    plain = " ".join(plain_operators(text).split())
    letters = set(re.findall("[a-z]", plain))
    if not _CHARACTERS.fullmatch(plain) or len(letters) != 1 or plain.count("=") != 1:
        return "not one equation in one unknown, a single small letter"
    sides = read_sides(plain)
    if sides is None and _DIVISION_THEN_PRODUCT.search(plain):
        return ProposedEquation(plain, ())
    if sides is None:
        return "not a linear equation: products of unknowns and divisions by them are not read"
    return ProposedEquation(plain, tuple(sides))

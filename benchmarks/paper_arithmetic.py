"""Arithmetic with pen and paper: exact fractions, worked digit by digit, where each digit operation may go wrong.

A digit operation is one column of a sum, one product of two digits (with its carry), or one comparison. A slip changes the
result by one in the place of that digit, or turns a comparison round. Sums with 0 and products with 0 or 1 cost nothing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator


class GaveUpError(Exception):
    """A calculation that led nowhere: too long, or into a contradiction."""


class Paper:
    """Counts the digit operations of one solution, and draws the slips."""

    def __init__(
        self, rng: random.Random, *, slip: float = 0.0, max_operations: int = 50_000
    ) -> None:
        self.rng, self.slip, self.max_operations = rng, slip, max_operations
        self.num_operations = 0
        self._right = self._drawn()

    def number(self, value: int) -> Number:
        return Number(self, value)

    def slips(self, count: int) -> Iterator[int]:
        """Work so many digit operations, and yield the place of each that goes wrong."""
        self.num_operations += count
        if self.num_operations > self.max_operations:
            raise GaveUpError(f"more than {self.max_operations} digit operations")
        place = 0
        while self._right < count - place:
            place += int(self._right)
            yield place
            place += 1
            self._right = self._drawn()
        self._right -= count - place

    def add(self, a: int, b: int) -> int:
        if not a or not b:
            return a + b
        wrong = sum(self._one(k) for k in self.slips(max(num_digits(a), num_digits(b))))
        return a + b + wrong

    def multiply(self, a: int, b: int) -> int:
        if abs(a) <= 1 or abs(b) <= 1:
            return a * b
        columns = num_digits(b)
        products = num_digits(a) * columns
        return a * b + sum(self._one(k // columns + k % columns) for k in self.slips(products))

    def divide(self, a: int, b: int) -> tuple[int, int]:
        """Return quotient and remainder by long division; a slip is one in a place of the dividend."""
        if b == 0:
            raise GaveUpError("division by 0")
        if not a or abs(b) == 1:
            return divmod(a, b)
        products = num_digits(a // b) * num_digits(b)
        places = num_digits(a)
        return divmod(a + sum(self._one(k % places) for k in self.slips(products)), b)

    def common_divisor(self, a: int, b: int) -> int:
        """Return the greatest common divisor by Euclid's algorithm."""
        a, b = abs(a), abs(b)
        while b:
            a, b = b, self.divide(a, b)[1]
        return a

    def is_less(self, a: Number | int, b: Number | int) -> bool:
        first, second = (x if isinstance(x, Number) else self.number(x) for x in (a, b))
        exact = first.above * second.below < second.above * first.below
        return exact != bool(list(self.slips(1)))

    def _one(self, place: int) -> int:
        return int(self.rng.choice((-1, 1)) * 10**place)

    def _drawn(self) -> float:
        """Return how many digit operations go right before the next slip."""
        if not self.slip:
            return math.inf
        return int(math.log(1 - self.rng.random()) / math.log(1 - self.slip))


class Number:
    """A fraction in lowest terms, if nothing went wrong."""

    def __init__(self, paper: Paper, above: int, below: int = 1) -> None:
        self.paper, self.above, self.below = paper, above, below

    def __add__(self, other: Number | int) -> Number:
        paper, other = self.paper, self._number(other)
        if self.below == other.below:
            return self._reduced(paper.add(self.above, other.above), self.below)
        left, right = (
            paper.multiply(self.above, other.below),
            paper.multiply(other.above, self.below),
        )
        return self._reduced(paper.add(left, right), paper.multiply(self.below, other.below))

    def __mul__(self, other: Number | int) -> Number:
        paper, other = self.paper, self._number(other)
        return self._reduced(
            paper.multiply(self.above, other.above), paper.multiply(self.below, other.below)
        )

    def __truediv__(self, other: Number | int) -> Number:
        other = self._number(other)
        if not other.above:
            raise GaveUpError("division by 0")
        sign = -1 if other.above < 0 else 1
        return self * Number(self.paper, sign * other.below, abs(other.above))

    def __pow__(self, exponent: Number | int) -> Number:
        result = Number(self.paper, 1)
        for _ in range(int(exponent)):
            result = result * self
        return result

    def __neg__(self) -> Number:
        return Number(self.paper, -self.above, self.below)

    def __sub__(self, other: Number | int) -> Number:
        return self + -self._number(other)

    def __floordiv__(self, other: Number | int) -> Number:
        return Number(self.paper, self.paper.divide(int(self), int(other))[0])

    def __mod__(self, other: Number | int) -> Number:
        return Number(self.paper, self.paper.divide(int(self), int(other))[1])

    def __rsub__(self, other: int) -> Number:
        return self._number(other) - self

    def __bool__(self) -> bool:
        return self.above != 0

    def __int__(self) -> int:
        if self.below != 1:
            raise GaveUpError(f"{self} is no whole number")
        return self.above

    def __str__(self) -> str:
        return f"{self.above}" if self.below == 1 else f"{self.above}/{self.below}"

    def _number(self, value: Number | int) -> Number:
        return value if isinstance(value, Number) else Number(self.paper, value)

    def _reduced(self, above: int, below: int) -> Number:
        if below != 1:
            common = self.paper.common_divisor(above, below)
            above, below = (self.paper.divide(part, common)[0] for part in (above, below))
        if below < 1:  # a slip
            raise GaveUpError("division by 0")
        return Number(self.paper, above, below)


def num_digits(value: int) -> int:
    return len(str(abs(value)))


def square_root(value: Number) -> Number:
    """Return the largest whole number whose square is at most `value`, by bisection."""
    paper = value.paper
    low, high = 0, 1
    while not paper.is_less(value, paper.number(high) ** 2):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if paper.is_less(value, paper.number(middle) ** 2):
            high = middle
        else:
            low = middle
    return paper.number(low)

"""Exact reachability in Countdown, fast enough to check at every step (milliseconds for six numbers).

The values of up to three numbers are listed and cached. Larger sets are decided backwards from the target: the numbers
are split into two groups, and the last operation is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

OPERATORS = ("+", "-", "*", "/")
_LISTED = 3
"""Sets of up to this many numbers are listed in full."""


class Move(NamedTuple):
    """A legal step and the numbers left after it, ascending."""

    text: str
    left: tuple[int, ...]


def combine(a: int, operator: str, b: int) -> int | None:
    """Return `a operator b`, `None` if it is not a whole number of 0 or more."""
    if operator == "+":
        return a + b
    if operator == "*":
        return a * b
    if operator == "-":
        return a - b if a >= b else None
    return a // b if b and a % b == 0 else None


def without(left: tuple[int, ...], a: int, b: int) -> tuple[int, ...] | None:
    """Return the numbers without `a` and `b`, `None` if they are not both there."""
    rest = list(left)
    for number in (a, b):
        if number not in rest:
            return None
        rest.remove(number)
    return tuple(rest)


@lru_cache(maxsize=100_000)
def moves(left: tuple[int, ...]) -> tuple[Move, ...]:
    """Return every legal step from ascending numbers, each text once."""
    found: dict[str, tuple[int, ...]] = {}
    for i, j in combinations(range(len(left)), 2):
        small, large = left[i], left[j]
        rest = left[:i] + left[i + 1 : j] + left[j + 1 :]
        for operator in OPERATORS:
            result = combine(large, operator, small)
            if result is not None:
                found.setdefault(f"{large} {operator} {small}", tuple(sorted((*rest, result))))
        if small == 0 < large:
            found.setdefault(f"0 / {large}", tuple(sorted((*rest, 0))))
    return tuple(Move(text, after) for text, after in found.items())


@lru_cache(maxsize=500_000)
def reachable(left: tuple[int, ...], target: int) -> bool:
    """Return whether ascending numbers can reach `target`, all of them used."""
    if len(left) <= _LISTED:
        return target in _values(left)
    return any(
        (value == 0 and target == 0)
        or any(reachable(large, other) for other in _partners(value, target))
        for small, large in _splits(left)
        for value in _values(small)
    )


@lru_cache(maxsize=100_000)
def _values(left: tuple[int, ...]) -> frozenset[int]:
    if len(left) == 1:
        return frozenset(left)
    return frozenset().union(*(_values(move.left) for move in moves(left)))


def _splits(left: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield every split of the numbers into two groups, the first not larger than the second."""
    positions = range(len(left))
    for size in range(1, len(left) // 2 + 1):
        for chosen in combinations(positions, size):
            yield (
                tuple(left[i] for i in chosen),
                tuple(left[i] for i in positions if i not in chosen),
            )


def _partners(value: int, target: int) -> set[int]:
    """Return every number that one operation with `value`, on either side, turns into `target`."""
    found = {target + value, target * value} if value else {target}
    if target >= value:
        found.add(target - value)
    if value >= target:
        found.add(value - target)
    if value and target % value == 0:
        found.add(target // value)
    if value and target and value % target == 0:
        found.add(value // target)
    return found

r"""Sets of integers that conditions describe: `n \equiv 1 \pmod 3`, `n \text{ even}, n > 2`, `n \ne 5`.

Beyond its greatest bound such a set repeats with the least common multiple of its moduli, so that finitely many integers
decide whether two of them are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from stepgym.envs.maths import relations
from stepgym.envs.maths.effort import spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.polynomials import coefficients
from stepgym.envs.maths.tree import Node, symbols

MAX_PERIOD = 5_000
MAX_BOUND = 5_000
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}
_HOLDS: dict[str, Callable[[int, Fraction], bool]] = {
    "<": lambda n, bound: n < bound,
    ">": lambda n, bound: n > bound,
    "<=": lambda n, bound: n <= bound,
    ">=": lambda n, bound: n >= bound,
    "=": lambda n, bound: n == bound,
    "!=": lambda n, bound: n != bound,
}


class NotIntegerSet(Exception):
    """Not a condition on integers that is read here."""


@dataclass(frozen=True)
class IntegerSet:
    """A set of integers that repeats beyond a bound."""

    name: str
    """The letter that the condition is about."""
    period: int
    """After how many integers the set repeats; 1 if no divisibility is said."""
    bound: int
    """Beyond it in both directions the set repeats."""
    holds: Callable[[int], bool]
    """Whether an integer is in the set."""


def read(node: Node) -> IntegerSet:
    """Read a condition on one letter; raises `NotIntegerSet`."""
    kind = node[0] if isinstance(node, tuple) else ""
    if kind == "list":
        return _joined(node)
    divisible = relations.divisibility(node)
    if divisible is not None:
        return _multiples(divisible)
    if kind == "rel":
        return _compared(node)
    raise NotIntegerSet


def _joined(node: Any) -> IntegerSet:
    joint, items = node[1:]
    if joint == "," and (residues := _residues(items)):
        joint, items = "or", residues
    if joint not in ("and", "or"):
        raise NotIntegerSet
    parts = [read(item) for item in _with_modulus(items)]
    return union(parts) if joint == "or" else _of(parts, all)


def _with_modulus(items: Any) -> Any:
    """`n = 1, 2 (mod 3)` in a row of cases is one condition."""
    residues = _residues(items)
    return (("list", "or", residues),) if residues else items


def _residues(items: Any) -> tuple[Node, ...]:
    """The congruences that `n = 1, 2, 4 (mod 7)` is short for; none if it is something else."""
    first, *between, last = items if len(items) > 1 else (None, None)
    if not (isinstance(first, tuple) and first[0] == "rel" and first[1] in (("===",), ("=",))):
        return ()
    if not (isinstance(last, tuple) and last[0] == "mod" and not symbols(last)):
        return ()
    if any(isinstance(value, tuple) and value[0] in ("rel", "mod", "list") for value in between):
        return ()
    name = first[2][0]
    values = (first[2][1], *between, last[1])
    return tuple(("mod", ("rel", ("===",), (name, value)), last[2]) for value in values)


def union(parts: list[IntegerSet]) -> IntegerSet:
    """The integers in any of the sets, which must be about one letter."""
    return _of(parts, any)


def _of(parts: list[IntegerSet], joined: Callable[[Any], bool]) -> IntegerSet:
    if len({part.name for part in parts}) != 1:
        raise NotIntegerSet
    period = math.lcm(*(part.period for part in parts))
    if period > MAX_PERIOD:
        raise NotIntegerSet
    bound = max(part.bound for part in parts)
    return IntegerSet(
        parts[0].name, period, bound, lambda n: joined(part.holds(n) for part in parts)
    )


def _multiples(said: relations.Divisibility) -> IntegerSet:
    names = symbols(said.dividend)
    try:
        modulus = abs(Fraction(exact(said.modulus)))
    except NotRational:
        raise NotIntegerSet from None
    found = coefficients(said.dividend, next(iter(names))) if len(names) == 1 else None
    if (
        found is None
        or modulus.denominator != 1
        or not 0 < modulus <= MAX_PERIOD
        or any(c.denominator != 1 for c in found)
    ):
        raise NotIntegerSet
    size, terms = int(modulus), [int(c) for c in found]

    def holds(n: int) -> bool:
        value = 0
        for term in reversed(terms):
            value = value * n + term
        return (value % size == 0) == said.holds

    return IntegerSet(names.pop(), size, 0, holds)


def _compared(node: Any) -> IntegerSet:
    parts = []
    for operator, left, right in zip(node[1], node[2], node[2][1:]):
        if operator in ("in", "notin") and right == ("k", "Z") and _is_letter(left):
            parts.append(IntegerSet(left[1], 1, 0, lambda n, op=operator: op == "in"))  # type: ignore[misc]
            continue
        if operator not in _HOLDS:
            raise NotIntegerSet
        if _is_letter(right):
            operator, left, right = _FLIP[operator], right, left
        if not _is_letter(left):
            raise NotIntegerSet
        try:
            value = Fraction(exact(right))
        except NotRational:
            raise NotIntegerSet from None
        if abs(value) > MAX_BOUND:
            raise NotIntegerSet
        parts.append(
            IntegerSet(left[1], 1, math.ceil(abs(value)), _comparison(_HOLDS[operator], value))
        )
    return _of(parts, all)


def _comparison(compare: Callable[[int, Fraction], bool], value: Fraction) -> Callable[[int], bool]:
    return lambda n: compare(n, value)


def _is_letter(node: Any) -> bool:
    return isinstance(node, tuple) and node[0] == "v"


def equal(a: IntegerSet, b: IntegerSet) -> bool | None:
    """Whether two sets are equal; `None` if only integers below some positive one tell them apart.

    The question may rule such integers out, as it does where a letter counts something.
    """
    differing = _integers_in(a, b, lambda x, y: x != y)
    return None if differing is None else (True if not differing else _if_early(a, b, differing))


def overlap(a: IntegerSet, b: IntegerSet) -> bool | None:
    """Whether two sets share arbitrarily great integers; `None` if that is not computed."""
    shared = _integers_in(a, b, lambda x, y: x and y)
    return None if shared is None else max(shared, default=0) > max(a.bound, b.bound)


def _if_early(a: IntegerSet, b: IntegerSet, differing: list[int]) -> bool | None:
    return False if max(differing) > max(a.bound, b.bound) else None


def _integers_in(
    a: IntegerSet, b: IntegerSet, pair: Callable[[bool, bool], bool]
) -> list[int] | None:
    period, bound = math.lcm(a.period, b.period), max(a.bound, b.bound)
    if a.name != b.name or period > MAX_PERIOD:
        return None
    spend(2 * (period + bound))
    return [n for n in range(-bound - period, bound + period + 1) if pair(a.holds(n), b.holds(n))]

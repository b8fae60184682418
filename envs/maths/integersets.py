r"""Sets of integers that conditions describe: `n \equiv 1 \pmod 3`, `n \text{ even}, n > 2`, `n \ne 5`.

So do sets that are written as such: `\mathbb{Z} \cap [1, 5]`, `\{n \in \mathbb{N} : n < 4\}`, `\{1, 2, 3\}`.

Beyond its greatest bound such a set repeats with the least common multiple of its moduli, so that finitely many integers
decide whether two of them are equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

from stepgym.envs.maths import relations
from stepgym.envs.maths.effort import spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.polynomials import coefficients
from stepgym.envs.maths.tree import INF, MINUS_INF, Node, symbols

MAX_PERIOD = 5_000
MAX_BOUND = 5_000
_NUMBERS = {"Z": None, "N": None, "N+": 1, "Z+": 1, "N*": 1}
"""Sets of numbers and their least members; `None` if there is none, or if it may be 0 or 1."""
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


def same_members(a: Node, b: Node) -> bool | None:
    """Whether two sets hold the same integers; `None` if that depends on whether 0 is a natural number.

    Raises `NotIntegerSet` if a set may hold other things.
    """
    found = set()
    for least in (0, 1):
        sets = _members(a, least), _members(b, least)
        if not (sets[0].whole and sets[1].whole):
            raise NotIntegerSet
        differing = _integers_in(sets[0].integers, sets[1].integers, lambda x, y: x != y)
        found.add(None if differing is None else not differing)
    return found.pop() if len(found) == 1 else None


class _Members(NamedTuple):
    integers: IntegerSet
    whole: bool
    """Whether all members are integers."""


def _members(node: Any, least: int) -> _Members:
    """Read a set, in which the natural numbers begin at `least`."""
    kind = node[0] if isinstance(node, tuple) else ""
    if kind == "k" and node[1] in _NUMBERS:
        first = least if node[1] == "N" else _NUMBERS[node[1]]
        return _Members(_between(first, None), True)
    if kind == "k" and node[1] == "R":
        return _Members(_between(None, None), False)
    if kind == "set":
        return _Members(*_listed(node[1]))
    if kind == "group" and len(node[3]) == 2:
        low, high = (_bound(end) for end in node[3])
        return _Members(
            _between(
                None if low is None else math.ceil(low) + (node[1] == "(" and low == int(low)),
                None if high is None else math.floor(high) - (node[2] == ")" and high == int(high)),
            ),
            False,
        )
    if kind in ("cup", "cap", "setminus"):
        return _operated(kind, _members(node[1], least), _members(node[2], least))
    if kind == "where_set":
        return _built(node[1], node[2], least)
    raise NotIntegerSet


def _operated(operator: str, a: _Members, b: _Members) -> _Members:
    if operator == "cup":
        return _Members(_of([a.integers, b.integers], any), a.whole and b.whole)
    if operator == "cap":
        return _Members(_of([a.integers, b.integers], all), a.whole or b.whole)
    outside = replace(b.integers, holds=lambda n: not b.integers.holds(n))
    return _Members(_of([a.integers, outside], all), a.whole)


def _built(element: Any, conditions: Any, least: int) -> _Members:
    """Set-builder notation, with conditions on the element."""
    if isinstance(element, tuple) and element[0] == "rel":
        element, conditions = element[2][0], (element, *conditions)
    if not _is_letter(element):
        return _Members(_progression(element, conditions), True)
    result = _Members(_between(None, None), False)
    for condition in _each(conditions):
        if condition[0] == "rel" and condition[1] == ("in",) and condition[2][0] == element:
            part = _members(condition[2][1], least)
        else:
            integers = read(condition)
            if integers.name != element[1]:
                raise NotIntegerSet
            part = _Members(replace(integers, name=""), False)
        result = _operated("cap", result, part)
    return result


def _progression(element: Any, conditions: Any) -> IntegerSet:
    """`\\{3k + 1 : k \\in \\mathbb{Z}\\}`."""
    name = next(iter(symbols(element)), "")
    found = coefficients(element, name)
    domain = ("rel", ("in",), (("v", name), ("k", "Z")))
    if conditions != (domain,) or found is None or len(found) != 2:
        raise NotIntegerSet
    first, step = found
    if not first.denominator == step.denominator == 1 or abs(step) > MAX_PERIOD:
        raise NotIntegerSet
    return IntegerSet("", abs(int(step)), 0, lambda n: (n - first) % step == 0)


def _each(conditions: Any) -> list[Any]:
    """The conditions of a set one by one."""
    found: list[Any] = []
    for condition in conditions:
        if not isinstance(condition, tuple):
            raise NotIntegerSet
        joined = condition[0] == "list" and condition[1] in (",", "and")
        found += _each(condition[2]) if joined else [condition]
    return found


def _listed(items: Any) -> tuple[IntegerSet, bool]:
    values = [_bound(item) for item in items]
    if any(value is None for value in values):
        raise NotIntegerSet
    integers = frozenset(
        int(value) for value in values if value is not None and value == int(value)
    )
    bound = max(map(abs, integers), default=0)
    return IntegerSet("", 1, bound, lambda n: n in integers), len(set(values)) == len(integers)


def _between(low: int | None, high: int | None) -> IntegerSet:
    bound = max(abs(low or 0), abs(high or 0))
    return IntegerSet(
        "", 1, bound, lambda n: (low is None or n >= low) and (high is None or n <= high)
    )


def _bound(node: Node) -> Fraction | None:
    """An end of an interval; `None` for the infinities."""
    if node in (INF, MINUS_INF, ("+", INF)):
        return None
    try:
        value = Fraction(exact(node))
    except NotRational:
        raise NotIntegerSet from None
    if abs(value) > MAX_BOUND:
        raise NotIntegerSet
    return value


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

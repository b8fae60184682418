"""Scalars with what clings to them: units, percent signs, degrees, and how precisely a decimal was given."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from stepgym.envs.maths.digits import last_place, significant_digits
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node
from stepgym.envs.maths.units import UNITLESS, Unit, multiply, read_unit

MIN_ROUNDED_DIGITS = 3
"""An exact answer may round to a decimal reference of at least so many significant digits."""
MIN_DECIMAL_DIGITS = 6
"""Two decimals of different length agree when the shorter has at least so many digits and the longer rounds to it."""
DOUBLE_DIGITS = (16, 17)
"""A decimal of so many digits may be a double: it passes within `DOUBLE_ERROR` of the exact value."""
DOUBLE_ERROR = Fraction(1, 2**51)
MIN_FLOAT_DIGITS = 12
"""A decimal of at least so many digits is a computed value: it passes for the exact reference that rounds to it."""


class Quantity(NamedTuple):
    """`value` without its unit; `unit` is `None` where none was written; `percent` and `degrees` are signs."""

    value: Node
    unit: Unit | None
    percent: bool
    degrees: bool


def split(node: Node) -> Quantity:
    """Part a value from the unit factors around it."""
    if not isinstance(node, tuple):
        return Quantity(node, None, False, False)
    kind = node[0]
    if kind == "unit":
        return Quantity(1, read_unit(node[1]), False, False)
    if kind == "%":
        return Quantity(1, None, True, False)
    if kind == "deg":
        return Quantity(1, None, False, True)
    if kind == "-":
        inner = split(node[1])
        return (
            inner._replace(value=("-", inner.value))
            if inner.value is not node[1]
            else Quantity(node, None, False, False)
        )
    if kind == "*":
        return _product(node)
    if kind == "/":
        top, bottom = split(node[1]), split(node[2])
        if bottom.unit is None and top == (node[1], None, False, False):
            return Quantity(node, None, False, False)
        unit = multiply(top.unit or UNITLESS, bottom.unit or UNITLESS, -1)
        value: Node = top.value if bottom.value == 1 else ("/", top.value, bottom.value)
        return Quantity(value, unit if top.unit or bottom.unit else None, top.percent, top.degrees)
    if (
        kind == "^"
        and isinstance(node[1], tuple)
        and node[1][0] == "unit"
        and (power := _small_power(node[2]))
    ):
        return Quantity(1, read_unit(f"{node[1][1]}^{power}"), False, False)
    if (
        kind == "^"
        and isinstance(node[1], tuple)
        and node[1][0] == "*"
        and _ends_in_unit(node[1])
        and isinstance(node[2], int)
        and abs(node[2]) < 10
    ):
        inner = split(("*", *node[1][1:-1], ("^", node[1][-1], node[2])))
        return inner
    if kind == "+" and all(isinstance(t, (int, tuple)) for t in node[1:]):
        return _mixed_units(node)
    return Quantity(node, None, False, False)


def _is_unit(node: Node) -> bool:
    return isinstance(node, tuple) and node[0] == "unit"


def _ends_in_unit(node: tuple[object, ...]) -> bool:
    return isinstance(node[-1], tuple) and node[-1][0] == "unit"


def _product(node: tuple[Node, ...]) -> Quantity:
    if len(node) == 5 and _is_unit(node[2]) and _is_unit(node[4]):
        steps: list[Node] = [("*", *node[1:3]), ("*", *node[3:5])]
        if are_steps(steps):  # 3 h 20 min
            return _mixed_units(("+", *steps))
    values: list[Node] = []
    unit: Unit | None = None
    percent = degrees = False
    for factor in node[1:]:
        if isinstance(factor, tuple) and factor[0] in ("unit", "%", "deg", "^", "/", "*"):
            part = split(factor)
            if part.unit is not None:
                unit = multiply(unit or UNITLESS, part.unit)
            percent |= part.percent
            degrees |= part.degrees
            if part.value != 1 or (part.unit is None and not part.percent and not part.degrees):
                values.append(part.value)
        else:
            values.append(factor)
    if unit is None and not percent and not degrees:
        return Quantity(node, None, False, False)
    value: Node = 1 if not values else values[0] if len(values) == 1 else ("*", *values)
    return Quantity(value, unit, percent, degrees)


def _small_power(node: Node) -> int:
    """A whole exponent of a unit, or 0."""
    if isinstance(node, tuple) and node[0] == "-" and isinstance(node[1], int):
        return -node[1] if node[1] < 10 else 0
    return node if isinstance(node, int) and abs(node) < 10 else 0


def are_steps(nodes: Sequence[Node]) -> bool:
    """Whether these are one quantity in ever smaller units: 3 hours, 20 minutes."""
    if not all(isinstance(node, tuple) and node[0] == "*" for node in nodes):
        return False
    units = [split(node).unit for node in nodes]
    return all(
        x is not None
        and y is not None
        and x.dimensions == y.dimensions
        and x.dimensions
        and x.factor > y.factor
        for x, y in pairwise(units)
    )


def _mixed_units(node: tuple[Any, ...]) -> Quantity:
    """A sum whose every term has a unit of one dimension: `5 ft + 3 in`."""
    parts = [split(term) for term in node[1:]]
    units = [part.unit for part in parts]
    first = units[0]
    if first is None or any(u is None or u.dimensions != first.dimensions for u in units):
        return Quantity(node, None, False, False)
    terms = tuple(
        ("*", u.factor / first.factor, p.value) for u, p in zip(units, parts) if u is not None
    )
    return Quantity(("+", *terms), first, False, False)


class Written(NamedTuple):
    """A decimal as written: its value, one unit in its last place, its significant digits."""

    value: Fraction
    place: Fraction
    digits: int


def written(node: Node) -> Written | None:
    """Read `3.14`, `-3.14` and `3.14 * 10^5`; `None` where this is no decimal."""
    if not isinstance(node, tuple):
        return None
    if node[0] == "dec":
        return Written(node[1], last_place(node[2]), significant_digits(node[2]))
    if node[0] == "-":
        inner = written(node[1])
        return inner._replace(value=-inner.value) if inner else None
    if node[0] == "/" and node[2] == 100:  # a percentage
        inner = written(node[1])
        return Written(inner.value / 100, inner.place / 100, inner.digits) if inner else None
    if node[0] == "*" and len(node) == 3:
        inner = written(node[1])
        scale = node[2]
        if inner and isinstance(scale, tuple) and scale[0] == "^" and scale[1] == 10:
            try:
                power = exact(scale)
            except NotRational:
                return None
            return Written(inner.value * power, inner.place * power, inner.digits)
    return None


def whole(node: Node) -> Written | None:
    """Read a whole number as one without decimal places."""
    if type(node) is not int:
        return None
    return Written(Fraction(node), Fraction(1), len(str(abs(node))) if abs(node) < 10**15 else 16)


def terminates(value: Fraction) -> bool:
    """Whether a fraction has a finite decimal expansion."""
    bottom = value.denominator
    if bottom.bit_length() > 20_000:
        return True
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1

"""Linear expressions and equations read exactly: `3(x + 2) - y/4 = 7`. Never raises; what it cannot read is `None`.

For the steps of school algebra, where each line can be checked against the solution. Products of unknowns, powers
and functions are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from stepgym.envs.expressions import MAX_DIGITS, MAX_LENGTH, plain_operators

_TOKEN = re.compile(r"\s*(?:([0-9]+(?:\.[0-9]+)?)|([a-z])|([-+*/()]))")
_FRACTION = re.compile(r"\\d?frac\{([^{}]*)\}\{([^{}]*)\}")
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "times": 4}
"""`times` is the product that is not written, which binds closest: `1/2x` is one over 2x; `(1/2)x` is half of x."""


@dataclass(frozen=True)
class Linear:
    """`constant + sum of coefficient * unknown`; unknowns with coefficient 0 are left out."""

    constant: Fraction
    coefficients: Mapping[str, Fraction] = field(default_factory=dict)

    def at(self, values: Mapping[str, Fraction]) -> Fraction | None:
        """Return the value; `None` if an unknown has none."""
        if any(name not in values for name in self.coefficients):
            return None
        return self.constant + sum(
            (c * values[n] for n, c in self.coefficients.items()), Fraction(0)
        )

    def plus(self, other: Linear, sign: int = 1) -> Linear:
        names = {*self.coefficients, *other.coefficients}
        mixed = {
            n: self.coefficients.get(n, Fraction(0)) + sign * other.coefficients.get(n, Fraction(0))
            for n in names
        }
        return Linear(self.constant + sign * other.constant, {n: c for n, c in mixed.items() if c})

    def times(self, factor: Fraction) -> Linear:
        kept = {n: c * factor for n, c in self.coefficients.items() if factor}
        return Linear(self.constant * factor, kept)


def read_linear(text: str) -> Linear | None:
    """Read one side of an equation."""
    tokens = _tokens(text) if len(text) <= MAX_LENGTH else None
    if not tokens:
        return None
    values: list[Linear] = []
    operators: list[str] = []
    wants_value = True
    for token in tokens:
        starts = token == "(" or token[0].isalnum()
        if starts and not wants_value:
            if not _push(values, operators, "times"):
                return None
            wants_value = True
        if token == "(":
            operators.append(token)
        elif starts:
            values.append(_atom(token))
            wants_value = False
        elif token == ")" and not wants_value:
            if not _close(values, operators):
                return None
        elif token == "-" and wants_value:
            operators.append("neg")
        elif token in _BINDS and not wants_value:
            if not _push(values, operators, token):
                return None
            wants_value = True
        else:
            return None
    if wants_value:
        return None
    while operators:
        if operators[-1] == "(" or not _apply(values, operators.pop()):
            return None
    return values[0]


def read_sides(line: str) -> list[Linear] | None:
    """Read `A = B` or a chain `A = B = C`; `None` when it is no equation or a side cannot be read."""
    parts = line.split("=")
    if len(parts) < 2:
        return None
    sides = [read_linear(part) for part in parts]
    read = [side for side in sides if side is not None]
    return read if len(read) == len(sides) else None


def _tokens(text: str) -> list[str] | None:
    text = _FRACTION.sub(r"((\1)/(\2))", plain_operators(text)).strip().strip("$").strip()
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(match.group(1) or "") > MAX_DIGITS:
            return None
        found.append(match.group(match.lastindex or 0))
        at = match.end()
    return found


def _atom(token: str) -> Linear:
    return Linear(Fraction(0), {token: Fraction(1)}) if token.isalpha() else Linear(Fraction(token))


def _push(values: list[Linear], operators: list[str], operator: str) -> bool:
    while operators and operators[-1] != "(" and _BINDS[operators[-1]] >= _BINDS[operator]:
        if not _apply(values, operators.pop()):
            return False
    operators.append(operator)
    return True


def _close(values: list[Linear], operators: list[str]) -> bool:
    while operators and operators[-1] != "(":
        if not _apply(values, operators.pop()):
            return False
    if not operators:
        return False
    operators.pop()
    return True


def _apply(values: list[Linear], operator: str) -> bool:
    """Apply an operator to the top of the stack; false if the result is not linear or divides by zero."""
    right = values.pop()
    if operator == "neg":
        values.append(right.times(Fraction(-1)))
        return True
    left = values.pop()
    if operator in ("+", "-"):
        values.append(left.plus(right, 1 if operator == "+" else -1))
    elif operator == "/":
        if right.coefficients or right.constant == 0:
            return False
        values.append(left.times(1 / right.constant))
    elif not right.coefficients:
        values.append(left.times(right.constant))
    elif not left.coefficients:
        values.append(right.times(left.constant))
    else:
        return False
    return True

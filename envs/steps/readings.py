"""Other readings under which an equation between numbers may hold: modulo a number, or in another base.

A false equation is no proof if the text counts modulo something or in a base and the equation holds that way. It stays a
proof if it holds in no such reading.
"""

from __future__ import annotations

from collections.abc import Collection
from fractions import Fraction
from itertools import product
from typing import Any

from stepgym.envs.maths.effort import TooMuchWork
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node
from stepgym.envs.steps.formulas import relation_of

MAX_BASE = 36


def may_hold_modulo(text: str, moduli: Collection[int]) -> bool:
    """Say whether an equation may hold modulo one of some numbers; without a number, or if it cannot be read, it may."""
    sides = _sides(text)
    if sides is None or not moduli:
        return True
    values = [_value(side) for side in sides]
    if values[0] is None or values[1] is None:
        return True
    gap = values[0] - values[1]
    return any(gap.numerator % modulus == 0 for modulus in moduli)


def may_hold_in_base(text: str) -> bool:
    """Say whether an equation may hold if one side or both are written in some base; exponents may stay decimal."""
    sides = _sides(text)
    if sides is None:
        return True
    plain = [_value(side) for side in sides]
    if None in plain:
        return True
    for base, exponents in product(range(2, MAX_BASE + 1), (False, True)):
        read = [
            {value, _value(_in_base(side, base, exponents))} for side, value in zip(sides, plain)
        ]
        if (read[0] & read[1]) - {None}:
            return True
    return False


def _sides(text: str) -> tuple[Node, Node] | None:
    relation = relation_of(text)
    if relation is None or set(relation.operators) - {"=", "~"}:
        return None
    first, last = relation.sides[0].node, relation.sides[-1].node
    return None if first is None or last is None else (first, last)


def _value(node: Node | None) -> Fraction | None:
    try:
        return None if node is None else Fraction(exact(node))
    except (NotRational, TooMuchWork, RecursionError, ArithmeticError):
        return None


def _in_base(node: Any, base: int, exponents: bool) -> Any:
    """Read the numbers of a node as digits in a base; `None` if one has a digit that the base lacks."""
    if isinstance(node, int):
        digits = str(node)
        return int(digits, base) if int(max(digits)) < base else None
    if not isinstance(node, tuple):
        return node
    if node[0] == "dec":
        whole, _, part = str(node[2]).partition(".")
        number = _in_base(int(whole + part), base, exponents)
        return None if number is None else ("/", number, base ** len(part))
    if node[0] == "^" and not exponents:
        inner = _in_base(node[1], base, exponents)
        return None if inner is None else ("^", inner, node[2])
    parts = [part if isinstance(part, str) else _in_base(part, base, exponents) for part in node]
    return None if None in parts else tuple(parts)

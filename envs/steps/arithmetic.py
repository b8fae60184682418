"""Decides equations between sides that hold numbers only, and names that are given a value twice.

Two sides must be equal up to the rounding that their decimals show. UNDECIDED if a change of units or an earlier
rounding may explain the difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.notebook import Definition, Notebook
from stepgym.envs.steps.quantities import Quantity
from stepgym.envs.steps.statements import Side
from stepgym.envs.steps.values import may_convert, measures
from stepgym.envs.types import Status

_LESS = re.compile(
    r"\b(?:less|fewer|lower|shorter|cheaper|short|down|below|behind|loss|difference)\b"
)


_NAMED = re.compile(r"\bwhere\b|\blet\b", re.I)
"""Words that make a letter the name of an expression."""


def closed_equations(
    step: str, sides: Sequence[Side], relations: Sequence[str], notebook: Notebook
) -> Iterator[Claim]:
    """Yield a claim for each pair of neighbours that can be compared; note what names are set to."""
    for i, relation in enumerate(relations):
        left, right = sides[i], sides[i + 1]
        if relation in ("<", ">", "<=", ">="):
            yield from _ordered(step, left, right, relation)
        if relation not in ("=", "~") or right.as_right is None:
            continue
        if left.name:
            yield from _defined(step, left, sides[i + 1 :], notebook)
        elif left.as_left is not None:
            alone = i == 0 and left.as_left.operations == 0
            change = right.as_right.operations == 0 or left.as_left.unit or right.as_right.percent
            if alone and change:
                continue  # `5 quarters = 5 * 25`: a change of units, or an assumption
            claim = _compared(step, left, right, approximate=relation == "~", given=notebook.given)
            if claim.status is Status.INCORRECT and _is_unsigned(step, left, right):
                claim = replace(claim, status=Status.UNDECIDED, reason="")
            yield claim


def _ordered(step: str, left: Side, right: Side, relation: str) -> Iterator[Claim]:
    """Decide an inequality between two numbers without units."""
    a, b = left.as_left, right.as_right
    if a is None or b is None or a.units | b.units or len(a.values) > 1 or len(b.values) > 1:
        return
    x, y = min(a.values), min(b.values)
    holds = (
        x < y
        if relation == "<"
        else x > y
        if relation == ">"
        else x <= y
        if relation == "<="
        else x >= y
    )
    yield Claim(
        kind=Kind.INEQUALITY,
        start=left.start,
        end=right.end,
        text=step[left.start : right.end],
        status=Status.CORRECT if holds else Status.INCORRECT,
        reason="" if holds else f"{shown(x)} is not {relation} {shown(y)}",
    )


def _is_unsigned(step: str, left: Side, right: Side) -> bool:
    """Say whether a step leaves out a minus sign because words give the direction: `80 - 100 = 20 less`."""
    assert left.as_left is not None and right.as_right is not None
    opposite = {-value for value in left.as_left.values} & right.as_right.values
    return bool(opposite) and _LESS.search(step, right.start, right.end + 20) is not None


def _defined(step: str, left: Side, sides: Sequence[Side], notebook: Notebook) -> Iterator[Claim]:
    """Compare a letter or a named quantity with the value that it was given before, and note the new one.

    A letter that names an expression (`A - B, where A = 2 * 3`) is not computed to two values; other letters are set anew
    for another case or another figure. A named quantity keeps its value within a step.
    """
    right = sides[0]
    assert right.as_right is not None
    table = notebook.letters if len(left.name) == 1 else notebook.names
    before = table.get(left.name)
    here = before is not None and before.step == notebook.step
    both_computed = before is not None and before.given.operations and right.as_right.operations
    if before is not None and (before.named and both_computed if len(left.name) == 1 else here):
        equal = _equal(before.given, right.as_right, approximate=False, step=step)
        if equal is not None:
            yield Claim(
                kind=Kind.DEFINITION,
                start=left.start,
                end=right.end,
                text=step[left.start : right.end],
                status=Status.CORRECT if equal else Status.INCORRECT,
                reason="" if equal else f"{left.name} was {shown(min(before.given.values))} before",
            )
    value = right.as_right
    for side in sides:
        if side.as_right is not None:
            value = side.as_right
        if side.as_right is None or side.as_left is not side.as_right:
            break
    if len(value.values) == 1:
        table[left.name] = Definition(
            right.as_right,
            min(value.values),
            notebook.step,
            named=_NAMED.search(step, max(0, left.start - 200), left.start) is not None,
        )


def _compared(
    step: str, left: Side, right: Side, *, approximate: bool, given: frozenset[Fraction]
) -> Claim:
    assert left.as_left is not None and right.as_right is not None
    equal = _equal(left.as_left, right.as_right, approximate=approximate, given=given, step=step)
    reason = ""
    text = step[left.start : right.end]
    if equal is False and _may_mix_units(text, left.as_left, right.as_right):
        equal = None
    if equal is False:
        reason = (
            f"{step[left.start : left.end].strip()} is {shown(min(left.as_left.values))}, "
            f"not {step[right.start : right.end].strip()}"
        )
    return Claim(
        kind=Kind.ARITHMETIC,
        start=left.start,
        end=right.end,
        text=text,
        status={True: Status.CORRECT, False: Status.INCORRECT, None: Status.UNDECIDED}[equal],
        reason=reason,
    )


def _may_mix_units(text: str, a: Quantity, b: Quantity) -> bool:
    """Say whether units explain a difference: a sum of two units, things that hold a whole number of others, cents.

    `2 hours + 30 minutes = 150 minutes`, `2 * 3 reams = 3000 sheets`, `75 + 25 = $1`
    """
    summed = [side for side in (a, b) if side.operations and len(measures(side.units)) > 1]
    if summed and re.search("[-+]", text):
        return True
    ratios = {max(x / y, y / x, key=abs) for x in a.values for y in b.values if x and y}
    if a.units and b.units and a.units.isdisjoint(b.units):
        return any(ratio.denominator == 1 for ratio in ratios)
    left, _, right = text.partition("=")
    return 100 in ratios and ("$" in left) != ("$" in right)


def _equal(
    a: Quantity,
    b: Quantity,
    *,
    approximate: bool,
    step: str,
    given: frozenset[Fraction] = frozenset(),
) -> bool | None:
    """Say whether two sides can be the same number; `None` if rounding or a change of units may explain it."""
    if a.values & b.values:
        return True
    near = min(abs(x - y) for x in a.values for y in b.values)
    size = max(_size(a), _size(b))
    if near * 10**9 <= size:
        return True  # a floating-point number
    for single, other in ((a, b), (b, a)):
        if single.decimals is not None and other.operations:
            unit = Fraction(1, 10**single.decimals)
            if 2 * near < unit or (2 * near == unit and _size(single) > _size(other)):
                return True  # rounded, a half away from zero
            if near < unit:
                return None  # cut off
    if approximate:
        return True if near * 20 <= size else None
    operands = frozenset[Fraction]().union(*(side.rounded for side in (a, b) if side.operations))
    if operands - given and near * 200 <= size:
        return None
    measured = [measures(side.units) for side in (a, b)]
    if all(measured) and not measured[0] & measured[1]:
        return None
    units = f"{a.unit} {b.unit}".split()
    if any(may_convert(x, y, units, step) for x in a.values for y in b.values):
        return None
    return False


_LARGE = 10**30
"""From here on, a number is shown with an exponent: Python refuses to write some of these numbers out."""


def _size(side: Quantity) -> Fraction:
    return max(map(abs, side.values))


def shown(value: Fraction) -> str:
    """Return a number as a reason shows it: whole, or with six digits."""
    if abs(value) >= _LARGE:
        return f"{Decimal(value.numerator) / value.denominator:.6g}"
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6g}"

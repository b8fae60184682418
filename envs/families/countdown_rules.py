"""The rules of Countdown on plain numbers: read a step, play it, undo it, write many steps as one expression."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from stepgym.envs.expressions import plain_operators
from stepgym.envs.families.countdown_solver import OPERATORS, combine, without
from stepgym.envs.tokens import visible_text

_STEP = re.compile(r"\s*([0-9]{1,18})\s*([-+*/])\s*([0-9]{1,18})\s*(?:=\s*([0-9]{1,36})\s*)?")


class Operation(NamedTuple):
    """A parsed step: `a operator b`, and the result if the step states one."""

    a: int
    operator: str
    b: int
    stated: int | None


def read_step(text: str) -> Operation | None:
    """Read the visible text of a step; `None` when it is not of the form `a op b` or `a op b = c`."""
    match = _STEP.fullmatch(plain_operators(visible_text(text)))
    if match is None:
        return None
    a, operator, b, stated = match.groups()
    return Operation(int(a), operator, int(b), int(stated) if stated else None)


def play(left: tuple[int, ...], text: str) -> tuple[int, ...] | str:
    """Return the numbers left after a step, or the reason why it is illegal."""
    operation = read_step(text)
    if operation is None:
        return f"not a step of the form `a op b` with op one of {' '.join(OPERATORS)}"
    a, operator, b, stated = operation
    rest = without(left, a, b)
    if rest is None:
        return f"{a} and {b} are not both among the numbers left: {', '.join(map(str, left))}"
    result = combine(a, operator, b)
    if result is None:
        return f"{a} {operator} {b} is not a whole number of 0 or more"
    if stated is not None and stated != result:
        return f"{a} {operator} {b} is not {stated}"
    return tuple(sorted((*rest, result)))


def expression(numbers: Sequence[int], steps: Sequence[str]) -> str:
    """Return the expression that legal steps build, without outer parentheses."""
    parts: list[tuple[int, str]] = [(number, str(number)) for number in numbers]
    for text in steps:
        operation = read_step(text)
        assert operation is not None, f"{text!r} is no step"
        (left, left_text), (right, right_text) = (
            _take(parts, value) for value in (operation.a, operation.b)
        )
        value = combine(left, operation.operator, right)
        assert value is not None, f"{text!r} is no legal step"
        parts.append((value, f"({left_text} {operation.operator} {right_text})"))
    text = parts[-1][1]
    return text[1:-1] if text.startswith("(") else text


def originals(left: Sequence[int], steps: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers that a game began with, by undoing its legal steps."""
    numbers = Counter(left)
    for text in reversed(steps):
        operation = read_step(text)
        assert operation is not None, f"{text!r} is no step"
        result = combine(operation.a, operation.operator, operation.b)
        assert result is not None, f"{text!r} is no legal step"
        numbers[result] -= 1
        numbers.update((operation.a, operation.b))
    return tuple(sorted(numbers.elements()))


def _take(parts: list[tuple[int, str]], value: int) -> tuple[int, str]:
    return parts.pop(next(i for i, part in enumerate(parts) if part[0] == value))

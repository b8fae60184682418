"""Exact values of arithmetic expressions over whole numbers: `+ - * /` and parentheses.

The parser uses two stacks, because `eval` would run whatever a model wrote and a recursive parser could overflow the stack.
It never raises: text that is no expression has no value.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_LENGTH = 2_000
MAX_DIGITS = 18
"""Most digits of one number; longer ones are rejected."""

_SPELLINGS = {
    "×": "*",
    "·": "*",
    "⋅": "*",
    "÷": "/",
    "−": "-",
    "–": "-",
    "\\times": "*",
    "\\cdot": "*",
    "\\div": "/",
}
_SPELLED = re.compile("|".join(map(re.escape, _SPELLINGS)))
_TOKEN = re.compile(r"\s*(?:([0-9]+)|([-+*/()]))")
_BINDS = {"+": 1, "-": 1, "*": 2, "/": 2}


class Expression(NamedTuple):
    """The exact value of an expression and the numbers it is written with, in order."""

    value: Fraction
    numbers: tuple[int, ...]


def plain_operators(text: str) -> str:
    """Return the text with other spellings of the four operations replaced by `+ - * /`."""
    if not _SPELLED.search(text):
        return text
    for spelling, operator in _SPELLINGS.items():
        text = text.replace(spelling, operator)
    return text


def evaluate(text: str) -> Expression | None:
    """Return value and numbers of an expression; `None` if the text is no expression or divides by zero."""
    if len(text) > MAX_LENGTH or (tokens := _tokens(plain_operators(text))) is None:
        return None
    values: list[Fraction] = []
    operators: list[str] = []
    wants_value = True
    for token in tokens:
        if token == "(" and wants_value:
            operators.append(token)
        elif token.isdigit() and wants_value:
            values.append(Fraction(int(token)))
            wants_value = False
        elif token == ")" and not wants_value:
            while operators and operators[-1] != "(":
                if not _apply(values, operators.pop()):
                    return None
            if not operators:
                return None
            operators.pop()
        elif token in _BINDS and not wants_value:
            while operators and operators[-1] != "(" and _BINDS[operators[-1]] >= _BINDS[token]:
                if not _apply(values, operators.pop()):
                    return None
            operators.append(token)
            wants_value = True
        else:
            return None
    if wants_value:
        return None
    while operators:
        if operators[-1] == "(" or not _apply(values, operators.pop()):
            return None
    return Expression(values[0], tuple(int(token) for token in tokens if token.isdigit()))


def _tokens(text: str) -> list[str] | None:
    tokens, at = [], 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or len(match.group(1) or "") > MAX_DIGITS:
            return None
        tokens.append(match.group(1) or match.group(2))
        at = match.end()
    return tokens


def _apply(values: list[Fraction], operator: str) -> bool:
    right, left = values.pop(), values.pop()
    if operator == "/" and right == 0:
        return False
    if operator == "+":
        values.append(left + right)
    elif operator == "-":
        values.append(left - right)
    elif operator == "*":
        values.append(left * right)
    else:
        values.append(left / right)
    return True

"""A text to its tree, words included, with what could not be read kept as a fact and not as an exception."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from stepgym.envs.maths.derivatives import carried_out
from stepgym.envs.maths.digits import read_int
from stepgym.envs.maths.latex_commands import COMMANDS
from stepgym.envs.maths.lexer import Unreadable, lex
from stepgym.envs.maths.parser import Parser
from stepgym.envs.maths.textual import number_in_words, words
from stepgym.envs.maths.tree import Node


class Reading(NamedTuple):
    """`node` is `None` if the text is no mathematics; `problem` is then the reason."""

    node: Node | None
    problem: str = ""
    too_large: bool = False


_MEANINGS: dict[str, Node] = {"none": ("set", ()), "reals": ("k", "R"), "infinity": ("k", "inf")}
_TRAILING = " \t\r\n.,;:~\\。"
"""Ends of sentences and of lines, spacing commands (`\\,`) and a lone backslash."""
_CACHED_CHARS = 400


def read(text: str, *, thousands: bool = True) -> Reading:
    """Read an answer; never raises."""
    if len(text) <= _CACHED_CHARS:
        return _read_cached(text, thousands)
    return _read(text, thousands)


def _read(text: str, thousands: bool) -> Reading:
    said = words(text)
    if said is not None:
        if said in _MEANINGS:
            return Reading(_MEANINGS[said])
        number = number_in_words(said)
        if number is None:
            return Reading(("text", said))
        return Reading(number.numerator if number.denominator == 1 else number)
    try:
        ended = text.rstrip(_TRAILING)
        node = parse(
            f"{ended}\\ldots" if "..." in text[len(ended) :] else ended, thousands=thousands
        )
        if "d}{d" in text or "d/d" in text:
            node = carried_out(node)
        return Reading(node)
    except Unreadable as error:
        return Reading(None, str(error), error.too_large)
    except RecursionError:
        return Reading(None, "nested too deeply", True)


def parse(text: str, *, thousands: bool = True) -> Node:
    """Read `text` as mathematics; raises `Unreadable`."""
    tokens = lex(_unwrap(text) if len(text) > 200 else text, thousands=thousands)
    return Parser(tokens, COMMANDS).whole()


def _unwrap(text: str) -> str:
    """Take off deep runs of brackets around a whole text, which would exhaust any recursion."""
    start = len(text) - len(text.lstrip(" \t\r\n({$"))
    end = len(text.rstrip(" \t\r\n)}$."))
    if start >= end:
        return text
    left = [c for c in text[:start] if c in "({"]
    right = [c for c in text[end:] if c in ")}"]
    count = min(len(left), len(right))
    if count < 50:
        return text
    middle = text[start:end]
    if "(" in middle or "{" in middle:
        return text
    pairs = all(a + b in ("()", "{}") for a, b in zip(left[-count:], reversed(right[:count])))
    return middle if pairs and len(left) == len(right) else text


_read_cached = lru_cache(maxsize=16_384)(_read)

_QUICK = re.compile(
    r"[\s$]*(?:(-?\d+)|\\[dt]?frac\{(-?\d+)\}\{(-?\d+)\}|(-?\d+)/(\d+)|(-?[1-9]\d{0,2}(?:,\d{3})+))[\s$]*\Z"
)


def quick_number(text: str) -> int | Fraction | None:
    """The value of a plain integer or fraction, by one regular expression; `None` for anything else."""
    match = _QUICK.match(text)
    if match is None:
        return None
    whole = match.group(1)
    if whole is not None:
        return _integer(whole)
    top, bottom = (
        (match.group(2), match.group(3))
        if match.group(2) is not None
        else (match.group(4), match.group(5))
    )
    if top is None:
        return int(match.group(6).replace(",", "")) if len(text) < 4000 else None
    denominator = _integer(bottom)
    if denominator == 0:
        return None
    value = Fraction(_integer(top), denominator)
    return value.numerator if value.denominator == 1 else value


_DECIMAL = re.compile(
    r"[\s$]*+(?:\\\$)?+\s*+(-?)((?:\d{1,9}|[1-9]\d{0,2}(?:,\d{3})+)(?:\.(\d{1,6}))?)[\s$]*\Z"
)


def quick_decimal(text: str) -> tuple[int, int] | None:
    """A short decimal, currency sign or not, as (value in millionths, written places)."""
    match = _DECIMAL.match(text)
    if match is None:
        return None
    sign, digits, fraction = match.groups()
    places = len(fraction) if fraction else 0
    value = int(digits.replace(",", "").replace(".", "")) * 10 ** (6 - places)
    return (-value if sign else value), places


def _integer(text: str) -> int:
    if len(text) < 4000:
        return int(text)
    return -read_int(text[1:]) if text[0] == "-" else read_int(text)

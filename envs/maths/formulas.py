r"""Where the formulas of a text are: `$..$` by Pandoc's rule, `$$..$$`, `\(..\)` and `\[..\]`.

A dollar sign may also be an amount of money. Pandoc's rule tells them apart: an opening `$` has a non-blank right
after it, a closing `$` has a non-blank right before it and no digit right after it. Three rules are added, because
models write more freely than authors: blanks on both inner sides also make a formula (`$ x $`), a formula holds no
other dollar sign, and what reads as prose or ends in an operator is money. The search is linear in the text's length.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

MAX_CHARS = 2000
"""A longer stretch between two single dollar signs is not taken for a formula."""


class Formula(NamedTuple):
    """Offsets of a formula in its text, with and without its delimiters."""

    start: int
    inner_start: int
    inner_end: int
    end: int


_CLOSERS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$"}
_DELIMITER = re.compile(r"\\.|\$", re.DOTALL)
_COMMAND = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|textit|operatorname|textnormal|mathbf|begin|end)\*?\s?\{[^{}]*\}|\\[A-Za-z]+"
)
_WORD = re.compile(r"[A-Za-z]{3,}")
_NOT_PROSE = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan log exp sqrt max min gcd lcm mod inf sup lim det".split()
)
_OPEN_END = "=+-*/(,<>&"


def find_formulas(text: str, start: int = 0, end: int | None = None) -> list[Formula]:
    """Return the formulas between two offsets, in order; formulas do not overlap."""
    end = len(text) if end is None else end
    marks = [match.start() for match in _DELIMITER.finditer(text, start, end)]
    closers = {
        closer: [at for at in marks if text.startswith(closer, at)] for closer in _CLOSERS.values()
    }
    closers["$"] = [at for at in marks if text[at] == "$"]
    found: list[Formula] = []
    done, i = start, 0
    while i < len(marks):
        at = marks[i]
        i += 1
        if at < done:
            continue
        formula = _formula_at(text, at, closers, end)
        if formula is not None:
            found.append(formula)
            done = formula.end
        elif text.startswith("$$", at):
            done = at + 2
    return found


def _formula_at(text: str, at: int, closers: dict[str, list[int]], end: int) -> Formula | None:
    pair = text[at : at + 2]
    if pair in _CLOSERS:
        close = _first_after(closers[_CLOSERS[pair]], at + 2)
        if close >= 0 and text[at + 2 : close].strip():
            return Formula(at, at + 2, close, close + 2)
        return None
    if text[at] != "$":
        return None
    close = _first_after(closers["$"], at + 1)
    if close < 0 or close - at > MAX_CHARS or not _is_formula(text, at, close):
        return None
    return Formula(at, at + 1, close, close + 1)


def _first_after(offsets: list[int], least: int) -> int:
    """Return the first offset of a sorted list that is at least `least`, or -1."""
    place = bisect_left(offsets, least)
    return offsets[place] if place < len(offsets) else -1


def _is_formula(text: str, opening: int, closing: int) -> bool:
    inner = text[opening + 1 : closing]
    if not inner.strip() or "\n\n" in inner:
        return False
    spaced = inner[0].isspace(), inner[-1].isspace()
    if spaced == (True, True):
        if text[max(0, opening - 2) : opening].strip()[-1:].isdigit():
            return False
    elif spaced != (False, False):
        return False
    if text[closing + 1 : closing + 2].isdigit() or inner.rstrip()[-1] in _OPEN_END:
        return False
    return not _is_prose(inner)


def _is_prose(inner: str) -> bool:
    """Return whether a supposed formula has two words or more outside its commands."""
    if len(inner) < 8:
        return False
    words: list[str] = _WORD.findall(_COMMAND.sub(" ", inner))
    return sum(word.lower() not in _NOT_PROSE for word in words) >= 2

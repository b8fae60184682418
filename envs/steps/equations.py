"""Decides equations in one unknown letter.

Covered: a chain whose sides all depend on the letter must not differ by a constant; linear equations that follow each other must
have the same solution. Not covered: several unknowns, equations that are not linear. A side is read as a number at three
points, so that no algebra is needed: a linear function is known from two, and the third one tells whether it is linear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from stepgym.envs.steps.arithmetic import shown
from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.notebook import Notebook, Solved
from stepgym.envs.steps.solutions import FOLLOWS, breaks_off
from stepgym.envs.steps.statements import Side, sides_of
from stepgym.envs.types import Status

_POINTS = (Fraction(7, 3), Fraction(19, 5), Fraction(31, 7))
_LETTER = re.compile(r"(?<![^\W\d_]|[_'])[b-zA-HJ-Z](?![\w'])")
"""A letter alone; `a` and `I` are words."""
MAX_GAP = 100
"""Characters between two equations that are taken as one derivation."""


def unknown_of(statement: str, known: Mapping[str, Fraction]) -> str | None:
    """Return the one letter of a prepared statement that has no value; `None` if there are several or none."""
    letters = set(_LETTER.findall(statement)) - known.keys()
    return letters.pop() if len(letters) == 1 else None


def equations_in(
    step: str, statement: str, offset: int, letter: str, notebook: Notebook
) -> Iterator[Claim]:
    """Yield the claims of one statement about an unknown; note the solution of an equation."""
    known = notebook.values()
    read = [sides_of(statement, offset, {**known, letter: point}) for point in _POINTS]
    sides, relations = read[0]
    if set(relations) != {"="}:
        return
    by_point = [[_value(side, letter, t) for side in each] for (each, _), t in zip(read, _POINTS)]
    columns = list(zip(*by_point))
    if len(sides) > 2:
        if all(None not in column and len(set(column)) > 1 for column in columns):
            yield from _identities(step, sides, columns, letter)
    elif None not in columns[0] and None not in columns[1]:
        yield from _solution(step, sides, columns, letter, notebook)


_Column = tuple[Fraction | None, ...]
"""The values of one side at the points."""


def _identities(
    step: str, sides: Sequence[Side], columns: Sequence[_Column], letter: str
) -> Iterator[Claim]:
    for i in range(len(sides) - 1):
        gaps = {
            a - b for a, b in zip(columns[i], columns[i + 1]) if a is not None and b is not None
        }
        if len(gaps) != 1:
            continue  # equations that hold for some values
        reason = f"the sides differ by the same number for all values of {letter}"
        yield _claim(step, sides[i].start, sides[i + 1].end, holds=gaps == {0}, reason=reason)


def _solution(
    step: str, sides: Sequence[Side], columns: Sequence[_Column], letter: str, notebook: Notebook
) -> Iterator[Claim]:
    gaps = [a - b for a, b in zip(*columns) if a is not None and b is not None]
    root = _root(gaps)
    if root is None:
        return
    start, end = sides[0].start, sides[1].end
    text = step[start:end].strip()
    before = notebook.solved.get(letter)
    notebook.solved[letter] = Solved(root, notebook.step, end, text)
    if before is None or before.step != notebook.step or start - before.end >= MAX_GAP:
        return
    gap = step[before.end : start]
    if breaks_off(gap) or _may_be_cases(before.text, text, gap):
        return
    rounded = abs(before.root - root) * 100 <= abs(root)
    reason = f"{before.text} has the solution {shown(before.root)}, {text} has {shown(root)}"
    yield _claim(step, start, end, holds=rounded, reason=reason)


def _may_be_cases(before: str, now: str, gap: str) -> bool:
    """Say whether two equations may be cases side by side: `x - 3 = 5` and `x - 3 = -5`.

    Cases share a side. An equation after a value (`x = 8`) begins the next case.
    """
    first, second = (["".join(side.split()) for side in text.split("=")] for text in (before, now))
    is_value = [any(len(side) == 1 and side.isalpha() for side in each) for each in (first, second)]
    shared_right = first[-1] == second[-1] and not FOLLOWS.search(gap)
    return first[0] == second[0] or shared_right or (is_value[0] and not is_value[1])


def _root(gaps: Sequence[Fraction]) -> Fraction | None:
    """Return where a linear function with these values at the points is 0; `None` if it is constant or not linear."""
    p, q, r = _POINTS
    slope = (gaps[1] - gaps[0]) / (q - p)
    if not slope or gaps[2] != gaps[0] + slope * (r - p):
        return None
    return p - gaps[0] / slope


def _value(side: Side, letter: str, point: Fraction) -> Fraction | None:
    """Return a side's one value, `None` if it has none or several."""
    if side.name == letter:
        return point
    found = side.as_left or side.as_right
    return min(found.values) if found is not None and len(found.values) == 1 else None


def _claim(step: str, start: int, end: int, *, holds: bool, reason: str) -> Claim:
    return Claim(
        kind=Kind.EQUATION,
        start=start,
        end=end,
        text=step[start:end],
        status=Status.CORRECT if holds else Status.INCORRECT,
        reason="" if holds else reason,
    )

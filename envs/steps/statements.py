"""Divides a statement at its relation signs and reads the sides.

The first side of a statement begins somewhere in prose and the last one ends there: `so he has 3 + 4 = 7 apples left`.
A side therefore has a value as its right neighbour reads it (its longest readable end) and one as its left neighbour
does (its longest readable beginning); both are the same if it is arithmetic from end to end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

from stepgym.envs.steps.quantities import Quantity, Token, Unreadable, quantity, tokens_of

MAX_TOKENS = 400
"""Tokens of one side, prose included; a longer side has no value."""
_RELATION = re.compile(r"\s*(<=|>=|[=~<>])=*\s*")
_BINDING = frozenset(
    "of half twice double triple times than minus plus by over per square root every each times from".split()
)
"""Words before an expression that change its value, so that what follows cannot be read alone."""
_RESULTS = frozenset(
    "total cost profit sum value weight length distance price speed age area balance amount".split()
)
"""Words before `of` that name the value of the expression: `a total of 3 * 4`."""
_FACTOR = re.compile(
    r"half|halves|twice|double|triple|thrice|quarters?|thirds?|fourths?|\w*(?:fth|xth|nth|hth)s?|times|percent\w*|fractions?|parts?"
    r"|ratio|multiple|average|mean|square|root|remain\w*|rest|differen\w*|left|on|off|from|out|split\w*|divid\w*|shar\w*|halv\w*",
    re.I,
)
"""Words that take a multiple or a part of what follows them: `half of the total of 3 + 4`."""


class Side(NamedTuple):
    """One side of an equation: its text's place, its value as a left and as a right neighbour reads it."""

    start: int
    end: int
    as_right: Quantity | None
    """Read from its beginning: the value for the relation on its left."""
    as_left: Quantity | None
    """Read to its end: the value for the relation on its right."""
    name: str
    """What a relation on its right defines: the letter that it ends with, or its words if it holds no number."""


def sides_of(
    statement: str, offset: int, letters: Mapping[str, Fraction]
) -> tuple[list[Side], list[str]]:
    """Return the sides of a prepared statement that begins at `offset` of its step, and the relations between them.

    Relations are `=`, `~` (about), `<`, `>`, `<=`, `>=`; `letters` are those that have a value.
    """
    cuts = list(_RELATION.finditer(statement))
    starts = [0, *(cut.end() for cut in cuts)]
    ends = [*(cut.start() for cut in cuts), len(statement)]
    last = len(cuts)
    sides = [
        _side(statement[a:b], offset + a, letters, first=i == 0, last=i == last)
        for i, (a, b) in enumerate(zip(starts, ends))
    ]
    return sides, [cut.group(1) for cut in cuts]


def _side(
    text: str, offset: int, letters: Mapping[str, Fraction], *, first: bool, last: bool
) -> Side:
    try:
        tokens = tokens_of(text)
    except Unreadable:
        tokens = []
    if not tokens or len(tokens) > MAX_TOKENS:
        return Side(offset, offset + len(text), None, None, "")
    name = _name(tokens)
    if name:
        return Side(offset, offset + len(text), None, None, name)
    whole = quantity(tokens, letters)
    if whole is not None:
        return Side(offset, offset + len(text), _with_part(whole, tokens, letters), whole, "")
    opened, closed = _unmatched(tokens)
    head = None if first else _head(tokens, letters)
    if closed is not None and not first and (part := quantity(tokens[:closed], letters)):
        head = part, closed
    tail = None if last else _tail(tokens, letters)
    if opened is not None and not last and (part := quantity(tokens[opened + 1 :], letters)):
        tail = part, opened + 1
    ending = "" if last else _ending_name(tokens)
    start = offset + (tokens[tail[1]].start if tail and head is None else 0)
    end = offset + (tokens[head[1] - 1].end if head and tail is None else len(text))
    return Side(start, end, head and head[0], tail and tail[0], ending)


def _with_part(
    whole: Quantity, tokens: Sequence[Token], letters: Mapping[str, Fraction]
) -> Quantity:
    """Add what a side is without its last `of`: `3/24 = 1/8 of 2 feet` may state that 3/24 is 1/8."""
    at = max((i for i, token in enumerate(tokens) if token.kind == "of"), default=0)
    part = quantity(tokens[:at], letters) if at else None
    return whole if part is None else whole._replace(values=whole.values | part.values)


def _unmatched(tokens: Sequence[Token]) -> tuple[int | None, int | None]:
    """Return the last opening bracket that is not closed, and the first closing one that was not opened."""
    opened: list[int] = []
    for at, token in enumerate(tokens):
        if token.text == "(":
            opened.append(at)
        elif token.text == ")":
            if not opened:
                return None, at
            opened.pop()
    return (opened[-1] if opened else None), None


def _name(tokens: Sequence[Token]) -> str:
    """Return the name that a side without numbers gives to a quantity: one letter, or its words in lower case."""
    if not tokens or any(token.kind not in ("word", "of") for token in tokens):
        return ""
    return _ending_name(tokens) or " ".join(token.text for token in tokens).lower()


def _ending_name(tokens: Sequence[Token]) -> str:
    """Return the single letter that a side ends with, after a word: `... and B`."""
    last = tokens[-1]
    is_letter = last.kind == "word" and len(last.text) == 1 and last.text.isalpha()
    after_word = len(tokens) == 1 or tokens[-2].kind == "word"
    return last.text if is_letter and after_word and last.text != "a" else ""


def _head(tokens: Sequence[Token], letters: Mapping[str, Fraction]) -> tuple[Quantity, int] | None:
    """Return the value of the longest beginning of a side that can be read, and its number of tokens."""
    for size in range(len(tokens) - 1, 0, -1):
        after = tokens[size]
        if after.kind == "number" or after.text in ("+", "*", "/", "^", "%", "(", "**"):
            continue
        if after.text == "-" and (size + 1 >= len(tokens) or tokens[size + 1].kind != "word"):
            continue
        if after.kind == "word" and (after.text in letters or after.start == tokens[size - 1].end):
            continue
        if after.kind == "word" and after.text.lower() in ("times", "plus", "minus", "divided"):
            continue
        if (found := quantity(tokens[:size], letters)) is not None:
            return found, size
    return None


def _is_bound(tokens: Sequence[Token], at: int) -> bool:
    """Return whether the text before a token belongs to its expression: `f(2)`, `books - 5`, `7 + his 2`."""
    if tokens[at].text == "(" and tokens[at - 1].end == tokens[at].start:
        return True
    if tokens[at].text == "-" and at + 1 < len(tokens) and tokens[at + 1].start > tokens[at].end:
        return True
    before = at - 1
    while before >= 0 and tokens[before].kind == "word":
        before -= 1
    if before > 0 and tokens[before].text in ("+", "-", "*", "/", "^"):
        return tokens[before].start > tokens[before - 1].end or tokens[before].text != "-"
    return before >= 0 and tokens[before].kind == "number" and tokens[at - 1].text in ("in", "per")


def _tail(tokens: Sequence[Token], letters: Mapping[str, Fraction]) -> tuple[Quantity, int] | None:
    """Return the value of the longest end of a side that can be read, and the index of its first token."""
    for at in range(1, len(tokens)):
        before = tokens[at - 1]
        result = at > 1 and before.kind == "of" and tokens[at - 2].text.lower() in _RESULTS
        if result and _is_multiplied(tokens[: at - 1]):
            continue
        if not result and (before.kind != "word" or before.text.lower() in _BINDING):
            continue
        if before.text in letters:
            continue
        if tokens[at].kind != "number" and tokens[at].text not in ("(", "-", *letters):
            continue
        if _is_bound(tokens, at):
            continue
        found = quantity(tokens[at:], letters)
        if found is not None:
            return (found, at) if found.operations else None
    return None


def _is_multiplied(tokens: Sequence[Token]) -> bool:
    """Say whether words before an expression take a multiple or a part of it: `10% of the total of`, `twice the sum of`."""
    return any(
        token.kind == "of" or token.text == "%" or _FACTOR.fullmatch(token.text) for token in tokens
    )

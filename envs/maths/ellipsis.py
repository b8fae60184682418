"""Sums and products with an ellipsis: the pattern that their first two terms and their last one name.

Two of them are equal if they have the same pattern, or if they agree with the ellipsis written out for several lengths.
An ellipsis is never worked out against a closed form.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from stepgym.envs.maths.tree import Node, substitute

INDEX = "#index"
_DOTS = ("dots",)
LENGTHS = (3, 4, 6, 7)
"""Values of the last index for which an ellipsis is written out."""
_INDEXED = re.compile(r"([A-Za-z]+)_(.+)")
_OFFSET = re.compile(r"([A-Za-z])(?:([+-])(\d))?")


class Pattern(NamedTuple):
    """`body` over the index `first`, `first + step`, ..., `last`."""

    operator: str
    body: Node
    first: int
    step: int
    last: Node


def pattern(node: Node) -> Pattern | None:
    """Read `1 + 4 + 9 + ... + n^2`; `None` if the terms before the ellipsis do not follow one pattern."""
    if not (isinstance(node, tuple) and node[0] in ("+", "*") and node.count(_DOTS) == 1):
        return None
    at = node.index(_DOTS)
    leading, following = node[1:at], node[at + 1 :]
    if len(leading) < 2 or len(following) != 1:
        return None
    found: set[tuple[Any, Any, Any]] = set()
    body = _common(leading[0], leading[1], following[0], found)
    if len(found) != 1 or body is None:
        return None
    first, second, last = found.pop()
    for i, term in enumerate(leading[2:], 2):
        if substitute(body, {INDEX: first + i * (second - first)}) != term:
            return None
    return Pattern(node[0], body, first, second - first, last)


def _common(a: Any, b: Any, c: Any, found: set[tuple[Any, Any, Any]]) -> Any:
    """What the terms have in common, the index where they differ; `None` if they have different forms."""
    if a == b == c:
        return a
    if type(a) is int and type(b) is int:
        found.add((a, b, c))
        return ("v", INDEX)
    if not all(isinstance(t, tuple) and len(t) == len(a) for t in (a, b, c)):
        return None
    parts = tuple(_common(x, y, z, found) for x, y, z in zip(a, b, c))
    return None if None in parts else parts


def written_out(node: Any, length: int) -> Any:
    """`node` with `length` for the letter that its last terms are counted by, and with the terms of each ellipsis.

    `None` if an ellipsis has no such pattern: `a_1 + a_2 + ... + a_n`, in either direction, or `pattern`'s.
    """
    letters = {letter for part in _dotted(node) if (letter := _last_letter(part))}
    if len(letters) != 1:
        return None
    letter = letters.pop()
    expanded = _expanded(node, letter, length)
    return None if expanded is None else substitute(expanded, {letter: length})


def _dotted(node: Any) -> list[Any]:
    """The sums and products that hold an ellipsis."""
    if not isinstance(node, tuple):
        return []
    own = [node] if node[:1] in (("+",), ("*",)) and _DOTS in node else []
    return own + [part for item in node for part in _dotted(item)]


def _last_letter(node: Any) -> str | None:
    """The letter of the last index of `a_1 + ... + a_n`, or of the first in `a_n + ... + a_1`."""
    found = _indices(node)
    if found is None:
        return None
    for index in (found[1][2], found[1][0]):
        match = _OFFSET.fullmatch(str(index))
        if match is not None:
            return match.group(1)
    return None


def _indices(node: Any) -> tuple[Any, tuple[Any, Any, Any]] | None:
    """What the terms around the ellipsis have in common, and the indices of the two before it and of the one after it."""
    at = node.index(_DOTS)
    if at < 3 or at + 1 >= len(node):
        return None
    found: set[tuple[Any, Any, Any]] = set()
    body = _alike(node[at - 2], node[at - 1], node[at + 1], found)
    return (body, found.pop()) if body is not None and len(found) == 1 else None


def _alike(a: Any, b: Any, c: Any, found: set[tuple[Any, Any, Any]]) -> Any:
    """`_common` for indexed names as well; the place of an index `i` of `a` is the name `a_#index`."""
    if a == b == c:
        return a
    terms = (a, b, c)
    if all(isinstance(t, tuple) and t[0] == "v" for t in terms):
        names = [_INDEXED.fullmatch(t[1]) for t in terms]
        if all(names) and len({m.group(1) for m in names if m}) == 1:
            found.add(tuple(m.group(2) for m in names if m))  # type: ignore[arg-type]
            return ("v", f"{names[0].group(1)}_{INDEX}")  # type: ignore[union-attr]
    if type(a) is int and type(b) is int:
        last = c[1] if isinstance(c, tuple) and c[0] == "v" else c
        if isinstance(last, (int, str)):
            found.add((a, b, last))
            return ("v", INDEX)
    if not all(isinstance(t, tuple) and len(t) == len(a) for t in terms):
        return None
    parts = tuple(_alike(x, y, z, found) for x, y, z in zip(*terms))
    return None if None in parts else parts


def _expanded(node: Any, letter: str, length: int) -> Any:
    if not isinstance(node, tuple):
        return node
    if node[:1] in (("+",), ("*",)) and _DOTS in node:
        read = _indices(node)
        if read is None:
            return None
        body, indices = read
        first, second, last = (_at(index, letter, length) for index in indices)
        if first is None or second is None or last is None or abs(second - first) != 1:
            return None
        step = second - first
        if (last - second) * step < 0:
            return None
        at = node.index(_DOTS)
        others = node[1 : at - 2] + node[at + 2 :]
        if _DOTS in others:
            return None
        terms = tuple(_term(body, i) for i in range(first, last + step, step))
        return (node[0], *(_numbered(term, letter, length) for term in others), *terms)
    parts = tuple(_expanded(item, letter, length) for item in node)
    return None if None in parts else parts


def _at(index: Any, letter: str, length: int) -> int | None:
    """An index as a number: `3`, `n`, `n-1`."""
    text = str(index)
    if text.isdigit():
        return int(text) if len(text) < 4 else None
    match = _OFFSET.fullmatch(text)
    if match is None or match.group(1) != letter:
        return None
    offset = int(match.group(3) or 0)
    return length - offset if match.group(2) == "-" else length + offset


def _term(body: Any, index: int) -> Any:
    if not isinstance(body, tuple):
        return body
    if body == ("v", INDEX):
        return index
    if body[0] == "v" and body[1].endswith(f"_{INDEX}"):
        return ("v", body[1].replace(INDEX, str(index)))
    return tuple(_term(item, index) for item in body)


def _numbered(node: Any, letter: str, length: int) -> Any:
    """`node` with the indices of its names as numbers: `a_n-1` is `a_5` for a length of six."""
    if not isinstance(node, tuple):
        return node
    if node[0] == "v":
        match = _INDEXED.fullmatch(node[1])
        number = _at(match.group(2), letter, length) if match else None
        return node if match is None or number is None else ("v", f"{match.group(1)}_{number}")
    return tuple(_numbered(item, letter, length) for item in node)

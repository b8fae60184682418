"""Sums and products with an ellipsis: the pattern that their first two terms and their last one name.

Two of them are equal if they have the same pattern, or if they agree with the ellipsis written out for several lengths.
An ellipsis is never worked out against a closed form.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from stepgym.envs.maths.tree import Node, has, substitute

INDEX = "#index"
_DOTS = ("dots",)
_MINUS_DOTS = ("-", _DOTS)
LENGTHS = (6, 7, 8, 9, 10, 11)
"""Values of the last index for which an ellipsis is written out."""
MIN_LENGTHS = 3
"""Two ellipses are equal if they agree for at least so many lengths."""
_INDEXED = re.compile(r"([A-Za-z]+)_(?:([0-9]{1,3})|([A-Za-z])(?:([+-])([0-9]))?)")


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
    terms = _forward(node)[1:]
    at = terms.index(_DOTS)
    leading, following = terms[:at], terms[at + 1 :]
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


def _forward(node: Any) -> Any:
    """`1 + 2 + ... + n` for `n + ... + 2 + 1`: one term before the ellipsis and several after it."""
    backward = node[2:3] == (_DOTS,) and len(node) > 4
    return (node[0], *node[:0:-1]) if backward else node


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

    `None` if an ellipsis has no pattern: that of `a_1 + a_2 + ... + a_n`, in either direction, or `pattern`'s. That of a
    list, as in `max(a_1, ..., a_n)`, has none.
    """
    letters = counting_letters(node)
    if len(letters) > 1:
        return None
    letter = next(iter(letters), "")
    expanded = _expanded(_without_signs(node), letter, length)
    if expanded is None or has(expanded, "dots"):
        return None
    return substitute(expanded, {letter: length})


def _without_signs(node: Any) -> Any:
    """`- 1 - 2 - ... - n` with an ellipsis that has no sign of its own, as `-1 + -2 + ... + -n` has."""
    if not isinstance(node, tuple):
        return node
    parts = tuple(map(_without_signs, node))
    at = parts.index(_MINUS_DOTS) if _MINUS_DOTS in parts else 0
    signs = [isinstance(part, tuple) and part[0] == "-" for part in parts[at - 1 : at + 2]]
    return (*parts[:at], _DOTS, *parts[at + 1 :]) if at and all(signs) else parts


def counting_letters(node: Any) -> set[str]:
    """The letters that the last terms are counted by: `n` of `a_1 + ... + a_n`."""
    return {letter for part in _dotted(_without_signs(node)) if (letter := _last_letter(part))}


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
        letters = _letters(index)
        if len(letters) == 1:
            return letters.pop()
    return None


def _letters(index: Any) -> set[str]:
    """The letters of an index."""
    if not isinstance(index, tuple):
        return set()
    return {index[1]} if index[0] == "v" else set().union(*map(_letters, index[1:]))


def _indices(node: Any) -> tuple[Any, tuple[Any, Any, Any]] | None:
    """What the terms around the ellipsis have in common, and the indices of the two before it and of the one after it."""
    node = _forward(node)
    at = node.index(_DOTS)
    if at < 3 or at + 1 >= len(node):
        return None
    found: set[tuple[Any, Any, Any]] = set()
    body = _alike(node[at - 2], node[at - 1], node[at + 1], found)
    return (body, found.pop()) if body is not None and len(found) == 1 else None


def _alike(a: Any, b: Any, c: Any, found: set[tuple[Any, Any, Any]]) -> Any:
    """`_common` for more indices: `n-1`, the names `a_1` and `a_n-1`, and the powers `1`, `x` and `x^2`.

    The place of an index `i` of a name `a_i` is the name `a_#index`.
    """
    if a == b == c:
        return a
    terms = [a, b, c]
    if all(isinstance(t, tuple) and t[0] == "v" for t in terms):
        names = [_indexed(t[1]) for t in terms]
        if len({name for name, _ in names}) == 1 and None not in names[0]:
            found.add(tuple(index for _, index in names))
            return ("v", f"{names[0][0]}_{INDEX}")
    base = next((t[1] for t in terms if isinstance(t, tuple) and t[0] == "^"), None)
    if base is not None:
        exponents = {1: 0, base: 1}
        terms = [("^", base, exponents[t]) if t in exponents else t for t in terms]
    if all(isinstance(t, tuple) and len(t) == len(terms[0]) for t in terms):
        inside: set[tuple[Any, Any, Any]] = set()
        parts = tuple(_alike(x, y, z, inside) for x, y, z in zip(*terms))
        if None not in parts:
            found |= inside
            return parts
    if all(_at(t, letter, 1) is not None for letter in [_one_letter(terms)] for t in terms):
        found.add((a, b, c))
        return ("v", INDEX)
    return None


def _one_letter(terms: list[Any]) -> str:
    """The letter of several indices; an empty text if they have none or several."""
    letters = set().union(*map(_letters, terms))
    return letters.pop() if len(letters) == 1 else ""


def _expanded(node: Any, letter: str, length: int) -> Any:
    if not isinstance(node, tuple):
        return node
    if node[:1] in (("+",), ("*",)) and _DOTS in node:
        node = _forward(node)
        read = _indices(node)
        if read is None:
            return None
        body, indices = read
        first, second, last = (_at(index, letter, length) for index in indices)
        if first is None or second is None or last is None or first == second:
            return None
        step = second - first
        if (last - second) * step < 0 or (last - second) % step or abs(last) > 1000:
            return None
        at = node.index(_DOTS)
        others = node[1 : at - 2] + node[at + 2 :]
        if _DOTS in others:
            return None
        terms = tuple(_term(body, i) for i in range(first, last + step, step))
        return (node[0], *(_numbered(term, letter, length) for term in others), *terms)
    parts = tuple(_expanded(item, letter, length) for item in node)
    return None if None in parts else parts


def _indexed(name: str) -> tuple[str | None, Any]:
    """The letter and the index of `a_3` or `a_n-1`; `None` for both if the name has no such index."""
    match = _INDEXED.fullmatch(name)
    if match is None:
        return None, None
    letter, number, counted, sign, offset = match.groups()
    if number is not None:
        return letter, int(number)
    if sign is None:
        return letter, ("v", counted)
    return letter, ("+", ("v", counted), int(offset) if sign == "+" else ("-", int(offset)))


def _at(index: Any, letter: str, length: int) -> int | None:
    """An index as a number, with `length` for the letter: `3`, `n-1`, `2*n`."""
    if type(index) is int:
        return index if abs(index) < 1000 else None
    if index == ("v", letter):
        return length
    if not (isinstance(index, tuple) and index[0] in ("+", "*", "-")):
        return None
    values = [_at(part, letter, length) for part in index[1:]]
    if None in values:
        return None
    numbers = [value for value in values if value is not None]
    if index[0] == "-":
        return -numbers[0]
    return sum(numbers) if index[0] == "+" else math.prod(numbers)


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
        name, index = _indexed(node[1])
        number = _at(index, letter, length)
        return node if name is None or number is None else ("v", f"{name}_{number}")
    return tuple(_numbered(item, letter, length) for item in node)

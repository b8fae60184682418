"""Sums and products with an ellipsis: the pattern that their first two terms and their last one name.

Two of them are equal if they have the same pattern; an ellipsis is never worked out against a closed form.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from stepgym.envs.maths.tree import Node, substitute

INDEX = "#index"
_DOTS = ("dots",)


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

"""Univariate polynomials with rational coefficients, and clearing of denominators."""

from __future__ import annotations

from fractions import Fraction

from stepgym.envs.maths.effort import num_nodes
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, symbols

MAX_DEGREE = 8


def coefficients(node: Node, name: str) -> list[Fraction] | None:
    """Coefficients from the constant up, without zeros at the top; `None` where this is no small polynomial."""
    try:
        found = _expand(node, name)
    except NotRational:
        return None
    while found and found[-1] == 0:
        found.pop()
    return found


def _expand(node: Node, name: str) -> list[Fraction]:
    if name not in symbols(node):
        return [Fraction(exact(node))]
    assert isinstance(node, tuple)
    kind = node[0]
    if kind == "v":
        return [Fraction(0), Fraction(1)]
    if kind == "+":
        total: list[Fraction] = []
        for term in node[1:]:
            part = _expand(term, name)
            size = max(len(total), len(part))
            total = [_at(total, i) + _at(part, i) for i in range(size)]
        return total
    if kind == "-":
        return [-c for c in _expand(node[1], name)]
    if kind == "*":
        product = [Fraction(1)]
        for factor in node[1:]:
            product = _times(product, _expand(factor, name))
        return product
    if kind == "/" and name not in symbols(node[2]):
        bottom = exact(node[2])
        if bottom == 0:
            raise NotRational("division by zero")
        return [c / bottom for c in _expand(node[1], name)]
    if kind == "^" and isinstance(node[2], int) and 0 <= node[2] <= MAX_DEGREE:
        product = [Fraction(1)]
        base = _expand(node[1], name)
        for _ in range(node[2]):
            product = _times(product, base)
        return product
    raise NotRational("no polynomial")


def _at(items: list[Fraction], index: int) -> Fraction:
    return items[index] if index < len(items) else Fraction(0)


def _times(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    if len(a) + len(b) > MAX_DEGREE + 2:
        raise NotRational("a degree too high")
    result = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            result[i + j] += x * y
    return result


def split_fraction(node: Node) -> tuple[Node, Node]:
    """Numerator and denominator of a sum or product of quotients, uncancelled."""
    top, bottom = _split(node)
    num_nodes(top)
    num_nodes(bottom)
    return top, bottom


def _split(node: Node) -> tuple[Node, Node]:
    if not isinstance(node, tuple):
        return node, 1
    kind = node[0]
    if kind == "/":
        top, bottom = _split(node[1]), _split(node[2])
        return ("*", top[0], bottom[1]), ("*", top[1], bottom[0])
    if kind == "-":
        top_node, bottom_node = _split(node[1])
        return ("-", top_node), bottom_node
    if kind == "*":
        parts = [_split(factor) for factor in node[1:]]
        return ("*", *(p[0] for p in parts)), ("*", *(p[1] for p in parts))
    if (
        kind == "^"
        and isinstance(node[2], tuple)
        and node[2][0] == "-"
        and isinstance(node[2][1], int)
    ):
        return 1, ("^", node[1], node[2][1])
    if kind == "^" and isinstance(node[2], int) and 0 < node[2] <= MAX_DEGREE:
        base = _split(node[1])
        return (node, 1) if base[1] == 1 else (("^", base[0], node[2]), ("^", base[1], node[2]))
    if kind == "+" and len(node) <= 8:
        parts = [_split(term) for term in node[1:]]
        num_nodes(tuple(bottom for _, bottom in parts))
        if not any(symbols(bottom) for _, bottom in parts):
            return node, 1
        terms: list[Node] = []
        for i, (top_node, _) in enumerate(parts):
            terms.append(("*", top_node, *(p[1] for j, p in enumerate(parts) if j != i)))
        return ("+", *terms), ("*", *(p[1] for p in parts))
    return node, 1

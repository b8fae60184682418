"""Whether an answer is worked out: what `MathOptions(simplified=True)` asks for.

Asked: fractions in lowest terms, no arithmetic left between plain numbers, no square factors under a root, no
logarithm or trigonometric value that is rational. Not asked: rationalised denominators, expanded or factored products.
"""

from __future__ import annotations

import math
from typing import Any

from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, children


def fault(node: Node) -> str | None:
    """What is left to do, or `None`."""
    if not isinstance(node, tuple):
        return None
    kind = node[0]
    if kind in ("v", "k", "dec", "unit", "text", "base", "dots", "%", "deg"):
        return None
    if kind == "/":
        return _fraction(node)
    if kind in ("+", "*", "^"):
        found = _arithmetic(node)
        if found:
            return found
    if kind == "f":
        found = _function(node)
        if found:
            return found
    for child in children(node):
        found = fault(child)
        if found:
            return found
    return None


def _plain(node: Node) -> bool:
    return isinstance(node, int) or (
        isinstance(node, tuple) and node[0] == "-" and isinstance(node[1], int)
    )


def _fraction(node: Any) -> str | None:
    top, bottom = node[1], node[2]
    if _plain(top) and _plain(bottom):
        x, y = int(exact(top)), int(exact(bottom))
        return (
            "a fraction that can be reduced" if y < 0 or math.gcd(x, y) > 1 or abs(y) == 1 else None
        )
    if bottom in (1, ("-", 1)):
        return "a denominator of one"
    if math.gcd(_content(top), _content(bottom)) > 1:
        return "a fraction that can be reduced"
    return fault(top) or fault(bottom)


def _content(node: Any) -> int:
    """The largest whole number that is written as a factor: 2 of `2x` and of `4x + 2`."""
    if isinstance(node, int):
        return abs(node)
    if not isinstance(node, tuple) or node[0] not in ("+", "-", "*"):
        return 1
    parts = [_content(part) for part in node[1:]]
    return math.prod(parts) if node[0] == "*" else math.gcd(*parts)


def _arithmetic(node: Any) -> str | None:
    plain = [part for part in node[1:] if _plain(part)]
    if node[0] == "^":
        return "a power that can be worked out" if len(plain) == 2 and _is_small(node) else None
    if (
        node[0] == "+"
        and len(node) == 3
        and isinstance(node[1], int)
        and isinstance(node[2], tuple)
        and node[2][0] == "/"
    ):
        return _fraction(node[2])  # a mixed number
    rational = [
        part
        for part in node[1:]
        if _plain(part) or (isinstance(part, tuple) and part[0] == "/" and _is_rational(part))
    ]
    if len(rational) > 1:
        return "arithmetic that can be worked out"
    return None


def _is_rational(node: Node) -> bool:
    try:
        exact(node)
    except NotRational:
        return False
    return True


def _is_small(node: Node) -> bool:
    try:
        return -(10**12) < exact(node) < 10**12
    except NotRational:
        return False


def _function(node: Any) -> str | None:
    if _is_rational(node):
        return f"{node[1]} that can be worked out"
    if node[1] == "sqrt" and isinstance(node[2][0], int):
        value = node[2][0]
        if any(value % (k * k) == 0 for k in range(2, min(math.isqrt(value), 10_000) + 1)):
            return "a square factor under the root"
    return None

"""Derivatives that an answer leaves to be carried out: `\\frac{d}{dx} x^2` is `2x`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepgym.envs.maths.effort import TooMuchWork, num_nodes
from stepgym.envs.maths.tree import Node, symbols


class NoDerivative(Exception):
    """Something that is not differentiated here."""


def carried_out(node: Any) -> Node:
    """`node` with its derivatives carried out; what cannot be, stays as written."""
    if not isinstance(node, tuple):
        return node  # type: ignore[no-any-return]
    if node[0] == "rel":
        return (node[0], node[1], tuple(carried_out(side) for side in node[2]))
    if node[0] == "*" and len(node) > 2:
        name = _operator(node[1])
        if name is not None:
            try:
                found = derivative(node[2] if len(node) == 3 else ("*", *node[2:]), name)
                num_nodes(found)
            except (NoDerivative, TooMuchWork):
                return node
            return found
    return node


def _operator(node: Node) -> str | None:
    """The letter of `d/dx`."""
    if not (isinstance(node, tuple) and node[0] == "/" and node[1] == ("v", "d")):
        return None
    below = node[2]
    if isinstance(below, tuple) and below[0] == "*" and below[1] == ("v", "d") and len(below) == 3:
        return below[2][1] if isinstance(below[2], tuple) and below[2][0] == "v" else None
    return None


def derivative(node: Any, name: str) -> Node:
    """The derivative by `name`, not simplified."""
    if name not in symbols(node):
        return 0
    kind = node[0]
    if kind == "v":
        return 1
    if kind == "+":
        return ("+", *(derivative(term, name) for term in node[1:]))
    if kind == "-":
        return ("-", derivative(node[1], name))
    if kind == "*":
        factors = node[1:]
        return (
            "+",
            0,
            *(
                ("*", *factors[:i], derivative(factor, name), *factors[i + 1 :])
                for i, factor in enumerate(factors)
            ),
        )
    if kind == "/":
        top, bottom = node[1], node[2]
        change = (
            "+",
            ("*", derivative(top, name), bottom),
            ("-", ("*", top, derivative(bottom, name))),
        )
        return ("/", change, ("^", bottom, 2))
    if kind == "^":
        return _power(node[1], node[2], name)
    if kind == "f" and node[1] in _OUTER and len(node[2]) == 1:
        inner = node[2][0]
        return ("*", _OUTER[node[1]](inner), derivative(inner, name))
    raise NoDerivative(kind)


def _power(base: Node, exponent: Node, name: str) -> Node:
    if name not in symbols(exponent):
        return ("*", exponent, ("^", base, ("+", exponent, ("-", 1))), derivative(base, name))
    by_exponent: Node = (
        "*",
        ("^", base, exponent),
        ("f", "ln", (base,)),
        derivative(exponent, name),
    )
    if name not in symbols(base):
        return by_exponent
    by_base = ("*", exponent, ("^", base, ("+", exponent, ("-", 1))), derivative(base, name))
    return ("+", by_exponent, by_base)


def _f(name: str, argument: Node) -> Node:
    return ("f", name, (argument,))


_OUTER: dict[str, Callable[[Node], Node]] = {
    "sin": lambda u: _f("cos", u),
    "cos": lambda u: ("-", _f("sin", u)),
    "tan": lambda u: ("/", 1, ("^", _f("cos", u), 2)),
    "ln": lambda u: ("/", 1, u),
    "log": lambda u: ("/", 1, u),
    "sqrt": lambda u: ("/", 1, ("*", 2, _f("sqrt", u))),
    "arctan": lambda u: ("/", 1, ("+", 1, ("^", u, 2))),
    "arcsin": lambda u: ("/", 1, _f("sqrt", ("+", 1, ("-", ("^", u, 2))))),
    "sinh": lambda u: _f("cosh", u),
    "cosh": lambda u: _f("sinh", u),
}

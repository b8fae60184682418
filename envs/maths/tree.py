"""The parsed form: nested tuples, cheap to make, to hash and to compare.

A node is an `int`, a `Fraction`, or a tuple whose first item names it:

    ("dec", Fraction, text)  a decimal, with how it was written    ("v", name)    a symbol
    ("k", name)              pi e i inf R Z N Q C                  ("-", a)       negation
    ("+", a, b, ...)  ("*", a, b, ...)  ("/", a, b)  ("^", a, b)   arithmetic
    ("+-", a, b)  ("-+", a, b)                                     a plus-minus b
    ("f", name, (a, ...))    a known function                      ("call", name, (a, ...))  an unknown one
    ("unit", phrase)  ("%",)  ("deg",)                             factors that are units
    ("rel", (op, ...), (a, b, ...))                                a chain of relations
    ("mod", relation, m)     ... modulo m                          ("base", digits, b)
    ("list", sep, (a, ...))  ("group", open, close, (a, ...))      top-level list; bracketed list
    ("seq", (a, ...))        numbers in a row, blanks between
    ("set", (a, ...))        ("where_set", a, (condition, ...))    sets
    ("cup" | "cap" | "setminus", a, b)                             set operations
    ("mat", ((a, ...), ...)) ("ratio", (a, ...))  ("cases", ((value, condition), ...))
    ("sum" | "prod", var, low, high, body)  ("int", var, low, high, body)  ("lim", var, to, side, body)
    ("where", a, (condition, ...))  ("text", words)  ("dots",)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, TypeAlias

Node: TypeAlias = int | Fraction | tuple[Any, ...]

INF: Node = ("k", "inf")
MINUS_INF: Node = ("-", INF)


def children(node: Node) -> Iterator[Node]:
    """The nodes directly under `node`."""
    if not isinstance(node, tuple):
        return
    if node[0] in ("dec", "v", "k", "unit", "text", "base"):
        return
    for item in node[1:]:
        if isinstance(item, (int, Fraction)):
            yield item
        elif isinstance(item, tuple):
            if item and isinstance(item[0], str) and item[0] in _NAMES:
                yield item
            else:
                yield from _in_sequence(item)


def _in_sequence(items: tuple[Any, ...]) -> Iterator[Node]:
    for item in items:
        if isinstance(item, (int, Fraction)):
            yield item
        elif isinstance(item, tuple):
            if item and isinstance(item[0], str) and item[0] in _NAMES:
                yield item
            else:
                yield from _in_sequence(item)


_NAMES = frozenset(
    "dec v k - + * / ^ +- -+ f call unit % deg rel mod base list group set where_set cup cap setminus mat ratio cases "
    "sum prod int lim where text dots seq".split()
)


def walk(node: Node) -> Iterator[Node]:
    """`node` and every node under it."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(children(top))


def symbols(node: Node) -> set[str]:
    """Names of the free symbols; bound variables of sums and integrals are left out."""
    if type(node) is not tuple:
        return set()
    found: set[str] = set()
    _collect(node, found)
    return found


def _collect(node: tuple[Any, ...], found: set[str]) -> None:
    kind = node[0]
    if kind == "v":
        found.add(node[1])
    elif kind in ("sum", "prod", "int", "lim"):
        body: set[str] = set()
        if type(node[4]) is tuple:
            _collect(node[4], body)
        body.discard(node[1])
        found |= body
        for bound in node[2:4]:
            if type(bound) is tuple:
                _collect(bound, found)
    elif kind not in ("dec", "k", "base"):
        for item in node:
            if type(item) is tuple and item:
                _collect(item, found)


def has(node: Node, *names: str) -> bool:
    """Whether any node under `node` is one of these kinds."""
    stack: list[Any] = [node]
    while stack:
        top = stack.pop()
        if type(top) is tuple and top:
            if top[0] in names:
                return True
            stack.extend(top)
    return False


def mentions(names: frozenset[str], *nodes: Node) -> bool:
    """Whether a node under these has one of the names as its kind, or is a symbol or function of that name."""
    stack: list[Any] = list(nodes)
    while stack:
        top = stack.pop()
        if type(top) is tuple:
            stack.extend(top)
        elif type(top) is str and top in names:
            return True
    return False


def substitute(node: Any, values: dict[str, Node]) -> Any:
    """Replace symbols; bound variables are expected not to clash."""
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "v":
        return values.get(node[1], node)
    if node and node[0] in ("dec", "k", "unit", "text", "base"):
        return node
    return tuple(substitute(item, values) for item in node)


def label(node: Any) -> str:
    """A text that only equal trees share; unlike `repr`, it takes integers of any length."""
    if isinstance(node, tuple):
        return f"({' '.join(map(label, node))})"
    if isinstance(node, int):
        return hex(node)
    return f"{node.numerator:x}/{node.denominator:x}" if isinstance(node, Fraction) else repr(node)

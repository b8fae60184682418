"""Matrices and vectors: sums, scalar multiples and small products worked out entry by entry."""

from __future__ import annotations

from typing import Any

from stepgym.envs.maths.effort import num_nodes
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, has, substitute, symbols

Rows = list[list[Node]]
MAX_ENTRIES = 2_500
UNIT_VECTORS = ("unit vector i", "unit vector j", "unit vector k")


def rows_of(node: Any) -> Rows | None:
    """The entries of a matrix, a nested list or a vector; `None` where this is none of them."""
    if not isinstance(node, tuple):
        return None
    kind = node[0]
    if kind == "mat":
        return [list(row) for row in node[1]]
    if kind in ("group", "list"):
        items = node[3] if kind == "group" else node[2]
        if items and all(isinstance(item, tuple) and item[0] == "group" for item in items):
            return [list(item[3]) for item in items]
        return [[item] for item in items]
    if kind == "-":
        inner = rows_of(node[1])
        return [[("-", x) for x in row] for row in inner] if inner else None
    if kind == "+":
        return _sum(node)
    if kind == "*":
        return _product(node)
    if kind == "/" and not has(node[2], "mat"):
        inner = rows_of(node[1])
        return [[("/", x, node[2]) for x in row] for row in inner] if inner else None
    if kind == "^" and isinstance(node[2], int) and 1 <= node[2] <= 6:
        return _product(("*", *[node[1]] * node[2]))
    return None


def _sum(node: Any) -> Rows | None:
    parts = [rows_of(term) for term in node[1:]]
    first = parts[0]
    if first is None or any(
        p is None or [len(r) for r in p] != [len(r) for r in first] for p in parts
    ):
        return None
    return [
        [("+", *(p[i][j] for p in parts if p)) for j in range(len(row))]
        for i, row in enumerate(first)
    ]


def _product(node: Any) -> Rows | None:
    scalars = [f for f in node[1:] if not has(f, "mat", "group")]
    matrices = [rows_of(f) for f in node[1:] if has(f, "mat", "group")]
    result = matrices[0] if matrices else None
    if result is None:
        return None
    for other in matrices[1:]:
        if (
            other is None
            or len(result[0]) != len(other)
            or len(result) * len(other[0]) * len(other) > MAX_ENTRIES
        ):
            return None
        result = [
            [
                ("+", *(("*", row[k], other[k][j]) for k in range(len(other))))
                for j in range(len(other[0]))
            ]
            for row in result
        ]
        for row in result:
            num_nodes(tuple(row))
    if scalars:
        result = [[("*", *scalars, x) for x in row] for row in result]
    return result


def determinants(node: Any) -> Any:
    """`node` with the determinants of its matrices written out; larger than 4 by 4 they stay."""
    if not isinstance(node, tuple) or not has(node, "mat"):
        return node
    if node[:2] == ("f", "det"):
        rows = rows_of(node[2][0])
        if rows is not None and len(rows) <= 4 and all(len(row) == len(rows) for row in rows):
            return _determinant(rows)
        return node
    return tuple(determinants(item) for item in node)


def _determinant(rows: Rows) -> Node:
    if len(rows) == 1:
        return rows[0][0]
    terms: list[Node] = []
    for column, entry in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        term: Node = ("*", entry, _determinant(minor))
        terms.append(("-", term) if column % 2 else term)
    return ("+", *terms)


def as_vector(rows: Rows) -> list[Node] | None:
    """The entries of a single row or column."""
    if len(rows) == 1:
        return rows[0]
    return [row[0] for row in rows] if all(len(row) == 1 for row in rows) else None


def as_group(node: Any) -> Any:
    """`(3, 1) + t(2, -1)` worked out to a tuple; anything else as it is."""
    if not (isinstance(node, tuple) and node[0] in ("+", "*", "-", "/") and _holds_tuple(node)):
        return node
    rows = rows_of(node)
    entries = as_vector(rows) if rows else None
    return ("group", "(", ")", tuple(entries)) if entries else node


def _holds_tuple(node: Any) -> bool:
    """Whether every tuple in a sum or product is a term or factor of it."""
    return any(
        isinstance(part, tuple)
        and (
            (part[0] == "group" and len(part[3]) > 1 and part[1:3] == ("(", ")"))
            or (part[0] in ("+", "*", "-", "/") and _holds_tuple(part))
        )
        for part in node[1:]
    )


def unit_vectors(node: Node) -> Node | None:
    """`i + 2j` in bold as the group (1, 2, 0); `None` where there is no unit vector."""
    names = symbols(node) & set(UNIT_VECTORS)
    if not names:
        return None
    entries = []
    for name in UNIT_VECTORS:
        entries.append(substitute(node, {n: (1 if n == name else 0) for n in UNIT_VECTORS}))
    return ("group", "(", ")", tuple(entries))


def in_bold(node: Any) -> Any:
    """`node` with its letters i, j and k read as unit vectors."""
    if not isinstance(node, tuple):
        return node
    if node in (("k", "i"), ("v", "j"), ("v", "k")):
        return ("v", f"unit vector {node[1]}")
    return tuple(in_bold(item) for item in node)


def pad(a: Any, b: Any) -> tuple[Node, Node]:
    """Two groups brought to one length: `i + 2j` fits (1, 2) and (1, 2, 0)."""
    size = min(len(a[3]), len(b[3]))
    if size == 2:
        return (_cut(a), _cut(b))
    return ("group", "(", ")", a[3]), ("group", "(", ")", b[3])


def _cut(group: Any) -> Node:
    """Drop a third entry that is nothing."""
    if len(group[3]) == 3 and not has(group[3][2], "f") and _is_nothing(group[3][2]):
        return ("group", "(", ")", group[3][:2])
    return ("group", "(", ")", group[3])


def _is_nothing(node: Node) -> bool:
    try:
        return exact(node) == 0
    except NotRational:
        return False

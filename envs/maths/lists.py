"""What a list may mean: alternatives, values of several unknowns, repeated tuples. Nothing is compared here."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple, cast

from stepgym.envs.maths import quantities, relations
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, has, symbols

_SETS = frozenset("set where_set cup cap setminus group".split())
MAX_SIGNS = 4
"""An expression with more plus-minus signs is not written out."""


def plain_form(node: Node) -> Node:
    """Drop conditions and one-element wrappers, write out plus-minus, name what a list leaves unnamed."""
    if not isinstance(node, tuple):
        return node
    if node[0] == "where":
        inner = node[1]
        return plain_form(inner)
    if node[0] == "list":
        return _plain_list(node)
    if node[0] == "+" and len(node) == 3 and _kind(node[2]) == "-":
        kept, taken = node[1], node[2][1]
        if _kind(kept) in _SETS or (_kind(kept) == "k" and _kind(taken) in _SETS):
            return ("setminus", kept, taken)
    if node[0] == "/" and _kind(node[1]) == "k" and _kind(node[2]) == "set":
        return ("setminus", node[1], node[2])
    if node[0] == "rel" and node[1] == ("in",) and _kind(node[2][1]) == "set":
        element, members = node[2]
        if _kind(element) == "group":
            return members  # type: ignore[no-any-return]
        if _kind(element) == "v" and members[1]:
            named = tuple(
                member if member == ("dots",) else ("rel", ("=",), (element, member))
                for member in parts_of(members)
            )
            return named[0] if len(named) == 1 else ("list", "or", named)
    if node[0] in ("rel", "+-", "-+") or has(node, "+-", "-+"):
        branches = spread(node)
        if len(branches) == 1 and node[0] == "rel":
            return _all_equal(node)
        if len(branches) > 1:
            excluded = isinstance(node, tuple) and node[0] == "rel" and "!=" in node[1]
            return ("list", "and" if excluded else "or", tuple(branches))
    return node


def _all_equal(node: Any) -> Node:
    """`x = y = z = 1` names three values, which are one."""
    *named, value = node[2]
    if (
        len(named) > 1
        and set(node[1]) == {"="}
        and not symbols(value)
        and all(_kind(n) == "v" for n in named)
    ):
        return ("list", "=", tuple(("rel", ("=",), (name, value)) for name in named))
    return cast(Node, node)


def spread(node: Node) -> list[Node]:
    """The readings of an expression with plus-minus signs; the node itself if it has none.

    The signs are independent, unless a minus-plus says that they turn together.
    """
    if not has(node, "+-", "-+") or (
        isinstance(node, tuple) and node[0] in ("set", "where_set", "mat")
    ):
        return [node]
    if has(node, "-+"):
        return [_choose(node, (sign,) * MAX_SIGNS) for sign in (1, -1)]
    count = _num_signs(node)
    if count > MAX_SIGNS:
        return [node]
    return [_choose(node, signs) for signs in product((1, -1), repeat=count)]


def _num_signs(node: Any) -> int:
    if not isinstance(node, tuple):
        return 0
    return (node[:1] == ("+-",)) + sum(map(_num_signs, node))


def _choose(node: Any, signs: tuple[int, ...]) -> Any:
    """`node` with its plus-minus signs chosen, in the order of writing; minus-plus takes the other sign."""
    left = iter(signs)

    def chosen(part: Any) -> Any:
        if not isinstance(part, tuple):
            return part
        if part and part[0] in ("+-", "-+"):
            first = chosen(part[1])
            sign = next(left) * (1 if part[0] == "+-" else -1)
            second = chosen(part[2])
            signed = second if sign > 0 else ("-", second)
            return signed if first == 0 else ("+", first, signed)
        if part and part[0] in ("v", "k", "dec", "unit", "text", "base"):
            return part
        return tuple(chosen(item) for item in part)

    return chosen(node)


def _plain_list(node: Any) -> Node:
    items: list[Node] = []
    for item in node[2]:
        items.extend(
            spread(item if not (isinstance(item, tuple) and item[0] == "where") else item[1])
        )
    name: Node | None = None
    sign = ("=",)
    named: list[Node] = []
    for item in items:
        if isinstance(item, tuple) and item[0] == "rel":
            sign = item[1]
            name = (
                item[2][0]
                if sign in (("=",), ("!=",))
                and isinstance(item[2][0], tuple)
                and item[2][0][0] in ("v", "call", "group")
                else None
            )
        elif name is not None and not (
            isinstance(item, tuple) and item[0] in ("k", "text", "dots")
        ):
            item = ("rel", sign, (name, item))
        named.append(item)
    named = [item for item in named if not _is_domain(item)] or named
    if len(named) in (2, 3) and node[1] in ("and", ",") and quantities.are_steps(named):
        return ("+", *named)
    return named[0] if len(named) == 1 else ("list", node[1], tuple(named))


def _is_domain(item: Node) -> bool:
    """`k in Z` beside an answer says where a letter runs, not what the answer is."""
    return (
        isinstance(item, tuple)
        and item[0] == "rel"
        and item[1] == ("in",)
        and isinstance(item[2][1], tuple)
        and item[2][1][0] == "k"
        and item[2][1][1][0] in "ZN"
    )


def parts_of(node: Node) -> tuple[Any, ...]:
    """The items of a set or a list (plus-minus written out); a single thing is a list of one."""
    if isinstance(node, tuple) and node[0] == "list":
        found: tuple[Node, ...] = node[2]
        return found
    if isinstance(node, tuple) and node[0] == "set":
        spelt: list[Node] = []
        for item in node[1]:
            spelt.extend(spread(item))
        return tuple(spelt)
    return (node,)


class System(NamedTuple):
    """Several unknowns with their values, in the order written."""

    names: tuple[str, ...]
    values: tuple[Node, ...]
    are_one: bool = False
    """Written as one chain: `x = y = 1`."""


def system(node: Node) -> System | None:
    """`a = 1, b = 2` or `(a, b) = (1, 2)`; `None` where names repeat or something is unnamed."""
    if isinstance(node, tuple) and node[0] == "rel":
        value = tuple_assignment(node)
        left = node[2][0]
        if value is None or not (
            isinstance(value, tuple) and value[0] == "group" and len(value[3]) == len(left[3])
        ):
            return None
        names = [relations.assignment(("rel", ("=",), (n, 0))) for n in left[3]]
        if any(n is None for n in names):
            return None
        return System(tuple(n.name for n in names if n), value[3])
    if not (isinstance(node, tuple) and node[0] == "list") or node[1] == "or":
        return None
    found = [relations.assignment(item) for item in node[2]]
    if any(f is None for f in found):
        return None
    names_ = tuple(f.name for f in found if f)
    if len(set(names_)) < len(names_):
        return None
    return System(names_, tuple(f.value for f in found if f), node[1] == "=")


def tuple_assignment(node: Any) -> Node | None:
    """The right side of `(a, b) = ...`."""
    if (
        isinstance(node, tuple)
        and node[0] == "rel"
        and set(node[1]) == {"="}
        and isinstance(node[2][0], tuple)
        and node[2][0][0] == "group"
    ):
        value: Node = node[2][-1]
        return value
    return None


def values_only(node: Node) -> Node:
    """Take names off: `x = 1, x = 2` is 1, 2; `p = 5, q = 2; p = 7, q = 2` is (5, 2), (7, 2)."""
    if not (isinstance(node, tuple) and node[0] == "list"):
        return node
    found = [relations.assignment(item) for item in node[2]]
    tuples = [tuple_assignment(item) for item in node[2]]
    if any(t is not None for t in tuples):
        return (
            "list",
            node[1],
            tuple(t if t is not None else item for t, item in zip(tuples, node[2])),
        )
    if any(f is None for f in found):
        return node
    names = [f.name for f in found if f]
    values = [f.value for f in found if f]
    period = names.index(names[0], 1) if names[0] in names[1:] else len(names)
    if (
        1 < period < len(names)
        and len(names) % period == 0
        and names == names[:period] * (len(names) // period)
    ):
        groups = [
            ("group", "(", ")", tuple(values[i : i + period]))
            for i in range(0, len(values), period)
        ]
        return ("list", ",", tuple(groups))
    return ("list", node[1], tuple(values))


def names_of(node: Any) -> set[str]:
    """The names that a list assigns to."""
    if _kind(node) != "list":
        return set()
    found = [relations.assignment(item) for item in node[2]]
    return {f.name.partition("_")[0] for f in found if f}


def has_dots(node: Node) -> bool:
    """Whether a list holds an ellipsis."""
    return any(part == ("dots",) for part in parts_of(node))


def exact_values(items: Sequence[Node]) -> list[Any] | None:
    """The items as fractions; `None` if one is not rational."""
    try:
        return [exact(item) for item in items]
    except NotRational:
        return None


def by_size(items: Sequence[Node]) -> list[Node] | None:
    """Closed items by real, then imaginary part."""
    from stepgym.envs.maths import numeric  # loads python-flint

    keys = []
    for item in items:
        if isinstance(item, tuple) and (symbols(item) or item[0] in ("group", "rel", "list")):
            return None
        ball = numeric.complex_value(item, 64)
        if ball is None:
            return None
        keys.append((float(ball.real.mid()), float(ball.imag.mid())))
    return [item for _, item in sorted(zip(keys, items), key=lambda pair: pair[0])]


def _kind(node: Node) -> str:
    return node[0] if isinstance(node, tuple) else ""

"""Lists and what they may mean: alternatives, several unknowns, repeated tuples, families over the whole numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from stepgym.envs.maths import quantities, realsets, relations
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, has, symbols

if TYPE_CHECKING:
    from stepgym.envs.maths.compare import Judge


def plain_form(node: Node) -> Node:
    """Drop conditions and one-element wrappers, write out plus-minus, name what a list leaves unnamed."""
    if not isinstance(node, tuple):
        return node
    if node[0] == "where":
        inner = node[1]
        return plain_form(inner)
    if node[0] == "list":
        return _plain_list(node)
    if (
        node[0] == "rel"
        and node[1] == ("in",)
        and _kind(node[2][0]) == "group"
        and _kind(node[2][1]) == "set"
    ):
        return node[2][1]  # type: ignore[no-any-return]
    if node[0] in ("rel", "+-", "-+") or has(node, "+-", "-+"):
        branches = spread(node)
        if len(branches) == 1 and node[0] == "rel":
            return _all_equal(node)
        if len(branches) == 2:
            excluded = isinstance(node, tuple) and node[0] == "rel" and "!=" in node[1]
            return ("list", "and" if excluded else "or", tuple(branches))
    return node


def _all_equal(node: Any) -> Node:
    """`x = y = z = 1` names three values."""
    *named, value = node[2]
    if (
        len(named) > 1
        and set(node[1]) == {"="}
        and not symbols(value)
        and all(_kind(n) == "v" for n in named)
    ):
        return ("list", ",", tuple(("rel", ("=",), (name, value)) for name in named))
    return cast(Node, node)


def spread(node: Node) -> list[Node]:
    """The two readings of an expression with plus-minus, all signs turned together; else the node itself."""
    if not has(node, "+-", "-+") or (
        isinstance(node, tuple) and node[0] in ("group", "set", "where_set", "mat")
    ):
        return [node]
    return [_choose(node, "+-"), _choose(node, "-+")]


def _choose(node: Any, plus: str) -> Any:
    if not isinstance(node, tuple):
        return node
    if node and node[0] in ("+-", "-+"):
        left, right = _choose(node[1], plus), _choose(node[2], plus)
        signed = right if node[0] == plus else ("-", right)
        return signed if left == 0 else ("+", left, signed)
    if node and node[0] in ("v", "k", "dec", "unit", "text", "base"):
        return node
    return tuple(_choose(item, plus) for item in node)


def _plain_list(node: Any) -> Node:
    items: list[Node] = []
    for item in node[2]:
        items.extend(
            spread(item if not (isinstance(item, tuple) and item[0] == "where") else item[1])
        )
    name: Node | None = None
    named: list[Node] = []
    for item in items:
        if isinstance(item, tuple) and item[0] == "rel":
            name = (
                item[2][0]
                if item[1] == ("=",)
                and isinstance(item[2][0], tuple)
                and item[2][0][0] in ("v", "call", "group")
                else None
            )
        elif name is not None and not (
            isinstance(item, tuple) and item[0] in ("k", "text", "dots")
        ):
            item = ("rel", ("=",), (name, item))
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
    return System(names_, tuple(f.value for f in found if f))


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


def _values_only(node: Node) -> Node:
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


def compare_lists(judge: Judge, a: Node, b: Node) -> bool | None:
    """Two things of which at least one is a list."""
    first, second = system(a), system(b)
    if first and second:
        if set(first.names) == set(second.names):
            other = dict(zip(second.names, second.values))
            return judge.all_same(
                [(value, other[name]) for name, value in zip(first.names, first.values)]
            )
        if len(first.names) != len(second.names) or set(first.names) & set(second.names):
            return False
        return False
    for one, whole, swapped in ((first, b, False), (second, a, True)):
        if one is not None:
            found = _system_against(judge, one, whole, swapped)
            if found is not None:
                return found
    intervals = _as_sets(judge, a, b)
    if intervals is not None:
        return intervals
    if _has_dots(a) or _has_dots(b):
        p, q = parts_of(a), parts_of(b)
        return judge.all_same(list(zip(p, q))) if len(p) == len(q) else False
    if _single_names(a) and _single_names(b) and _single_names(a) != _single_names(b):
        return False
    p_items, q_items = parts_of(_values_only(a)), parts_of(_values_only(b))
    if _kind(a) == _kind(b) == "list" and judge.options.order_matters:
        return (
            judge.all_same(list(zip(p_items, q_items))) if len(p_items) == len(q_items) else False
        )
    if (
        {_kind(a), _kind(b)} & {"group", "cup", "cap", "setminus", "where_set", "mat"}
        and min(len(p_items), len(q_items)) == 1
        and len(p_items) != len(q_items)
    ):
        return False
    return match(judge, p_items, q_items, as_sets=True)


def _kind(node: Node) -> str:
    return node[0] if isinstance(node, tuple) else ""


def _single_names(node: Any) -> set[str]:
    """The names that a list assigns to."""
    if _kind(node) != "list":
        return set()
    found = [relations.assignment(item) for item in node[2]]
    return {f.name.partition("_")[0] for f in found if f}


def _system_against(judge: Judge, one: System, whole: Any, swapped: bool) -> bool | None:
    """Named values against a bare tuple or a list in the same order."""
    if _kind(whole) == "group":
        values = whole[3]
        if whole[1] != "(" or whole[2] != ")" or len(values) != len(one.values):
            return False
    elif _kind(whole) == "list":
        items = whole[2]
        if any(_kind(item) == "rel" for item in items):
            return None
        values = items
    else:
        return None
    if len(values) != len(one.values):
        return False
    pairs = list(zip(one.values, values))
    return judge.all_same([(y, x) for x, y in pairs] if swapped else pairs)


def _as_sets(judge: Judge, a: Any, b: Any) -> bool | None:
    """Lists of inequalities as sets of reals."""
    if not any(
        _kind(item) == "rel" and not set(item[1]) <= {"=", "~", "==="}
        for side in (a, b)
        for item in parts_of(side)
    ):
        return None
    names_a: set[str] = set()
    names_b: set[str] = set()
    try:
        p, q = realsets.read(a, names_a), realsets.read(b, names_b)
    except realsets.NotRealSet:
        return None
    if len(names_a) > 1 or len(names_b) > 1:
        return None
    if names_a and names_b and names_a != names_b:
        return False
    return realsets.equal(p, q, judge.same)


def _has_dots(node: Node) -> bool:
    return any(part == ("dots",) for part in parts_of(node))


def match(judge: Judge, a: Sequence[Node], b: Sequence[Node], *, as_sets: bool) -> bool | None:
    """Pair the items of two collections off in any order; repeated items count once."""
    x, y = _keyed(a), _keyed(b)
    if x is not None and y is not None:
        judge.used("rational")
        if set(x) == set(y):
            return True
        if not any(_kind(item) in ("dec", "*", "-") for item in (*a, *b)):
            return False
    if len(a) > 400 or len(b) > 400:
        return None
    in_order = _by_size(a), _by_size(b)
    if len(a) == len(b) and in_order[0] is not None and in_order[1] is not None:
        found = judge.all_same(list(zip(in_order[0], in_order[1])))
        if found:
            return True
    return _covers(judge, a, b)


def _covers(judge: Judge, a: Sequence[Node], b: Sequence[Node]) -> bool | None:
    """Every item of each side has its equal on the other."""
    if len(a) * len(b) > 40_000:
        return None
    unknown = False
    met: set[int] = set()
    for x in a:
        found_any = False
        for i, y in enumerate(b):
            found = judge.same(x, y)
            if found:
                met.add(i)
                found_any = True
                if len(a) == len(b):
                    break
            unknown |= found is None
        if not found_any:
            return None if unknown else False
    for i, y in enumerate(b):
        if i not in met and not any(judge.same(x, y) for x in a):
            return None if unknown else False
    return True


def _keyed(items: Sequence[Node]) -> list[Any] | None:
    try:
        return [exact(item) for item in items]
    except NotRational:
        return None


def _by_size(items: Sequence[Node]) -> list[Node] | None:
    """Closed items by real, then imaginary part."""
    from stepgym.envs.maths import numeric

    keys = []
    for item in items:
        if isinstance(item, tuple) and (symbols(item) or item[0] in ("group", "rel", "list")):
            return None
        ball = numeric.complex_value(item, 64)
        if ball is None:
            return None
        keys.append((float(ball.real.mid()), float(ball.imag.mid())))
    return [item for _, item in sorted(zip(keys, items), key=lambda pair: pair[0])]


def is_true_chain(judge: Judge, relation: Any) -> bool:
    """Whether closed sides of a chain of equalities agree; a chain that names a symbol may hold slips of the pen."""
    sides = relation[2]
    if symbols(sides[0]) or _kind(sides[0]) == "unit":
        return True
    return all(judge.same(x, y) is True for x, y in pairwise(sides))

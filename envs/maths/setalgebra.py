r"""Sets built from other sets by union, intersection, difference and complement: `A \setminus B` is `A \cap B^c`.

Two such sets are equal if they hold the same elements wherever an element may be: in or out of each set that they are
built from (a leaf). That proves equality. It proves a difference only between sets that have letters as their names,
because other leaves may depend on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from stepgym.envs.maths import realsets
from stepgym.envs.maths.tree import Node, has, symbols

MAX_LEAVES = 8
_CHAIN = "NZQR"
"""Sets of numbers, each a part of the next."""
_OPERATORS = ("cup", "cap", "setminus")
_PARAMETERS = frozenset("k n m l j t K N".split())
Formula = Callable[[Sequence[bool]], bool]
"""Whether an element is in the set, by the leaves that it is in."""


class NotSet(Exception):
    """Not a set that is read here."""


class Algebra:
    """Reads set expressions as formulas over common leaves."""

    def __init__(self, same: realsets.Same) -> None:
        self.same = same
        self.leaves: list[Node] = []

    def equal(self, a: Node, b: Node) -> bool | None:
        """Whether two sets are equal; `None` if that is neither proven nor disproven; raises `NotSet`."""
        first, second = self._formula(a), self._formula(b)
        if len(self.leaves) > MAX_LEAVES:
            return None
        places = product((False, True), repeat=len(self.leaves))
        if all(first(place) == second(place) for place in places if self._is_possible(place)):
            return True
        return False if all(map(_is_name, self.leaves)) else None

    def _is_possible(self, place: Sequence[bool]) -> bool:
        """Whether an element may be in exactly these leaves: all are real numbers if one leaf has numbers."""
        inside = {leaf[1]: held for leaf, held in zip(self.leaves, place) if _is_number_set(leaf)}  # type: ignore[index]
        held = [inside[name] for name in _CHAIN if name in inside]
        return held == sorted(held) and inside.get("R", True)

    def _leaf(self, node: Node) -> Formula:
        for i, other in enumerate(self.leaves):
            if node == other or (_kind(node) == _kind(other) and self.same(other, node)):
                return lambda place: place[i]
        self.leaves.append(node)
        last = len(self.leaves) - 1
        return lambda place: place[last]

    def _formula(self, node: Any) -> Formula:
        kind = _kind(node)
        if kind in _OPERATORS:
            return _combined(kind, self._formula(node[1]), self._formula(node[2]))
        if kind == "+" and len(node) == 3 and _kind(node[2]) == "-":
            return _combined("setminus", self._formula(node[1]), self._formula(node[2][1]))
        if kind == "^" and node[2] in (("v", "c"), ("v", "C")):
            return _complement(self._formula(node[1]))
        if kind == "f" and node[1] == "conj":
            return _complement(self._formula(node[2][0]))
        if kind == "v" and node[1][0].isupper() and node[1].endswith("'"):
            return _complement(self._leaf(("v", node[1][:-1])))
        if _is_name(node) or _is_number_set(node) or kind in ("set", "group"):
            return self._leaf(node)
        if kind == "where_set":
            return self._built(node)
        if kind in ("rel", "list"):
            names = symbols(node) - _PARAMETERS
            if len(names) == 1:
                return self._condition(node, names.pop())
        raise NotSet

    def _built(self, node: Any) -> Formula:
        """Set-builder notation, with conditions on its element or on a whole number in it."""
        element, conditions = node[1:]
        if _kind(element) == "rel" and element[1] == ("in",) and _kind(element[2][0]) == "v":
            parts = [self._formula(element[2][1])]
            element = element[2][0]
        else:
            parts = []
        if _kind(element) == "v":
            parts += [self._condition(each, element[1]) for each in conditions]
            return _all_of(parts)
        if parts or not all(_is_domain(each) for each in conditions):
            raise NotSet
        return self._leaf(("set", (element,)))

    def _condition(self, node: Any, name: str) -> Formula:
        """What a condition on the letter `name` says of it."""
        if _kind(node) == "list" and node[1] in ("and", ",", "or"):
            parts = [self._condition(item, name) for item in node[2] if not _is_domain(item, name)]
            return _any_of(parts) if node[1] == "or" else _all_of(parts)
        if _is_domain(node, name):
            return lambda place: True
        if _kind(node) != "rel":
            raise NotSet
        operators, sides = node[1:]
        if len(operators) == 1 and sides[0] == ("v", name):
            if operators[0] in ("in", "notin"):
                inside = self._formula(sides[1])
                return inside if operators[0] == "in" else _complement(inside)
            if operators[0] in ("=", "!=") and name not in symbols(sides[1]):
                inside = self._leaf(("set", (sides[1],)))
                return inside if operators[0] == "=" else _complement(inside)
        if symbols(node) != {name} or has(node, "in", "notin"):
            raise NotSet
        return self._leaf(node)


def _combined(operator: str, a: Formula, b: Formula) -> Formula:
    if operator == "cup":
        return lambda place: a(place) or b(place)
    if operator == "cap":
        return lambda place: a(place) and b(place)
    return lambda place: a(place) and not b(place)


def _complement(a: Formula) -> Formula:
    return lambda place: not a(place)


def _all_of(parts: Sequence[Formula]) -> Formula:
    return lambda place: all(part(place) for part in parts)


def _any_of(parts: Sequence[Formula]) -> Formula:
    return lambda place: any(part(place) for part in parts)


def _is_domain(node: Any, name: str = "") -> bool:
    """`k in Z` says where a letter other than the element runs."""
    return (
        _kind(node) == "rel"
        and node[1] == ("in",)
        and node[2][1] == ("k", "Z")
        and _kind(node[2][0]) == "v"
        and node[2][0][1] in _PARAMETERS
        and node[2][0][1] != name
    )


def _is_name(node: Any) -> bool:
    """A capital letter, which names a set."""
    return _kind(node) == "v" and node[1][0].isupper() and not node[1].endswith("'")


def _is_number_set(node: Any) -> bool:
    return _kind(node) == "k" and node[1] in _CHAIN


def _kind(node: Any) -> str:
    return node[0] if isinstance(node, tuple) else ""

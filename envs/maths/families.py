"""Arbitrary constants of antiderivatives and of solutions, and families over the whole numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from stepgym.envs.maths.tree import Node, has, substitute, symbols

_CONSTANTS = ("C", "c", "K", "C_1", "c_1", "const", "C_0")
_ONE_CONSTANT = frozenset(("C", "c", "K", "C_1", "c_1", "C_0"))
_ANY_CONSTANT = _ONE_CONSTANT | frozenset("A B D M k C_2 c_2 K_1 K_2 k_1 k_2 A_1 A_2".split())
_TWO_CONSTANTS = ({"C_1", "C_2"}, {"c_1", "c_2"}, {"A", "B"})


def may_hold_constants(names: set[str]) -> bool:
    """Whether one of these letters may be an arbitrary constant."""
    return any(name[0] in "ABCDKMck" for name in names)


def name_constants(node: Any) -> Any:
    """Constants of integration called alike: `c_1` is `C_1`, unless both occur."""
    names = symbols(node)
    renamed: dict[str, Node] = {
        n: ("v", n.upper()) for n in names if n[:2] == "c_" and n.upper() not in names
    }
    return substitute(node, renamed) if renamed else node


def rename_constants(a: Node, b: Node, *, any_name: bool = False) -> list[Any]:
    """`b` with its arbitrary constants called as those of `a`: `A, B` for `C_1, C_2`; empty if there are none.

    With `any_name`, every letter that is often a constant may be one.
    """
    ours, theirs = symbols(a), symbols(b)
    wanted, given = sorted(ours - theirs), sorted(theirs - ours)
    if len(wanted) != len(given) or not ours & theirs or not has(a, "^", "f"):
        return []
    if len(wanted) == 1 and {*wanted, *given} <= (_ANY_CONSTANT if any_name else _ONE_CONSTANT):
        return [substitute(b, {given[0]: ("v", wanted[0])})]
    if len(wanted) == 2 and all(
        set(side) in _TWO_CONSTANTS or (any_name and set(side) <= _ANY_CONSTANT)
        for side in (wanted, given)
    ):
        return [
            substitute(b, {old: ("v", new) for old, new in zip(given, names)})
            for names in (wanted, wanted[::-1])
        ]
    return []


def without_constant(node: Node) -> Node | None:
    """Return a sum without its constant of integration; `None` if it has none."""
    if not (isinstance(node, tuple) and node[0] == "+"):
        return None
    rest = tuple(
        term
        for term in node[1:]
        if not (isinstance(term, tuple) and term[0] == "v" and term[1] in _CONSTANTS)
    )
    if len(rest) != len(node) - 2 or not rest:
        return None
    return rest[0] if len(rest) == 1 else ("+", *rest)


def family(node: Node) -> tuple[Node, Node] | None:
    """Offset and step of what runs over the whole numbers in steps with pi or degrees: `pi/4 + k pi`."""
    names = symbols(node)
    if len(names) != 1 or not names <= {"k", "n", "m", "l", "K", "N"} or not has(node, "k", "deg"):
        return None
    from stepgym.envs.maths import numeric  # loads python-flint

    letter = next(iter(names))
    at = [substitute(node, {letter: k}) for k in (0, 1, 2)]
    gaps = [numeric.complex_value(("+", y, ("-", x))) for x, y in pairwise(at)]
    if gaps[0] is None or gaps[1] is None or not gaps[0].overlaps(gaps[1]) or gaps[0].contains(0):
        return None
    return at[0], ("+", at[1], ("-", at[0]))

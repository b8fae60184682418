"""How large an expression is, read from its tree before anything is evaluated."""

from __future__ import annotations

from fractions import Fraction

from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, children, has
from stepgym.envs.types import Fault

MAX_HEIGHT = 20_000
"""Bits beyond which ball arithmetic does not try."""


def height(node: Node) -> int:
    """Bits of the whole numbers in `node`, powers multiplied out; how fine a difference it can express."""
    if isinstance(node, int):
        return node.bit_length() + 1
    if isinstance(node, Fraction):
        return node.numerator.bit_length() + node.denominator.bit_length() + 1
    kind = node[0]
    if kind == "dec":
        return height(node[1])
    if kind == "^":
        try:
            exponent = exact(node[2])
            exponent = -exponent if exponent < 0 else exponent
        except NotRational:
            return height(node[1]) + 64 * height(node[2])
        return min(MAX_HEIGHT * 2, int(height(node[1]) * max(1, exponent)) + 1)
    if kind in ("+", "*", "/", "-"):
        return sum(height(child) for child in node[1:])
    if kind == "f":
        return sum(height(child) for child in node[2]) * (8 if node[1] == "factorial" else 1) + 8
    return 16


def in_reach(node: Node) -> bool:
    """Whether the rungs without a process can evaluate `node`: no open-ended operator, no huge number."""
    if has(node, "sum", "prod", "int", "lim"):
        return False
    return _tallest(node) <= MAX_HEIGHT


def _tallest(node: Node) -> int:
    """The height of the tallest scalar in a list, tuple, set or relation."""
    if isinstance(node, tuple) and node[0] in _SHAPES:
        return max((_tallest(child) for child in children(node)), default=0)
    return height(node)


_SHAPES = frozenset(
    "list group set where_set cup cap setminus mat ratio cases rel mod where".split()
)


def whose_fault(reference: Node | None, answer: Node | None) -> Fault:
    """Whose fault an undecided pair is: the answer's if the reference is in reach and the answer is not.

    `None` means a text that could not be read.
    """
    if reference is None or not in_reach(reference):
        return Fault.OURS
    return Fault.OURS if answer is not None and in_reach(answer) else Fault.ANSWER

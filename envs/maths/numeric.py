"""The numeric rung: ball arithmetic on closed numbers and at random points. What its *yes* means: see `scalars.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from flint import acb, arb

from stepgym.envs.maths import balls
from stepgym.envs.maths.bounds import MAX_HEIGHT, height
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, mentions, symbols, walk

MAX_PRECISION = 6_000
NUM_POINTS = 5
_RANGES = (
    (0.2, 0.95),
    (-0.95, -0.2),
    (1.05, 3.0),
    (-3.0, -1.05),
    (3.0, 20.0),
    (0.02, 0.2),
    (-20.0, -3.0),
    (20.0, 90.0),
)


def _root_degree(node: Node) -> int:
    """The product of the indices of the distinct roots, capped."""
    degree, seen = 1, set()
    for n in walk(node):
        if not isinstance(n, tuple) or n in seen:
            continue
        seen.add(n)
        if n[0] == "f" and n[1] == "sqrt":
            degree *= 2
        elif n[0] == "f" and n[1] == "root" and isinstance(n[2][0], int):
            degree *= max(1, n[2][0])
        elif n[0] == "^":
            with contextlib.suppress(NotRational):
                degree *= Fraction(exact(n[2])).denominator
        if degree > MAX_PRECISION:
            return MAX_PRECISION
    return degree


def _meet(a: Any, b: Any) -> bool | None:
    """False when the balls are apart, True when they meet, `None` when one is no number."""
    if not (a.is_finite() and b.is_finite()):
        return None
    return bool(a.overlaps(b))


def same_closed(a: Node, b: Node) -> bool | None:
    """Compare two closed numbers; `None` where there is no ball or it cannot be made small enough."""
    try:
        nodes = num_nodes(a) + num_nodes(b)
        spend(nodes)
        with balls.working_precision(128):
            first = _meet(balls.evaluate(a, {}), balls.evaluate(b, {}))
            if first is False:
                return False
        size = height(a) + height(b)
        if size > MAX_HEIGHT:
            return None
        needed = max(512, min(MAX_PRECISION, _root_degree(("+", a, b)) * size + 64), 256 + 2 * size)
        spend(nodes * balls.step_cost(needed + size + 64))
        with balls.working_precision(needed + size + 64):
            x, y = balls.evaluate(a, {}), balls.evaluate(b, {})
            met = _meet(x, y)
            return met if not met else (True if _tight(x, y, needed) else None)
    except (balls.NoBall, NotRational, RecursionError):
        return None


def _tight(a: Any, b: Any, bits: int) -> bool:
    """Whether the difference is known to `bits` bits below the size of the values."""
    difference = a - b
    radius = max(difference.real.rad(), difference.imag.rad())
    scale = max(abs(a).mid(), 1) if not a.contains(0) else 1
    return bool(radius < scale * arb(2) ** (-(bits * 3 // 4)))


def same_open(a: Node, b: Node, names: list[str], rng: Draws) -> bool | None:
    """Compare two expressions with symbols wherever both are defined."""
    plane = _complex_letters(a) | _complex_letters(b) if mentions(_CONJUGATION, a, b) else set()
    imaginary = bool(plane) or any(n == ("k", "i") for node in (a, b) for n in walk(node))
    if not imaginary:
        found = _at_points(a, b, names, rng, real=True)
        if found is not None:
            return found
    return _at_points(a, b, names, rng, real=False, plane=plane)


_CONJUGATION = frozenset(("conj", "Re", "Im"))
"""Functions that are only of use for complex numbers."""


def _complex_letters(node: Node) -> set[str]:
    """Letters that are no real numbers: `z` in `\\bar{z}`, but not those in `\\overline{a + bi}`."""
    return {
        name
        for part in walk(node)
        if isinstance(part, tuple) and part[0] == "f" and part[1] in _CONJUGATION
        if ("k", "i") not in walk(part)
        for name in symbols(part)
    }


def _at_points(
    a: Node, b: Node, names: list[str], rng: Draws, *, real: bool, plane: Set[str] = frozenset()
) -> bool | None:
    """Compare at random points; letters in `plane` are complex, all others real."""
    size = height(a) + height(b)
    if size > MAX_HEIGHT:
        return None
    seen = 0
    steps = (num_nodes(a) + num_nodes(b)) * balls.step_cost(300 + 2 * size)
    for trial in range(24):
        spend(steps)
        point = {
            name: _draw(rng, trial if i == 0 else rng.below(8)) for i, name in enumerate(names)
        }
        heights = {name: _draw(rng, rng.below(8)) for name in names if name in plane}
        met = _at_point(a, b, point, size, real, heights)
        if met is False:
            return False
        seen += met is True
        if seen >= NUM_POINTS and trial >= 7:
            return True
    return True if seen >= 3 else None


def same_at(a: Node, b: Node, point: dict[str, Fraction]) -> bool | None:
    """Compare two expressions at one real point; `None` where they are not both defined.

    They agree if they do to 200 bits after the point, however large they are: a small term must not be lost.
    """
    size = height(a) + height(b) + 64
    nodes = num_nodes(a) + num_nodes(b)
    spend(nodes)
    bits = _bits_before_point(a, point)
    if bits is None or bits > MAX_HEIGHT:
        return None
    spend(nodes * balls.step_cost(300 + 2 * (size + bits)))
    return _at_point(a, b, point, size + bits, real=True)


def _bits_before_point(node: Node, point: dict[str, Fraction]) -> int | None:
    with balls.working_precision(96):
        values: dict[str, Any] = {name: balls.to_ball(value) for name, value in point.items()}
        values[balls.REAL] = True
        try:
            mantissa, exponent = abs(balls.evaluate(node, values)).mid().man_exp()
        except (balls.NoBall, NotRational, ValueError, RecursionError):
            return None
    return max(0, int(exponent) + int(mantissa).bit_length())


def _draw(rng: Draws, which: int) -> Fraction:
    low, high = _RANGES[which % len(_RANGES)]
    grain = 1 << 40
    return Fraction(rng.between(int(low * grain), int(high * grain)), grain)


def _at_point(
    a: Node,
    b: Node,
    point: dict[str, Fraction],
    size: int,
    real: bool,
    heights: Mapping[str, Fraction] = MappingProxyType({}),
) -> bool | None:
    """Compare at one point; `heights` are the imaginary parts of its coordinates, if they have any."""
    for bits in (96, 300 + 2 * size):
        with balls.working_precision(bits):
            values: dict[str, Any] = {name: balls.to_ball(value) for name, value in point.items()}
            for name, height_of in heights.items():
                values[name] += balls.to_ball(height_of) * acb(0, 1)
            if real:
                values[balls.REAL] = True
            try:
                x, y = balls.evaluate(a, values), balls.evaluate(b, values)
            except (balls.NoBall, NotRational, RecursionError):
                return None
            met = _meet(x, y)
            if not met:
                return met
            if bits > 96:
                return True if _tight(x, y, bits - 2 * size) else None
    return None


def complex_value(node: Node, bits: int = 128) -> acb | None:
    """The ball of a closed number, or `None`."""
    try:
        with balls.working_precision(bits):
            value = balls.evaluate(node, {})
            return value if value.is_finite() else None
    except (balls.NoBall, NotRational, RecursionError):
        return None

"""Areas of polygons with whole-number corners, by the shoelace formula. Levels raise corners and coordinates."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from math import atan2

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/LatticePolygons-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw corners around a point, in the order of their angles, so that no two sides cross."""
    count, size = scaled(level, 3, 8), scaled(level, 5, 25)
    while True:
        corners = [(rng.randint(-size, size), rng.randint(-size, size)) for _ in range(count)]
        corners.sort(key=lambda corner: atan2(corner[1], corner[0]))
        if all(turn > 0 for turn in _turns(corners)):
            break
    shift_x, shift_y = rng.randint(0, size), rng.randint(0, size)
    corners = [(x + shift_x, y + shift_y) for x, y in corners]
    parts = _turns(corners)
    value = Fraction(abs(sum(parts)), 2)
    question = worded(
        rng,
        "What is the area of the polygon with the corners {corners}, in this order?",
        "A polygon has the corners {corners}, joined in this order. Find its area.",
        corners=", ".join(map(str, corners)),
    )
    steps = [
        f"{' + '.join(f'({part})' for part in parts)} = {sum(parts)}",
        f"{abs(sum(parts))} / 2 = {value}",
    ]
    return draft(question, value, steps)


def _turns(corners: Sequence[tuple[int, int]]) -> list[int]:
    """Return the cross product of each corner and the next; all are positive if the polygon runs around the origin."""
    return [x * v - u * y for (x, y), (u, v) in zip(corners, [*corners[1:], corners[0]])]


make = text_family(NAME, generate)

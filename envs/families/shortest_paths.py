"""The length of the shortest path in a weighted graph. Levels raise the number of towns and roads."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/ShortestPaths-v0"
Roads = dict[tuple[str, str], int]


def generate(rng: random.Random, level: int) -> Draft:
    """Draw a connected graph; roads go both ways."""
    towns = "ABCDEFGHJKLM"[: scaled(level, 4, 12)]
    roads: Roads = {}
    for k in range(1, len(towns)):
        roads[rng.choice(towns[:k]), towns[k]] = rng.randint(1, scaled(level, 9, 40))
    for _ in range(scaled(level, 2, 14)):
        a, b = sorted(rng.sample(towns, 2))
        roads.setdefault((a, b), rng.randint(1, scaled(level, 9, 40)))
    start, goal = rng.sample(towns, 2)
    path, length = shortest(roads, start, goal)
    order = list(roads.items())
    rng.shuffle(order)
    question = worded(
        rng,
        "Roads between towns, with their lengths: {roads}. How long is the shortest path from {start} to {goal}?",
        "A map has these roads, all of them two-way: {roads}. What is the least distance from {start} to {goal}?",
        roads=", ".join(f"{a}-{b} {size}" for (a, b), size in order),
        start=start,
        goal=goal,
    )
    lengths = [str(roads.get((a, b)) or roads[b, a]) for a, b in pairwise(path)]
    return draft(question, length, [f"Along {'-'.join(path)}: {' + '.join(lengths)} = {length}."])


def shortest(roads: Roads, start: str, goal: str) -> tuple[str, int]:
    """Return the towns of a shortest path and its length (Dijkstra 1959)."""
    neighbours: dict[str, list[tuple[str, int]]] = {}
    for (a, b), size in roads.items():
        neighbours.setdefault(a, []).append((b, size))
        neighbours.setdefault(b, []).append((a, size))
    queue, seen = [(0, start)], set()
    while True:
        length, path = heapq.heappop(queue)
        if path[-1] == goal:
            return path, length
        if path[-1] not in seen:
            seen.add(path[-1])
            for town, size in neighbours[path[-1]]:
                heapq.heappush(queue, (length + size, path + town))


make = text_family(NAME, generate)

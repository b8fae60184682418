"""Exact Countdown: which results a set of numbers can reach. The teacher of the embedded models' demonstrations."""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

from stepgym.agents.embedded.games import OPERATORS, combine

Numbers = tuple[int, ...]


def successors(numbers: Numbers) -> set[Numbers]:
    """Return the sorted number sets that one operation leads to."""
    found = set()
    for i, j in combinations(range(len(numbers)), 2):
        rest = numbers[:i] + numbers[i + 1 : j] + numbers[j + 1 :]
        for op in OPERATORS:
            result = combine(numbers[i], numbers[j], op)
            if result is not None:
                found.add(tuple(sorted((*rest, result))))
    return found


@lru_cache(maxsize=500_000)
def reachable(numbers: Numbers, limit: int = 1000) -> frozenset[int]:
    """Return all results up to `limit` that use each of the sorted `numbers` exactly once."""
    if len(numbers) == 1:
        return frozenset(n for n in numbers if n <= limit)
    return frozenset().union(*(reachable(rest, limit) for rest in successors(numbers)))


def keeps_reachable(numbers: Numbers, target: int) -> bool:
    """Say whether the target can still be reached."""
    return target in reachable(numbers)

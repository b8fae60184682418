"""Problems generated per second of CPU time, compared with reasoning-gym if it is installed.

    python benchmarks/generate.py [--items 2000] [--json]

Families of the same kind stand in one row. Both draw new items of their own default difficulty (here: level 5); each
figure is the median of three runs of the same process. An item has a question and an answer; ours also has its
worked solution. Two rows are no family: `mixture` has as many items of every pair,
and `one line` is the floor, an item with one number in its question, beside the start of a `random.Random`, with which
each item of reasoning-gym begins.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from stepgym.envs.families.text import draft
from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.registry import FAMILIES, load_env

PEERS = {
    "Countdown": "countdown",
    "Fractions": "fraction_simplification",
    "Divisors": "gcd",
    "Primes": "prime_factorization",
    "Polynomials": "polynomial_multiplication",
    "Integrals": "intermediate_integration",
    "ComplexNumbers": "complex_arithmetic",
    "NumberBases": "base_conversion",
    "Sequences": "number_sequence",
    "ShortestPaths": "shortest_path",
    "Sudoku": "sudoku",
    "GraphColouring": "graph_color",
    "Hanoi": "tower_of_hanoi",
    "WordProblems": "gsm_symbolic",
    "TwentyFour": "puzzle24",
    "Cryptarithms": "cryptarithm",
}
"""Family -> the dataset of reasoning-gym that is most like it."""


def rate(draw: Callable[[int], Any], items: int) -> float:
    """Return the median items per CPU second of three runs over different indices."""
    rates = []
    for run in range(3):
        started = time.process_time()
        for index in range(run * items, (run + 1) * items):
            draw(index)
        rates.append(items / (time.process_time() - started))
    return statistics.median(rates)


def one_line(rng: random.Random, level: int) -> Draft:
    number = rng.randint(1, 30)
    return draft(f"What is {number}?", number)


def compared(family: str, ours: float, peer: str, peers: float) -> dict[str, Any]:
    """Return a row of two rates."""
    return {
        "family": family,
        "per_second": ours,
        "peer": peer,
        "peer_per_second": peers,
        "ratio": ours / peers,
    }


def mixture(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of a mixture with as many items of every pair."""
    ours, peers = (
        statistics.harmonic_mean([row[key] for row in rows])
        for key in ("per_second", "peer_per_second")
    )
    return compared("mixture", ours, f"the same {len(rows)} pairs", peers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--peers-only", action="store_true", help="only families with a peer")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        import reasoning_gym
    except ImportError:
        reasoning_gym = None
    rows = []
    for family in PEERS if given.peers_only else FAMILIES:
        problems = load_env(f"{family}-v0", level=5).problems
        ours = rate(problems.__getitem__, given.items)
        if reasoning_gym is None or family not in PEERS:
            rows.append({"family": family, "per_second": ours})
            continue
        name = PEERS[family]
        peer = reasoning_gym.create_dataset(name, size=3 * given.items, seed=1)
        rows.append(compared(family, ours, name, rate(peer.__getitem__, given.items)))
    if pairs := [row for row in rows if "peer" in row]:
        rows.append(mixture(pairs))
    floor = rate(ProceduralSet("one line", one_line).__getitem__, 10 * given.items)
    rows.append(compared("one line", floor, "random.Random", rate(random.Random, 10 * given.items)))
    if given.json:
        print(json.dumps(rows))
        return
    for row in rows:
        peer = (
            f"{row['peer']:28}{row['peer_per_second']:>10,.0f}{row['ratio']:>8.1f}x"
            if "peer" in row
            else ""
        )
        print(f"{row['family']:18}{row['per_second']:>10,.0f} items/s   {peer}")


if __name__ == "__main__":
    main()

"""Problems generated per second of CPU time, compared with reasoning-gym if it is installed.

    python benchmarks/generate.py [--items 2000] [--json]

Families of the same kind stand in one row. Both draw new items of their own default difficulty (here: level 5); each
figure is the median of three runs of the same process. The last line is the time for one item of every pair.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

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
        row: dict[str, Any] = {
            "family": family,
            "per_second": rate(problems.__getitem__, given.items),
        }
        if reasoning_gym is not None and family in PEERS:
            peer = reasoning_gym.create_dataset(PEERS[family], size=3 * given.items, seed=1)
            row |= {"peer": PEERS[family], "peer_per_second": rate(peer.__getitem__, given.items)}
            row["ratio"] = row["per_second"] / row["peer_per_second"]
        rows.append(row)
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
    pairs = [row for row in rows if "peer" in row]
    if pairs:
        ours = sum(1e3 / row["per_second"] for row in pairs)
        peers = sum(1e3 / row["peer_per_second"] for row in pairs)
        print(
            f"One item of each of {len(pairs)} pairs: {ours:.1f} ms, reasoning-gym {peers:.1f} ms, {peers / ours:.1f}x"
        )


if __name__ == "__main__":
    main()

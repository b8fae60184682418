"""Measures the CPU time that the step verifier takes for one step of a solution.

    python benchmarks/step_times.py FILE... [--json]

Each FILE is in ProcessBench's shape. The time for the problem's own text is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from stepgym.envs.steps.processbench import read_labelled
from stepgym.envs.steps.verifier import check_steps


class TimedSteps(list[str]):
    """Steps that note how long their reader takes with each."""

    def __init__(self, steps: tuple[str, ...], taken_ms: list[float]) -> None:
        super().__init__(steps)
        self.taken_ms = taken_ms

    def __iter__(self) -> Iterator[str]:
        for step in super().__iter__():
            begin = time.process_time_ns()
            yield step
            self.taken_ms.append((time.process_time_ns() - begin) / 1e6)


def measure(file: str) -> dict[str, float]:
    """Return the number of steps, and the median, the 99th percentile and the maximum in milliseconds."""
    taken: list[float] = []
    for solution in read_labelled(file):
        check_steps(solution.problem, TimedSteps(solution.steps, taken))
    return {
        "steps": len(taken),
        "median_ms": round(statistics.median(taken), 2),
        "p99_ms": round(statistics.quantiles(taken, n=100)[-1], 2),
        "max_ms": round(max(taken), 2),
    }


def main() -> None:
    """Print the times of each file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {Path(file).name: measure(file) for file in options.files}
    if options.json:
        print(json.dumps(found))
        return
    for name, times in found.items():
        print(
            f"{name}: {times['steps']} steps, median {times['median_ms']} ms, "
            f"99th percentile {times['p99_ms']} ms, most {times['max_ms']} ms"
        )


if __name__ == "__main__":
    main()

"""Side by side: this package's verifier and Math-Verify on the same pairs, in one process and one run.

    python benchmarks/verify.py [FILE.jsonl ...] [--json] [--repeats 3] [--disagreements OUT.jsonl]

Each line of a file holds `reference`, `answer` and `expected`. Without files, the pairs in `benchmarks/data` are used.
The two take turns on the whole file, `--repeats` times, so that both meet the same load of the machine. Math-Verify gets both texts between
dollar signs, as its own tests do, or as they are where they hold delimiters, and counts as undecided when it raises.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_FILES = tuple(
    Path(__file__).parent / "data" / f"maths_{name}.jsonl" for name in ("mix", "pairs")
)


class Outcome(NamedTuple):
    """One verifier's word on one pair: `None` is undecided."""

    said: bool | None
    microseconds: float


def ours(reference: str, answer: str) -> bool | None:
    from stepgym.envs.maths import verify_answer
    from stepgym.envs.types import Status

    verdict = verify_answer(answer, reference=reference)
    return None if verdict.status is Status.UNDECIDED else verdict.correct


def peer(reference: str, answer: str) -> bool | None:
    from math_verify import parse, verify

    try:
        return bool(verify(parse(_delimited(reference)), parse(_delimited(answer))))
    except Exception:  # noqa: BLE001 - the peer's failure is a result of this benchmark
        return None


def _delimited(text: str) -> str:
    return (
        text
        if "$" in text or "\\boxed" in text or "\\(" in text or len(text) > 200
        else f"${text}$"
    )


def timed(function: Any, row: dict[str, Any]) -> Outcome:
    start = time.perf_counter_ns()
    said = function(row["reference"], row["answer"])
    return Outcome(said, (time.perf_counter_ns() - start) / 1000)


def forget() -> None:
    """Empty our caches, so that a repeat measures work and not memory."""
    from stepgym.envs.maths import radicals, reading, textual, units

    for cached in (reading._read_cached, textual.words, units.read_unit, radicals._squarefree):
        cached.cache_clear()


def measure(rows: list[dict[str, Any]], repeats: int) -> dict[str, list[list[Outcome]]]:
    """Per verifier and pair, the outcomes of all repeats; the verifiers take turns."""
    results: dict[str, list[list[Outcome]]] = {"ours": [], "math_verify": []}
    for row in rows[:3]:  # imports and warm-up
        ours(row["reference"], row["answer"])
        peer(row["reference"], row["answer"])
    ours("\\int_0^1 x\\,dx", "1/2")
    for name in results:
        results[name] = [[] for _ in rows]
    for _ in range(repeats):
        forget()
        for name, function in (("ours", ours), ("math_verify", peer)):
            for row, outcomes in zip(rows, results[name]):
                outcomes.append(timed(function, row))
    return results


def summarise(rows: list[dict[str, Any]], outcomes: list[list[Outcome]]) -> dict[str, Any]:
    """Counts and times of one verifier: medians over repeats; the mean rate also per repeat, for its spread."""
    said = [repeats[0].said for repeats in outcomes]
    times = sorted(statistics.median(o.microseconds for o in repeats) for repeats in outcomes)
    totals = [sum(repeats[i].microseconds for repeats in outcomes) for i in range(len(outcomes[0]))]
    return {
        "pairs": len(rows),
        "right": sum(s == row["expected"] for s, row in zip(said, rows)),
        "false_positives": sum(s is True and not row["expected"] for s, row in zip(said, rows)),
        "false_negatives": sum(s is False and row["expected"] for s, row in zip(said, rows)),
        "undecided": sum(s is None for s in said),
        "median_us": round(statistics.median(times), 1),
        "p99_us": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
        "pairs_per_second": round(1e6 * len(rows) / statistics.median(totals), 1),
        "pairs_per_second_spread": [
            round(1e6 * len(rows) / t, 1) for t in (max(totals), min(totals))
        ],
    }


def disagreements(
    rows: list[dict[str, Any]], results: dict[str, list[list[Outcome]]]
) -> list[dict[str, Any]]:
    """Pairs on which a verifier differs from what was expected or from the other."""
    found = []
    for i, row in enumerate(rows):
        words = {name: results[name][i][0].said for name in results}
        if len({*words.values(), row["expected"]}) > 1:
            found.append({**row, **words})
    return found


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="*", type=Path, default=list(DEFAULT_FILES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--disagreements", type=Path, default=Path("verify-disagreements.jsonl"))
    given = parser.parse_args()
    report: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "commit": _commit(),
        "files": {},
    }
    with given.disagreements.open("w", encoding="utf-8") as lines:
        for path in given.files:
            rows = [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]
            rows = [row for row in rows if isinstance(row.get("expected"), bool)]
            results = measure(rows, given.repeats)
            summary: dict[str, Any] = {
                name: summarise(rows, outcomes) for name, outcomes in results.items()
            }
            summary["ratio"] = round(
                summary["ours"]["pairs_per_second"] / summary["math_verify"]["pairs_per_second"], 1
            )
            report["files"][path.name] = summary
            for row in disagreements(rows, results):
                lines.write(json.dumps({"file": path.name, **row}) + "\n")
    print(json.dumps(report) if given.json else table(report))


def table(report: dict[str, Any]) -> str:
    columns = (
        "pairs",
        "right",
        "false_positives",
        "false_negatives",
        "undecided",
        "median_us",
        "p99_us",
        "pairs_per_second",
    )
    lines = ["  ".join(["file".ljust(24), "verifier".ljust(12), *(c.rjust(16) for c in columns)])]
    for name, summary in report["files"].items():
        for verifier in ("ours", "math_verify"):
            cells = [str(summary[verifier][c]).rjust(16) for c in columns]
            lines.append("  ".join([name[:24].ljust(24), verifier.ljust(12), *cells]))
        lines.append(f"{name}: {summary['ratio']} times the pairs per second")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

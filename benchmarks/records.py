"""How many records a second one writer puts on the disk, with a flush for each and with shared flushes."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.records.group_commit import written
from stepgym.records.run_folder import RunFolder, read_episodes
from stepgym.records.schema import to_line
from stepgym.records.types import RunConfig

CONFIG = RunConfig(env_id="stepgym/Countdown-v0", agent="greedy", policy="embedded")


def flush_each(folder: RunFolder, records: Sequence[EpisodeRecord]) -> None:
    for record in records:
        folder.append(record)


def shared_flushes(folder: RunFolder, records: Sequence[EpisodeRecord]) -> None:
    for _ in written(folder, records):
        pass


def speed(
    write: Callable[[RunFolder, Sequence[EpisodeRecord]], None], records: Sequence[EpisodeRecord]
) -> float:
    """Return records a second, written to a new folder in the current directory's file system."""
    with tempfile.TemporaryDirectory(dir=".") as parent:
        with RunFolder(Path(parent) / "run", CONFIG) as folder:
            started = time.perf_counter()
            write(folder, records)
            seconds = time.perf_counter() - started
        assert sum(1 for _ in read_episodes(folder.path)) == len(records)
    return len(records) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--agent", default="greedy")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    env = load_env(CONFIG.env_id, level=2)
    problems = [env.problems[i] for i in range(64)]
    played = list(
        iter_solve(problems, env=env, agent=options.agent, policy="embedded", verify_all=True)
    )
    records = [played[i % len(played)] for i in range(options.records)]
    found: dict[str, list[float]] = {"flush_each": [], "shared_flushes": []}
    for _ in range(options.rounds):  # interleaved, so that load counts for both alike
        found["flush_each"].append(speed(flush_each, records[: max(1, len(records) // 10)]))
        found["shared_flushes"].append(speed(shared_flushes, records))
    result = {
        "bytes_per_record": round(statistics.mean(len(to_line(record)) for record in played)),
        **{
            name: {
                "records_per_s": round(statistics.median(values)),
                "least": round(min(values)),
                "most": round(max(values)),
            }
            for name, values in found.items()
        },
    }
    print(json.dumps(result, indent=None if options.json else 2))


if __name__ == "__main__":
    main()

"""What a session's fork costs, beside running its cells again, and what an idle fork holds.

    python benchmarks/sessions.py --json
    python benchmarks/sessions.py --sandbox local --live 500

The session has loaded numpy, defined a few functions and written a file. `replay` builds the same state by running the
cells again in a fresh session, which is what an interpreter without forks must do at each branch of a search.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from typing import Any

import click

from stepgym.sandbox import Session, open_sandbox

CELLS = [
    "import numpy as np, collections, math\nrows = [(i, str(i)) for i in range(1000)]",
    "def step(x):\n    return [y + 1 for y in x]\ntable = collections.Counter(i % 7 for i in range(1000))",
    "with open('notes.txt', 'w') as f: f.write('x' * 2000)\nm = np.arange(100.0).reshape(10, 10)",
    "for _ in range(20): m = m @ m / np.linalg.norm(m)\nround(float(m.sum()), 6)",
]
SLOW = "total = sum(i * i for i in range({count}))\ntotal"


def built(session: Session, cells: list[str]) -> Session:
    """Run the cells in a session and return it."""
    for cell in cells:
        result = session.run(cell)
        assert result.exit_code == 0, result
    return session


def spread(seconds: list[float]) -> dict[str, float]:
    """Return median and quartiles in milliseconds."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return {
        "median_ms": middle * 1000,
        "quartile_low_ms": low * 1000,
        "quartile_high_ms": high * 1000,
    }


def timed(action: Any) -> float:
    """Return how many seconds an action takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def fork_or_replay(sandbox: Any, rounds: int, cells: list[str]) -> dict[str, Any]:
    """Time a fork and a replay in turn, each with one more cell, as at a branch of a search."""
    parent = built(sandbox.open_session(), cells)
    forks, replays, alone, cells_s = [], [], [], []
    for number in range(rounds):
        begin = time.perf_counter()
        child = parent.fork()
        alone.append(time.perf_counter() - begin)
        cells_s.append(timed(lambda: child.run(f"branch = {number}")))  # noqa: B023
        forks.append(time.perf_counter() - begin)
        assert child.is_live
        child.close()
        begin = time.perf_counter()
        fresh = built(sandbox.open_session(), [*cells, f"branch = {number}"])
        replays.append(time.perf_counter() - begin)
        fresh.close()
    ratio = statistics.median(replays) / statistics.median(forks)
    return {
        "fork": spread(alone),
        "cell": spread(cells_s),
        "fork_and_cell": spread(forks),
        "replay_and_cell": spread(replays),
        "replay_over_fork": ratio,
    }


def memory(sandbox: Any, count: int) -> dict[str, Any]:
    """Open `count` live forks of one session, run a cell in each, and measure what one holds for itself."""
    parent = built(sandbox.open_session(), CELLS)
    before = _held()
    begin = time.perf_counter()
    forks: list[Any] = [parent.fork() for _ in range(count)]
    seconds = time.perf_counter() - begin
    idle = _held()
    live = sum(fork.is_live for fork in forks)
    for number, fork in enumerate(forks):
        fork.run(f"branch = {number}")
    used = _held()
    right = sum(fork.run("branch").stdout == f"{number}\n" for number, fork in enumerate(forks))
    rebuilt = sum(fork.num_rebuilt for fork in forks)
    for fork in forks:
        fork.close()
    return {
        "forks": count,
        "live": live,
        "right": right,
        "rebuilt": rebuilt,
        "seconds_to_fork_all": seconds,
        "idle_private_mib_each": (idle - before) / count if before and idle else None,
        "used_private_mib_each": (used - before) / count if before and used else None,
    }


def _held() -> float | None:
    """Private memory in MiB of all processes of session runners on this machine; `None` without the right to look."""
    total = 0.0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as stream:
                if '"sessions": true' not in stream.read():
                    continue
            with open(f"/proc/{pid}/smaps_rollup") as stream:
                fields = [line.split() for line in stream]
        except (FileNotFoundError, ProcessLookupError):
            continue
        except PermissionError:
            return None
        total += sum(int(field[1]) for field in fields if field[0].startswith("Private_")) / 1024
    return total


@click.command()
@click.option("--sandbox", "name", default="docker", show_default=True)
@click.option("--rounds", default=40, show_default=True)
@click.option("--live", default=500, show_default=True, help="How many forks to keep at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(name: str, rounds: int, live: int, as_json: bool) -> None:
    """Measure forks of sessions."""
    with open_sandbox(name, workers=1, max_sessions=live + 10) as sandbox:
        quick = fork_or_replay(sandbox, rounds, CELLS)
        slow = fork_or_replay(sandbox, max(5, rounds // 8), [*CELLS, SLOW.format(count=3_000_000)])
        held = memory(sandbox, live)
    found = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}",
        "sandbox": name,
        "short_cells": quick,
        "with_a_cell_of_a_quarter_second": slow,
        "memory": held,
    }
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(found["machine"])
    for title, rows in (("short cells", quick), ("one slow cell", slow)):
        for key in ("fork", "cell", "fork_and_cell", "replay_and_cell"):
            row = rows[key]
            click.echo(
                f"{title:14} {key:16} {row['median_ms']:8.2f} ms "
                f"({row['quartile_low_ms']:.2f} to {row['quartile_high_ms']:.2f})"
            )
        click.echo(f"{title:14} replay is {rows['replay_over_fork']:.1f} x fork")
    click.echo(f"memory: {held}")


if __name__ == "__main__":
    main()

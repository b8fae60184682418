"""Self-play under faults: does the final set of episodes equal an undisturbed run's, and does anything grow?

    python benchmarks/soak.py --countdown 10000 --programs 10000
    python benchmarks/soak.py --countdown 1000 --programs 1000 --kills 10 --json

Two workloads, each played by `stepgym selfplay --workers 2`: Countdown with random legal play, and programs graded in the
sandbox (`--sandbox`). Each is played three times:

- undisturbed;
- `faults`: every few seconds a worker is killed or a sandbox's container is removed (with a local sandbox: a runner is
  killed), and the policy raises in a share of its calls. Memory and descriptors of the driver and its workers are sampled. The command is then run
  again without faults, which plays the failed episodes again;
- `kills` (with `--kills`): the driver or a worker gets `kill -9` at random moments, so many times; a killed driver is
  started again.

Two sets are equal if each episode has the same tree, path, answer and verdict. Episodes in whose tree a fault of the
policy is noted are counted and may differ. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stepgym.agents.policies.scripted import RandomLegalPolicy, ScriptedPolicy
from stepgym.envs.types import State, Step
from stepgym.records.run_folder import num_episodes, read_episodes

NUM_WORKERS = 2
FAULT = "a fault of the soak"
SHARE = "SOAK_RAISES"
"""Environment variable: the share of the policy's calls that raise."""


def maybe_raise() -> None:
    if random.random() < float(os.environ.get(SHARE, "0")):
        raise RuntimeError(FAULT)


class Player(RandomLegalPolicy):
    """Random legal play that raises now and then."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        maybe_raise()
        return super().propose(states, counts)


class Programmer(ScriptedPolicy):
    """Writes the programs of `write_tasks`, every third of them wrong, and raises now and then."""

    def __init__(self) -> None:
        super().__init__(_program)

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        maybe_raise()
        return super().propose(states, counts)


def _program(state: State) -> list[Step]:
    number = int(state.prompt.partition("add_")[2].partition("(")[0])
    added = number + (number % 3 == 0)
    return [Step(f"```python\ndef add_{number}(x):\n    return x + {added}\n```", num_tokens=20)]


def write_tasks(file: Path, count: int) -> None:
    """Write tasks for `Code-v0`."""
    with file.open("w", encoding="utf-8") as lines:
        for number in range(count):
            row = {
                "prompt": f'def add_{number}(x):\n    """Add {number}."""\n',
                "tests": f"def check(candidate):\n    assert candidate(5) == {5 + number}\n",
                "entry_point": f"add_{number}",
            }
            lines.write(json.dumps(row) + "\n")


class Run:
    """A run folder and the command that plays into it."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.folder = folder
        self.command = [sys.executable, "-m", "stepgym", "selfplay", *arguments]
        self.command += ["--workers", str(NUM_WORKERS), "--out", str(folder), "--json"]
        here = Path(__file__).resolve()
        path = [str(here.parent), str(here.parent.parent), os.environ.get("PYTHONPATH", "")]
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}

    def start(self, *, raising: float = 0.0) -> subprocess.Popen[bytes]:
        environment = {**self.environment, SHARE: str(raising)}
        log = (self.folder.parent / f"{self.folder.name}.log").open("ab")
        with log:
            return subprocess.Popen(
                self.command, env=environment, stdout=subprocess.DEVNULL, stderr=log
            )

    def finish(self) -> None:
        """Play what is left without faults."""
        subprocess.run(self.command, env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def num_done(self) -> int:
        with suppress(OSError, ValueError):
            return num_episodes(self.folder)
        return 0

    def episodes(self) -> list[dict[str, Any]]:
        """Return what does not depend on time or order."""
        found = []
        for record in read_episodes(self.folder):
            shown = asdict(record)
            del shown["created"], shown["usage"]
            found.append(shown)
        return sorted(found, key=lambda shown: (shown["index"], shown["attempt"]))


def processes_below(parent: int) -> list[int]:
    """Return all descendants of a process."""
    found: list[int] = []
    waiting = [parent]
    while waiting:
        with suppress(OSError):
            for tasks in Path(f"/proc/{waiting.pop()}/task").iterdir():
                children = [int(each) for each in (tasks / "children").read_text().split()]
                found += children
                waiting += children
    return found


def command_line(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def workers_of(driver: int) -> list[int]:
    return [each for each in processes_below(driver) if "spawn_main" in command_line(each)]


def sandboxes_of(driver: int, sandbox: str) -> list[Callable[[], object]]:
    """Return for each sandbox runner of the driver and its workers what ends it."""
    below = {str(each) for each in (driver, *processes_below(driver))}
    if sandbox == "local":
        runners = [
            int(each) for each in below if "stepgym/sandbox/runner" in command_line(int(each))
        ]
        return [lambda each=each: os.kill(each, signal.SIGKILL) for each in runners]  # type: ignore[misc]
    import docker

    client = docker.from_env()
    return [
        lambda each=each: each.remove(force=True)  # type: ignore[misc]
        for each in client.containers.list(filters={"label": "stepgym.owner"})
        if each.labels["stepgym.owner"].split()[2] in below
    ]


def usage(processes: Sequence[int]) -> tuple[float, int]:
    """Return resident memory in MiB and open descriptors, summed over processes."""
    memory, descriptors = 0.0, 0
    for each in processes:
        with suppress(OSError, StopIteration):
            status = Path(f"/proc/{each}/status").read_text().splitlines()
            memory += (
                next(int(line.split()[1]) for line in status if line.startswith("VmRSS:")) / 1024
            )
            descriptors += len(os.listdir(f"/proc/{each}/fd"))
    return memory, descriptors


def with_faults(
    run: Run, *, every_s: float, raising: float, sandbox: str, draw: random.Random
) -> dict[str, Any]:
    """Play a run under faults; return the samples and the counts of faults."""
    faults = {"worker killed": 0, "sandbox removed": 0}
    samples: list[dict[str, Any]] = []
    started = time.monotonic()
    driver = run.start(raising=raising)
    next_fault = started + every_s
    while driver.poll() is None:
        time.sleep(0.5)
        now, workers = time.monotonic(), workers_of(driver.pid)
        memory, descriptors = usage([driver.pid])
        worker_memory, worker_descriptors = usage(workers)
        samples.append(
            {
                "seconds": round(now - started, 1),
                "episodes": run.num_done(),
                "driver_mib": round(memory, 1),
                "driver_descriptors": descriptors,
                "workers": len(workers),
                "workers_mib": round(worker_memory, 1),
                "workers_descriptors": worker_descriptors,
            }
        )
        if now < next_fault or not run.num_done():
            continue
        next_fault = now + draw.uniform(0.5, 1.5) * every_s
        runners = sandboxes_of(driver.pid, sandbox) if sandbox != "none" else []
        with suppress(Exception):  # it may have ended by itself
            if runners and draw.random() < 0.5:
                draw.choice(runners)()
                faults["sandbox removed"] += 1
            elif workers:
                os.kill(draw.choice(workers), signal.SIGKILL)
                faults["worker killed"] += 1
    failed = sum(record.verdict == "failed" for record in read_episodes(run.folder))
    return {"faults": faults, "failed": failed, "exit": driver.returncode, "samples": samples}


def with_kills(run: Run, kills: int, draw: random.Random, *, longest_s: float) -> dict[str, int]:
    """Kill the driver or a worker at random moments until the run is done or has had its kills; return how many of each."""
    found = {"driver": 0, "worker": 0}
    driver = run.start()
    while sum(found.values()) < kills:
        give_up = time.monotonic() + draw.uniform(0.2, longest_s)
        while driver.poll() is None and time.monotonic() < give_up:
            time.sleep(0.02)
        if driver.poll() is not None:
            if driver.returncode == 0:
                break
            driver = run.start()
            continue
        workers = workers_of(driver.pid)
        if workers and draw.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(workers), signal.SIGKILL)
                found["worker"] += 1
        else:
            driver.kill()
            driver.wait()
            found["driver"] += 1
            driver = run.start()
    driver.wait()
    return found


def differences(run: Run, expected: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare a run's episodes with an undisturbed run's.

    A call of the policy that raised leaves a smaller tree with a note; such an episode may differ.
    """
    found = run.episodes()
    wanted = {(each["problem_id"], each["attempt"]): each for each in expected}
    keys = [(each["problem_id"], each["attempt"]) for each in found]
    noted = {key for key, each in zip(keys, found) if FAULT in json.dumps(each)}
    different = [
        (key, [name for name in each if wanted.get(key, {}).get(name) != each[name]])
        for key, each in zip(keys, found)
        if key not in noted and wanted.get(key) != each
    ]
    missing, twice = len(set(wanted) - set(keys)), len(keys) - len(set(keys))
    return {
        "episodes": len(found),
        "equal": not (missing or twice or different),
        "with_noted_fault": len(noted),
        "missing": missing,
        "twice": twice,
        "different": len(different),
        "first_different": different[:3],
    }


def workloads(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each workload with the sandbox it uses and its arguments."""
    if options.countdown:
        play = (
            "--env Countdown-v0 --level 3 --agent best_of_n --agent-option n=8 --policy soak:Player"
        )
        yield "countdown", "none", [*play.split(), "--episodes", str(options.countdown)]
    if options.programs:
        tasks = folder / "tasks.jsonl"
        write_tasks(tasks, options.programs)
        play = f"--env Code-v0 --policy soak:Programmer --sandbox {options.sandbox}"
        number = str(options.programs)
        yield (
            "programs",
            options.sandbox,
            [*play.split(), "--env-option", f"file={tasks}", "--episodes", number],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--countdown", type=int, default=1000, help="episodes; 0 leaves them out")
    parser.add_argument("--programs", type=int, default=1000, help="episodes; 0 leaves them out")
    parser.add_argument("--sandbox", choices=["docker", "local"], default="docker")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between faults")
    parser.add_argument(
        "--raising", type=float, default=0.02, help="share of the policy's calls that raise"
    )
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of driver or worker")
    parser.add_argument("--rows", type=int, default=8, help="rows of the table")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    draw = random.Random(options.seed)
    result: dict[str, Any] = {"processor": platform.machine(), "load_before": os.getloadavg()}
    all_equal = True
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        for name, sandbox, arguments in workloads(folder, options):
            plain = Run(folder / f"{name}-plain", arguments)
            started = time.monotonic()
            plain.finish()
            plain_s = time.monotonic() - started
            expected = plain.episodes()
            faulty = Run(folder / f"{name}-faults", arguments)
            soaked = with_faults(
                faulty, every_s=options.every, raising=options.raising, sandbox=sandbox, draw=draw
            )
            faulty.finish()
            soaked |= {"undisturbed_s": round(plain_s, 1), "final": differences(faulty, expected)}
            all_equal &= soaked["final"]["equal"]
            samples = soaked["samples"]
            step = max(1, len(samples) // options.rows)
            soaked["samples"] = samples[step - 1 :: step]
            if options.kills:
                killed = Run(folder / f"{name}-kills", arguments)
                kills = with_kills(killed, options.kills, draw, longest_s=max(2.0, plain_s / 3))
                killed.finish()
                soaked["kills"] = {**kills, "final": differences(killed, expected)}
                all_equal &= soaked["kills"]["final"]["equal"]
            result[name] = soaked
            if not options.json:
                show(name, soaked)
    result["load_after"] = os.getloadavg()
    if options.json:
        print(json.dumps(result))
    sys.exit(0 if all_equal else 1)


def show(name: str, soaked: dict[str, Any]) -> None:
    samples = soaked["samples"]
    print(
        f"\n{name}: undisturbed in {soaked['undisturbed_s']} s; faults {soaked['faults']}, failed {soaked['failed']}"
    )
    if samples:
        print("| " + " | ".join(each.replace("_", " ") for each in samples[0]) + " |")
        print("|" + "---|" * len(samples[0]))
        for sample in samples:
            print("| " + " | ".join(f"{value}" for value in sample.values()) + " |")
    print(f"after a run without faults: {soaked['final']}")
    if "kills" in soaked:
        print(f"kill -9: {soaked['kills']}")


if __name__ == "__main__":
    main()

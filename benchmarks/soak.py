"""Self-play under faults: does the final set of episodes equal an undisturbed run's, and does anything grow?

    python benchmarks/soak.py --countdown 10000 --programs 10000 --kills 100 --out soak
    python benchmarks/soak.py --countdown 1000 --programs 1000 --kills 10 --json

Two workloads, each played by `stepgym selfplay --workers 2`: Countdown with random legal play, and programs graded in the
sandbox (`--sandbox`). Each is played in three stages, while memory and descriptors of the driver and its workers are sampled:

- `undisturbed`;
- `faults`: every few seconds a worker is killed or a sandbox's container is removed (with a local sandbox: a runner is
  killed), and the policy raises in a share of its calls. The command is then run again without faults, which plays the
  failed episodes again;
- `kills` (with `--kills`): the driver, a worker or the process that forks workers gets `kill -9` at random moments, so many
  times; a killed driver is started again, and a run that is finished before is followed by a new one.

Two sets are equal if each episode has the same tree, path, answer and verdict. Episodes in whose tree a fault of the
policy is noted are counted and may differ. With `--out` the folder is kept; run the same command to continue: with
`--minutes` it stops after so many. Linux only.
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
from functools import partial
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
            shown["details"].pop("used", None)  # processor time and memory of the program
            found.append(shown)
        return sorted(found, key=lambda shown: (shown["index"], shown["attempt"]))


def children_of(parent: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def processes_below(parent: int) -> list[int]:
    """Return all descendants of a process."""
    found = children_of(parent)
    return [*found, *(below for child in found for below in processes_below(child))]


def command_line(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return ""


def fork_servers_of(driver: int) -> list[int]:
    """Return the process that forks the driver's workers, if there is one."""
    return [each for each in children_of(driver) if "forkserver" in command_line(each)]


def workers_of(driver: int) -> list[int]:
    return [each for server in fork_servers_of(driver) for each in children_of(server)]


def sandboxes_of(driver: int, sandbox: str) -> list[Callable[[], object]]:
    """Return for each sandbox runner of the driver and its workers what ends it."""
    below = {str(each) for each in (driver, *processes_below(driver))}
    if sandbox == "local":
        runners = [
            int(each) for each in below if "stepgym/sandbox/runner" in command_line(int(each))
        ]
        return [partial(os.kill, each, signal.SIGKILL) for each in runners]
    import docker

    engine = docker.from_env().api
    return [
        partial(engine.remove_container, each["Id"], force=True)
        for each in engine.containers(filters={"label": "stepgym.owner"})
        if each["Labels"]["stepgym.owner"].split()[2] in below
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


class TimeIsUp(Exception):
    """The time given by `--minutes` is over; run the same command to continue."""


def sample(run: Run, driver: int, seconds: float) -> dict[str, Any]:
    workers = workers_of(driver)
    memory, descriptors = usage([driver])
    worker_memory, worker_descriptors = usage(workers)
    return {
        "seconds": round(seconds, 1),
        "episodes": run.num_done(),
        "driver_mib": round(memory, 1),
        "driver_descriptors": descriptors,
        "workers": len(workers),
        "workers_mib": round(worker_memory, 1),
        "workers_descriptors": worker_descriptors,
    }


def watched(
    run: Run, faults: Faults | None, *, raising: float = 0.0, deadline: float
) -> dict[str, Any]:
    """Play a run to its end, with faults if given; return samples of what its processes use."""
    samples: list[dict[str, Any]] = []
    before = run.num_done()
    started = time.monotonic()
    driver = run.start(raising=raising)
    while driver.poll() is None:
        time.sleep(0.5)
        now = time.monotonic()
        if now > deadline:
            driver.terminate()
            driver.wait()
            raise TimeIsUp
        taken = sample(run, driver.pid, now - started)
        if taken["driver_mib"]:
            samples.append(taken)
        if faults is not None and taken["episodes"] > before:
            faults.strike(driver.pid, now)
    failed = sum(record.verdict == "failed" for record in read_episodes(run.folder))
    return {
        "wall_s": round(time.monotonic() - started, 1),
        "exit": driver.returncode,
        "failed": failed,
        "samples": samples,
    }


class Faults:
    """Kills workers and sandboxes in turn, every few seconds."""

    def __init__(self, *, every_s: float, sandbox: str, draw: random.Random) -> None:
        self.every_s, self.sandbox, self.draw = every_s, sandbox, draw
        self.counts = {"worker killed": 0, "sandbox removed": 0}
        self._next = time.monotonic() + every_s

    def strike(self, driver: int, now: float) -> None:
        """Do the next fault if its time has come."""
        if now < self._next:
            return
        self._next = now + self.draw.uniform(0.5, 1.5) * self.every_s
        runners = sandboxes_of(driver, self.sandbox) if self.sandbox != "none" else []
        with suppress(Exception):  # it may have ended by itself
            if runners and self.counts["sandbox removed"] <= self.counts["worker killed"]:
                self.draw.choice(runners)()
                self.counts["sandbox removed"] += 1
            elif workers := workers_of(driver):
                os.kill(self.draw.choice(workers), signal.SIGKILL)
                self.counts["worker killed"] += 1


def with_kills(
    make: Callable[[int], Run],
    kills: int,
    expected: list[dict[str, Any]],
    draw: random.Random,
    *,
    longest_s: float,
    deadline: float,
) -> dict[str, Any]:
    """Kill processes of runs at random moments; return how many of each kind, and how the finished runs differ."""
    found = {"driver": 0, "worker": 0, "fork server": 0}
    finals: list[dict[str, Any]] = []
    while sum(found.values()) < kills and time.monotonic() < deadline:
        run = make(len(finals))
        driver = run.start()
        while sum(found.values()) < kills and time.monotonic() < deadline:
            give_up = time.monotonic() + draw.uniform(0.2, longest_s)
            while driver.poll() is None and time.monotonic() < give_up:
                time.sleep(0.02)
            if driver.poll() == 0:
                break
            kind = draw.choice(["driver", "worker", "fork server"])
            if kind == "driver" or driver.poll() is not None:
                found["driver"] += driver.poll() is None
                driver.kill()
                driver.wait()
                driver = run.start()
                continue
            chosen = workers_of(driver.pid) if kind == "worker" else fork_servers_of(driver.pid)
            with suppress(ProcessLookupError):
                if chosen:
                    os.kill(draw.choice(chosen), signal.SIGKILL)
                    found[kind] += 1
        driver.wait()
        run.finish()
        finals.append(differences(run, expected))
    return {"kills": found, "runs": len(finals), "equal": all(each["equal"] for each in finals)}


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
    parser.add_argument("--kills", type=int, default=0, help="kill -9 of a process of the run")
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds, at most")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--out", type=Path, help="keep the runs here, and go on with them")
    parser.add_argument("--rows", type=int, default=6, help="rows of each table")
    parser.add_argument("--seed", type=int, default=0, help="seed of the faults")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    result: dict[str, Any] = {"processor": platform.machine(), "load_before": os.getloadavg()}
    deadline = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory() as made:
        folder = options.out or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for name, sandbox, arguments in workloads(folder, options):
                result[name] = soak(folder / name, sandbox, arguments, options, deadline)
                if not options.json:
                    show(name, result[name])
        except TimeIsUp:
            print("the time is up; with --out, run the same command to continue", file=sys.stderr)
            sys.exit(3)
    result["load_after"] = os.getloadavg()
    if options.json:
        print(json.dumps(result))
    sys.exit(
        0
        if all(value.get("equal", True) for value in result.values() if isinstance(value, dict))
        else 1
    )


def soak(
    folder: Path,
    sandbox: str,
    arguments: Sequence[str],
    options: argparse.Namespace,
    deadline: float,
) -> dict[str, Any]:
    """Play a workload in its stages; those that are done already are read from the folder."""
    folder.mkdir(exist_ok=True)
    draw = random.Random(options.seed)

    def stage(name: str, play: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        file = folder / f"{name}.json"
        if not file.exists():
            file.write_text(json.dumps(play()), encoding="utf-8")
        done: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return done

    plain, faulty = Run(folder / "plain", arguments), Run(folder / "faulty", arguments)
    undisturbed = stage("undisturbed", lambda: watched(plain, None, deadline=deadline))
    expected = plain.episodes()

    def with_faults() -> dict[str, Any]:
        faults = Faults(every_s=options.every, sandbox=sandbox, draw=draw)
        found = watched(faulty, faults, raising=options.raising, deadline=deadline)
        faulty.finish()
        return {**found, "faults": faults.counts, "final": differences(faulty, expected)}

    def with_some_kills() -> dict[str, Any]:
        return with_kills(
            lambda number: Run(folder / f"kills-{number}", arguments),
            options.kills,
            expected,
            draw,
            longest_s=options.kill_every,
            deadline=deadline,
        )

    found = {"undisturbed": undisturbed, "faults": stage("faults", with_faults)}
    equal = found["faults"]["final"]["equal"]
    if options.kills:
        found["kills"] = stage("kills", with_some_kills)
        equal &= found["kills"]["equal"]
    for each in ("undisturbed", "faults"):
        samples = found[each]["samples"]
        step = max(1, len(samples) // options.rows)
        found[each]["samples"] = samples[step - 1 :: step]
    return {**found, "equal": equal}


def show(name: str, soaked: dict[str, Any]) -> None:
    for stage in ("undisturbed", "faults"):
        found = soaked[stage]
        samples = found["samples"]
        print(
            f"\n{name}, {stage}: {found['wall_s']} s, {found['failed']} failed {found.get('faults', '')}"
        )
        if samples:
            print("| " + " | ".join(each.replace("_", " ") for each in samples[0]) + " |")
            print("|" + "---|" * len(samples[0]))
            for row in samples:
                print("| " + " | ".join(f"{value}" for value in row.values()) + " |")
    print(f"after a run without faults: {soaked['faults']['final']}")
    if "kills" in soaked:
        print(f"kill -9: {soaked['kills']}")


if __name__ == "__main__":
    main()

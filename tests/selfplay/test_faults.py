"""Faults lose no episode and count none twice: a full disk, a clock that jumps, memory that ends, processes that are killed."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.executors import Workers
from stepgym.agents.policies.scripted import RandomLegalPolicy
from stepgym.agents.solving import solve
from stepgym.agents.types import Budget, EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay import selfplay

RUN: dict[str, Any] = {
    "agent": "best_of_n",
    "agent_settings": {"n": 2},
    "level": 1,
    "episodes": 10,
    "num_parallel": 2,
}
DEADLY = Path(__file__).parent.parent / "agents"
"""Holds `deadly_policies`."""


class Careless(RandomLegalPolicy):
    """Random legal play that raises at the first problems while `is_broken`."""

    is_broken = False

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        if self.is_broken and any(state.prompt == self.at for state in states):
            raise RuntimeError("broken for now")
        return super().propose(states, counts)

    at = load_env("Countdown-v0", level=1).problems[1].prompt

    def describe(self) -> dict[str, Any]:
        return {"kind": "careless"}


def plain(records: Iterator[EpisodeRecord] | Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Return what does not depend on time or order."""
    shown = [asdict(record) for record in records]
    for each in shown:
        del each["created"], each["usage"]
    return sorted(shown, key=lambda each: (each["index"], each["attempt"]))


@contextmanager
def tiny_disk(path: Path, size: int) -> Iterator[Callable[[], None]]:
    """Mount a disk of so many bytes (rounded up to pages); the function that is yielded makes room."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a disk needs root")
    try:
        yield (
            lambda: (
                subprocess.run(["mount", "-o", "remount,size=4m", str(path)], check=True) and None
            )
        )
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@contextmanager
def longest_file(path: Path, size: int) -> Iterator[Callable[[], None]]:
    """Let no file grow beyond so many bytes until the function that is yielded is called."""
    path.mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    def make_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield make_room
    finally:
        make_room()


@pytest.mark.parametrize(
    ("disk", "sizes"),
    [
        (tiny_disk, [4096, 8192, 12288, 16384]),
        (longest_file, [0, 100, 1000, 3000, 5003, 9001, 12007]),
    ],
)
def test_a_disk_that_is_full_in_mid_write_loses_nothing_once_there_is_room(
    disk: Callable[..., Any], sizes: Sequence[int], tmp_path: Path
) -> None:
    def play(out: Path) -> None:
        selfplay("Countdown-v0", out=out, policy=policy, keep_failed=False, **RUN)

    policy = Careless(0)
    play(tmp_path / "whole")
    whole = plain(list(read_episodes(tmp_path / "whole")))
    num_full = 0
    for size in sizes:
        with disk(tmp_path / f"disk{size}", size) as make_room:
            out = tmp_path / f"disk{size}" / "run"
            policy.is_broken = True
            for _ in range(2):  # the second sets failed episodes aside, on the full disk
                try:
                    play(out)
                except OSError as error:
                    assert error.errno in (errno.ENOSPC, errno.EFBIG)
                    num_full += 1
            make_room()
            policy.is_broken = False
            play(out)
            assert plain(list(read_episodes(out))) == whole
    assert num_full >= len(sizes)


@pytest.mark.parametrize("continuous", [False, True])
def test_a_clock_that_jumps_changes_no_record_and_no_time(
    continuous: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play() -> list[EpisodeRecord]:
        return solve(
            "Countdown-v0",
            policy="random",
            budget=Budget(wall_s=600.0),
            continuous=continuous,
            **RUN,
        )

    undisturbed = play()
    jumps = itertools.cycle([0.0, 7200.0, -86_400.0, 3.0e7])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + next(jumps))
    assert plain(play()) == plain(undisturbed)
    assert all(0 <= record.usage["wall_s"] < 600 for record in undisturbed)


def test_no_duration_is_measured_with_the_clock_of_the_wall() -> None:
    """A module that reads the time of day does so for a date that it writes, or a date that a server names."""
    dated = {
        "agents/chat_backends.py",
        "agents/policies/chat_client.py",
        "agents/record.py",
        "serving/chat.py",
        "stepgym/cli/eval.py",
    }
    root = Path(__file__).parents[2]
    rooms = ("agents", "envs", "plugins", "records", "sandbox", "selfplay", "serving", "training")
    files = [*itertools.chain(*((root / room).rglob("*.py") for room in rooms))]
    files += (root / "stepgym" / "cli").glob("*.py")
    words = ("time.time()", "datetime.now(", "utcnow(", "import time as", "from time import time")
    found = {
        str(file.relative_to(root))
        for file in files
        if any(word in file.read_text(encoding="utf-8") for word in words)
    }
    assert len(files) > 200 and found <= dated, found - dated
    assert datetime.now(UTC).year >= 2025


def test_a_worker_without_memory_fails_one_episode_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(DEADLY))
    monkeypatch.setenv("DEADLY_PROMPT", load_env("Countdown-v0", level=1).problems[4].prompt)

    def play(name: str) -> list[EpisodeRecord]:
        selfplay(
            "Countdown-v0",
            out=tmp_path,
            policy="deadly_policies:Hungry",
            executor=Workers(2),
            keep_failed=name == "kept",
            **RUN,
        )
        return sorted(read_episodes(tmp_path), key=lambda record: record.index)

    records = play("first")
    assert [record.index for record in records] == list(range(10))
    (failed,) = [record for record in records if record.verdict == "failed"]
    assert failed.index == 4 and "MemoryError" in failed.note
    monkeypatch.setenv("DEADLY_PROMPT", "no prompt")
    again = play("again")
    assert {record.verdict for record in again} <= {"correct", "incorrect"} and len(again) == 10
    kept = [record for record in plain(records) if record["index"] != 4]
    assert [record for record in plain(again) if record["index"] != 4] == kept


def test_killing_any_process_at_random_moments_changes_no_record(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Workers, and the process that forks them, get `kill -9` while a run goes on."""
    monkeypatch.syspath_prepend(str(DEADLY))
    monkeypatch.setenv("SLOW_S", "0.05")
    settings = {**RUN, "episodes": 24, "policy": "deadly_policies:Slow"}
    selfplay("Countdown-v0", out=tmp_path / "whole", **settings)
    draw, done, killed = random.Random(5), threading.Event(), []

    def kill() -> None:
        while not done.wait(draw.uniform(0.1, 0.4)) and len(killed) < 5:
            below = children_of(os.getpid())
            servers = [each for each in below if b"forkserver" in command_line(each)]
            workers = [each for server in servers for each in children_of(server)]
            if workers:
                with suppress(ProcessLookupError):
                    killed.append(draw.choice([*workers, *servers]))
                    os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        selfplay("Countdown-v0", out=tmp_path / "killed", executor=Workers(2), **settings)
        # A problem whose worker happened to be killed twice has failed; the same call plays it again.
        done.set()
        selfplay("Countdown-v0", out=tmp_path / "killed", executor=Workers(2), **settings)
    finally:
        done.set()
        killer.join()
    assert killed
    whole, found = (plain(list(read_episodes(tmp_path / name))) for name in ("whole", "killed"))
    assert found == whole


def children_of(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def command_line(process: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""

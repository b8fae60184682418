"""Worker processes play what one process plays, and a worker that dies costs no other problem."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.executors import InProcess, Workers
from stepgym.agents.jobs import Job, slices
from stepgym.agents.policies.scripted import RandomLegalPolicy
from stepgym.agents.solving import solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.plugins.errors import UserError

BEST_OF_4 = Job(
    env_id="Countdown-v0",
    env_options={"level": 1},
    agent="best_of_n",
    agent_settings={"n": 4},
    policy="random",
    seed=3,
    verify_all=True,
    num_parallel=4,
)


def played(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Return records in the order of their problems, without what differs from run to run: times."""
    shown = [asdict(record) for record in sorted(records, key=lambda record: record.index)]
    for each in shown:
        del each["created"]
        each["usage"] = {k: v for k, v in each["usage"].items() if not k.endswith("_s")}
    return shown


@pytest.mark.parametrize("attempt", [0, 2])
def test_workers_make_the_records_of_one_process(attempt: int) -> None:
    job = replace(BEST_OF_4, attempt=attempt)
    here = list(InProcess().play(job, range(3, 17)))
    assert [record.index for record in here] == list(range(3, 17))
    assert played(list(Workers(2).play(job, range(3, 17)))) == played(here)


def test_solve_takes_an_executor() -> None:
    settings: dict[str, Any] = {"agent": "greedy", "policy": "random", "level": 1, "episodes": 5}
    here = solve("Countdown-v0", **settings)
    there = solve("Countdown-v0", **settings, executor=Workers(2))
    assert [record.index for record in there] == list(range(5)) and played(there) == played(here)
    with pytest.raises(UserError, match="by name"):
        solve(load_env("Countdown-v0"), policy="random", episodes=1, executor=InProcess())


def test_a_worker_that_is_killed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setenv("DEADLY_FILE", str(tmp_path / "mark"))
    deadly = replace(BEST_OF_4, policy="deadly_policies:KillsOnce")
    found = played(list(Workers(2).play(deadly, range(12))))
    assert (tmp_path / "mark").exists()
    undisturbed = played(list(InProcess().play(deadly, range(12))))
    assert found == undisturbed


def test_a_problem_that_kills_its_worker_twice_fails_and_no_other_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    env = load_env("Countdown-v0", level=1, seed=3)
    monkeypatch.setenv("DEADLY_PROMPT", env.problems[5].prompt)
    deadly = replace(BEST_OF_4, policy="deadly_policies:KillsAt")
    records = sorted(Workers(2).play(deadly, range(9)), key=lambda record: record.index)
    assert [record.index for record in records] == list(range(9))
    failed = [record for record in records if record.verdict == "failed"]
    assert [record.index for record in failed] == [5]
    assert "died twice" in failed[0].note and failed[0].problem_id == env.problems[5].id


def test_workers_that_cannot_be_started_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fds: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.forkserver.connect_to_new_process", refuse)
    with pytest.raises(UserError, match="2 worker processes cannot be started"):
        list(Workers(2).play(BEST_OF_4, range(6)))


def test_slices_cover_the_problems_once_and_keep_shared_budgets_together() -> None:
    for count in (1, 2, 5):
        parts = list(slices(BEST_OF_4, range(50), count))
        assert [index for part in parts for index in part] == list(range(50))
        assert len(parts) >= min(50, 4 * count) and all(len(part) <= 4 for part in parts)
    adaptive = replace(BEST_OF_4, agent="adaptive", agent_settings={}, num_parallel=16)
    assert list(map(len, slices(adaptive, range(50), 8))) == [16, 16, 16, 2]
    assert list(slices(BEST_OF_4, [], 2)) == []


def test_objects_and_wrong_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="need the policy by name"):
        replace(BEST_OF_4, policy=RandomLegalPolicy(0))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="1 or more"):
        Workers(0)

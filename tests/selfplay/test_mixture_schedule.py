"""Self-play on a mixture with a schedule: outcomes move weights and levels, and an interrupted run ends the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents.executors import Workers
from stepgym.plugins.errors import UserError
from stepgym.records.reverify import reverify
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay.play import SCHEDULE_BATCH, selfplay

OPTIONS: dict[str, Any] = {
    "rule": "progress",
    "members": {"Words-v0": {"level": 1}, "Countdown-v0": {"level": 1}},
}
NUM_EPISODES = 3 * SCHEDULE_BATCH + 5


def played(out: Path, **options: Any) -> None:
    selfplay(
        "Mixture-v0",
        out=out,
        policy="random",
        env_options=OPTIONS,
        **{"episodes": NUM_EPISODES, **options},
    )


def content(out: Path) -> tuple[set[tuple[str, int, str | None, str]], list[Any]]:
    """Return what was played, and the schedule after each batch."""
    episodes = {(r.problem_id, r.attempt, r.answer, r.verdict) for r in read_episodes(out)}
    lines = (out / "mixture.jsonl").read_text(encoding="utf-8").splitlines()
    return episodes, [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mixture") / "run"
    played(out)
    return out


def test_outcomes_move_the_schedule(undisturbed: Path) -> None:
    episodes, schedule = content(undisturbed)
    assert len(episodes) == NUM_EPISODES
    assert [row["next"] for row in schedule] == [16, 32, 48, NUM_EPISODES]
    last = schedule[-1]["schedule"]
    assert last["num_seen"] == NUM_EPISODES
    assert any(course["fast"] != 0.5 for course in last["courses"])


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, NUM_EPISODES - 1), keep=st.integers(0, 3))
def test_a_killed_run_ends_as_an_undisturbed_one(
    undisturbed: Path, tmp_path_factory: pytest.TempPathFactory, cut: int, keep: int
) -> None:
    """What a kill leaves: the first lines of the episodes, and the schedule after no more batches than these."""
    out = tmp_path_factory.mktemp("cut") / "run"
    out.mkdir()
    (out / "run.json").write_bytes((undisturbed / "run.json").read_bytes())
    for name, count in (
        ("episodes.jsonl", cut),
        ("mixture.jsonl", min(keep, cut // SCHEDULE_BATCH)),
    ):
        lines = (undisturbed / name).read_bytes().splitlines(keepends=True)
        (out / name).write_bytes(b"".join(lines[:count]))
    played(out)
    assert content(out) == content(undisturbed)


def test_a_longer_run_and_more_attempts_continue_it(undisturbed: Path, tmp_path: Path) -> None:
    played(tmp_path / "short", episodes=20)
    played(tmp_path / "short")
    assert content(tmp_path / "short") == content(undisturbed)
    played(tmp_path / "short", attempts=2)
    episodes, schedule = content(tmp_path / "short")
    assert len(episodes) == 2 * NUM_EPISODES and schedule == content(undisturbed)[1]


def test_drawn_problems_are_found_again(undisturbed: Path) -> None:
    found = reverify(undisturbed)
    assert found.episodes == NUM_EPISODES and not found.changed


def test_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --workers or rule"):
        played(tmp_path / "run", executor=Workers(2))

"""A run folder loses nothing that was finished, takes one writer, and refuses to mix two runs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord
from stepgym.records.group_commit import SLOW_S, written
from stepgym.records.run_folder import RunFolder, read_config, read_episodes
from stepgym.records.statistics import summarise
from stepgym.records.types import RecordError, RunBusyError, RunConfig, RunMismatchError

CONFIG = RunConfig(
    env_id="stepgym/Countdown-v0", env_options={"level": 1}, agent="greedy", policy="random"
)


def episode(index: int, **changes: object) -> EpisodeRecord:
    base = EpisodeRecord(
        env_id="stepgym/Countdown-v0",
        problem_id=f"p{index}",
        level=1,
        seed=0,
        index=index,
        prompt="?",
        reference="!",
        nodes=(),
        path=(),
        answer=None,
        verdict="correct",
        score=1.0,
        usage={"visible_tokens": 5},
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def test_a_second_opening_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.append(episode(0))
    with RunFolder(tmp_path, CONFIG) as run:
        assert run.done == {("p0", 0)}
        run.append(episode(1))
    assert [record.index for record in read_episodes(tmp_path)] == [0, 1]
    assert read_config(tmp_path) == CONFIG


def test_failed_episodes_are_set_aside_to_be_played_again(tmp_path: Path) -> None:
    verdicts = ["failed", "correct", "failed", "failed", "incorrect"]
    with RunFolder(tmp_path, CONFIG) as run:
        run.append(*(episode(index, verdict=verdict) for index, verdict in enumerate(verdicts)))
    lines = (tmp_path / "episodes.jsonl").read_text().splitlines()
    with RunFolder(tmp_path, CONFIG) as run:
        assert len(run.done) == 5, "kept by default"
    for _ in range(2):
        with RunFolder(tmp_path, CONFIG, keep_failed=False) as run:
            assert run.done == {("p1", 0), ("p4", 0)}
        kept, failed = (
            (tmp_path / name).read_text().splitlines()
            for name in ("episodes.jsonl", "failed.jsonl")
        )
        assert kept == [lines[1], lines[4]] and failed == [lines[0], *lines[2:4]]


@given(cut=st.integers(0, 2000))
def test_a_torn_end_loses_only_the_torn_episodes(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    with RunFolder(folder, CONFIG) as run:
        for index in range(3):
            run.append(episode(index))
    file = folder / "episodes.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole[: max(0, len(whole) - cut)])
    kept = file.read_bytes().count(b"\n")
    assert len(list(read_episodes(folder))) == kept, (
        "a reader beside a killed writer sees the whole lines"
    )
    with RunFolder(folder, CONFIG) as run:
        assert run.done == {(f"p{i}", 0) for i in range(kept)}
        for index in range(kept, 3):
            run.append(episode(index))
    assert file.read_bytes() == whole


def test_a_broken_line_in_the_middle_names_file_and_line(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        run.append(episode(0))
    with (tmp_path / "episodes.jsonl").open("a") as file:
        file.write('{"schema": 1, "oops\n')
    with pytest.raises(RecordError, match=r"episodes.jsonl:2: not JSON"):
        list(read_episodes(tmp_path))


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    with (
        RunFolder(tmp_path, CONFIG),
        pytest.raises(RunBusyError, match="another process is writing"),
    ):
        RunFolder(tmp_path, CONFIG)
    RunFolder(tmp_path, CONFIG).close()


def test_other_settings_are_refused_and_both_are_shown(tmp_path: Path) -> None:
    RunFolder(tmp_path, CONFIG).close()
    with pytest.raises(
        RunMismatchError, match="agent was 'greedy', is now 'mcts'; seed was 0, is now 7"
    ):
        RunFolder(tmp_path, replace(CONFIG, agent="mcts", seed=7))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[]", "should hold a JSON object, holds list"),
        ('{"format": 1}', "run format 1, but this stepgym reads format 2; `stepgym migrate "),
        ('{"format": 2}', "no usable 'config'"),
        ('{"format": 2, "config": {"colour": 1}}', "no usable 'config'"),
    ],
)
def test_a_broken_run_file_says_so(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RecordError, match=says):
        read_config(tmp_path)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(RunMismatchError, match="neither empty nor a run folder"):
        RunFolder(tmp_path, CONFIG)
    with pytest.raises(RecordError, match="not a run folder"):
        list(read_episodes(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_writer_that_was_killed_at_once_leaves_a_folder_to_begin_in(tmp_path: Path) -> None:
    (tmp_path / "lock").touch()
    (tmp_path / "run.draft").write_text('{"form')
    with RunFolder(tmp_path, CONFIG) as run:
        run.append(episode(0))
    assert len(list(read_episodes(tmp_path))) == 1


def test_the_summary_counts(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        assert summarise(tmp_path).solved is None
        for index, verdict in enumerate(["correct", "incorrect", "correct", "failed"]):
            run.append(episode(index, verdict=verdict))
        summary = summarise(tmp_path)
    assert summary.verdicts == {"correct": 2, "incorrect": 1, "failed": 1}
    assert summary.solved == 0.5 and summary.usage == {"visible_tokens": 20}


def test_going_on_with_other_versions_is_said(tmp_path: Path) -> None:
    RunFolder(tmp_path, CONFIG).close()
    file = tmp_path / "run.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "versions": {**content["versions"], "numpy": "0.1"}}))
    with pytest.warns(UserWarning, match="begun with other versions: numpy was 0.1, is now "):
        RunFolder(tmp_path, CONFIG).close()


def test_a_stream_is_written_in_order_and_yielded_once_on_the_disk(tmp_path: Path) -> None:
    with RunFolder(tmp_path, CONFIG) as run:
        for number, record in enumerate(written(run, map(episode, range(200)))):
            on_disk = sum(1 for _ in read_episodes(tmp_path))
            assert record.index == number < on_disk
    assert [record.index for record in read_episodes(tmp_path)] == list(range(200))


def test_a_slow_stream_is_yielded_before_the_next_record_comes(tmp_path: Path) -> None:
    seen: list[int] = []

    def slow() -> Iterator[EpisodeRecord]:
        for index in range(3):
            assert len(seen) == index, "the one before was yielded"
            time.sleep(2 * SLOW_S)
            yield episode(index)

    with RunFolder(tmp_path, CONFIG) as run:
        for record in written(run, slow()):
            seen.append(record.index)
    assert seen == [0, 1, 2]


def test_records_that_have_come_are_written_when_the_stream_breaks(tmp_path: Path) -> None:
    def broken() -> Iterator[EpisodeRecord]:
        yield from map(episode, range(5))
        raise KeyboardInterrupt

    with RunFolder(tmp_path, CONFIG) as run, pytest.raises(KeyboardInterrupt):
        list(written(run, broken()))
    assert len(list(read_episodes(tmp_path))) == 5


def test_records_before_a_failure_of_the_stream_are_yielded_first(tmp_path: Path) -> None:
    def failing() -> Iterator[EpisodeRecord]:
        yield from map(episode, range(5))
        raise ValueError("no sandbox")

    seen: list[int] = []
    with RunFolder(tmp_path, CONFIG) as run, pytest.raises(ValueError, match="no sandbox"):
        for record in written(run, failing()):
            seen.append(record.index)
    assert seen == list(range(5))


def test_a_disk_that_refuses_is_an_error_of_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RunFolder, *records: EpisodeRecord) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "append", full)
    with RunFolder(tmp_path, CONFIG) as run, pytest.raises(OSError, match="No space"):
        list(written(run, map(episode, range(5))))

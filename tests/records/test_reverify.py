"""Verifying a stored run anew: what changed is listed and used, what was recorded stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.executors import Workers
from stepgym.cli.verify import command
from stepgym.envs.families.countdown import CountdownVerifier
from stepgym.envs.types import Fault, Problem, Status, Verdict
from stepgym.records.reverify import reverify
from stepgym.records.run_folder import RunFolder, read_config, read_episodes, with_verdicts
from stepgym.records.statistics import summarise
from stepgym.records.types import VERDICTS_FILE, RecordError
from stepgym.selfplay import selfplay

ENV = "stepgym/Countdown-v0"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose recorded verdicts are all the wrong way round."""
    folder = tmp_path / "run"
    selfplay(ENV, out=folder, agent="best_of_n", policy="random", episodes=6, level=1)
    records, config = list(read_episodes(folder)), read_config(folder)
    for file in folder.iterdir():
        file.unlink()
    with RunFolder(folder, config) as out:
        out.append(*(turned(record) for record in records))
    return folder


TURNED = {"correct": "incorrect", "incorrect": "correct"}


def turned(record: Any) -> Any:
    nodes = tuple(
        replace(node, verdict=TURNED.get(node.verdict, node.verdict)) for node in record.nodes
    )
    verdict = TURNED.get(record.verdict, record.verdict)
    return replace(record, nodes=nodes, verdict=verdict, score=float(verdict == "correct"))


def answers_of(run: Path) -> int:
    return sum(node.answer is not None for r in read_episodes(run) for node in r.nodes)


def test_readers_use_the_new_verdicts_and_the_run_keeps_both(run: Path) -> None:
    recorded = (run / "episodes.jsonl").read_bytes()
    before = list(read_episodes(run))
    found = reverify(run)
    assert found.episodes == 6 and found.answers == answers_of(run) > 0
    assert sum(found.changed.values()) == found.answers
    assert set(found.changed) <= {"incorrect -> correct", "correct -> incorrect"}
    assert (run / "episodes.jsonl").read_bytes() == recorded
    assert list(read_episodes(run, recorded=True)) == before
    again = [turned(record) for record in before]
    for record, wanted in zip(read_episodes(run), again, strict=True):
        assert (record.nodes, record.verdict, record.score) == (
            wanted.nodes,
            wanted.verdict,
            wanted.score,
        )
    assert summarise(run).verdicts["correct"] == sum(r.verdict == "correct" for r in again)
    repeated = reverify(run)
    assert repeated.changes == found.changes, "differences are from the recorded verdicts"


def test_without_keeping_nothing_is_written(run: Path) -> None:
    before = list(read_episodes(run))
    assert reverify(run, keep=False).changes
    assert not (run / VERDICTS_FILE).exists()
    assert list(read_episodes(run)) == before


def test_a_run_goes_on_after_it_was_verified_anew(run: Path) -> None:
    reverify(run)
    selfplay(ENV, out=run, agent="best_of_n", policy="random", episodes=8, level=1)
    assert len(list(read_episodes(run))) == 8
    assert set(reverify(run).changed) <= {"incorrect -> correct", "correct -> incorrect"}


def test_a_change_is_not_taken_for_one_of_another_answer(run: Path) -> None:
    """An episode that was played again has answers of its own."""
    [first, *_] = reverify(run).changes
    record = next(r for r in read_episodes(run, recorded=True) if r.problem_id == first.problem_id)
    assert with_verdicts(record, [first]) != record
    assert with_verdicts(record, [first._replace(answer="another")]) == record
    assert with_verdicts(record, [first._replace(node=10_000)]) == record
    gone = first._replace(node=10_000)
    assert with_verdicts(record, [gone, first]) == with_verdicts(record, [first])


@pytest.mark.parametrize(
    ("fault", "changes"), [(Fault.OURS, False), (None, False), (Fault.ANSWER, True)]
)
def test_a_limit_of_the_verifier_leaves_a_decided_verdict(
    run: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault | None, changes: bool
) -> None:
    def undecided(
        self: object, problems: Sequence[Problem], answers: Sequence[str]
    ) -> list[Verdict]:
        return [Verdict(Status.UNDECIDED, fault=fault) for _ in answers]

    monkeypatch.setattr(CountdownVerifier, "verify", undecided)
    assert bool(reverify(run).changes) == changes


def test_a_verifier_that_raises_changes_nothing(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, *_: object) -> list[Verdict]:
        raise RuntimeError("no")

    monkeypatch.setattr(CountdownVerifier, "verify", broken)
    assert reverify(run).changes == ()


def test_the_command_lists_differences_by_kind(run: Path) -> None:
    done = CliRunner().invoke(command, [str(run), "--json"], catch_exceptions=False)
    result = json.loads(done.output)
    assert {"run", "episodes", "answers", "changed", "changes", "seconds"} == set(result)
    assert result["changes"][0].keys() >= {"problem_id", "answer", "reference", "before", "verdict"}
    shown = CliRunner().invoke(command, [str(run), "--show", "1"], catch_exceptions=False).output
    assert " -> " in shown and "verdicts changed" in shown and "--show" in shown


def test_what_is_no_run_or_has_other_problems_now_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="not a run folder"):
        reverify(tmp_path / "nothing", keep=False)
    file = run / "episodes.jsonl"
    file.write_text(file.read_text().replace('"level":1', '"level":2'))
    with pytest.raises(RecordError, match="has another problem at index"):
        reverify(run)
    assert not (run / VERDICTS_FILE).exists()
    (run / VERDICTS_FILE).write_text('{"format": 1}\n{"colour": 1}\n')
    with pytest.raises(RecordError, match=r"verdicts.jsonl:2: not a changed verdict"):
        list(read_episodes(run))


def test_workers_find_the_same_changes_in_the_same_order(run: Path) -> None:
    here = reverify(run, keep=False)
    there = reverify(run, keep=False, in_order=Workers(2).map)
    assert there.changes == here.changes and there.answers == here.answers > 0


def test_a_record_that_names_a_function_which_makes_no_environment_calls_nothing(
    tmp_path: Path,
) -> None:
    folder, mark = tmp_path / "run", tmp_path / "mark"
    selfplay(ENV, out=folder, policy="random", episodes=1, level=1)
    (record,) = read_episodes(folder)
    for env_id in ("subprocess:getoutput", "pathlib:Path", "json:loads"):
        foreign = replace(record, env_id=env_id, env_options={"cmd": f"touch {mark}"})
        with RunFolder(tmp_path / env_id.replace(":", "-"), read_config(folder)) as out:
            out.append(foreign)
        with pytest.raises(RecordError, match="nothing says that it makes an environment"):
            reverify(out.path)
    assert not mark.exists()

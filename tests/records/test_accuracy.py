"""pass@k, the mean, the majority and the comparison of runs: laws, and a table by hand."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.cli import main
from stepgym.records.accuracy import accuracy, by_member, majority, pass_at
from stepgym.records.comparison import compare, mcnemar
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RecordError, RunConfig

VERDICTS = ["correct", "incorrect", "no_answer", "undecided", "failed"]


def record(problem: str, verdict: str, attempt: int = 0, answer: str | None = "a") -> EpisodeRecord:
    return EpisodeRecord(
        env_id="e",
        problem_id=problem,
        level=None,
        seed=0,
        index=0,
        prompt="p",
        reference="r",
        nodes=(NodeRecord(parent=-1),),
        path=(0,),
        answer=None if verdict in ("no_answer", "failed") else answer,
        verdict=verdict,
        score=float(verdict == "correct"),
        attempt=attempt,
    )


decided = st.lists(st.sampled_from(VERDICTS[:3]), min_size=1, max_size=7)


@given(decided, st.integers(1, 7))
def test_pass_at_k_is_the_share_of_choices_that_hold_a_right_one(
    verdicts: list[str], k: int
) -> None:
    attempts = [record("p", verdict, i) for i, verdict in enumerate(verdicts)]
    if k > len(attempts):
        return
    choices = list(itertools.combinations(verdicts, k))
    expected = sum("correct" in choice for choice in choices) / len(choices)
    assert math.isclose(pass_at(k, attempts), expected)


@given(
    st.lists(st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=5), min_size=1, max_size=6)
)
def test_undecided_and_failed_attempts_change_no_share(problems: list[list[str]]) -> None:
    records = [
        record(str(p), verdict, i)
        for p, verdicts in enumerate(problems)
        for i, verdict in enumerate(verdicts)
    ]
    kept = [r for r in records if r.verdict in VERDICTS[:3]]
    whole, without = accuracy(records), accuracy(kept)
    assert whole.num_undecided + whole.num_failed == len(records) - len(kept)
    same = (whole.mean, whole.majority) == (without.mean, without.majority)
    assert same or math.isnan(whole.mean.value)
    if kept:
        assert whole.pass_at[1] == whole.mean
        shares = [share.value for share in without.pass_at.values()]
        assert all(0 <= share <= 1 for share in shares)


def test_a_table_by_hand() -> None:
    records = [
        record("a", "correct", 0, "4"),
        record("a", "incorrect", 1, "5"),
        record("b", "incorrect", 0, "1"),
        record("b", "no_answer", 1),
        record("c", "undecided", 0),
        record("c", "correct", 1, "2"),
        record("d", "failed", 0),
    ]
    found = accuracy(records)
    assert found.num_problems == 4 and found.num_attempts == 2
    assert found.mean.value == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert found.pass_at[2].value == pytest.approx((1.0 + 0.0) / 2)
    assert found.majority.value == pytest.approx((0.5 + 0.0 + 1.0) / 3)
    assert (found.num_undecided, found.num_failed) == (1, 1)
    json.dumps(found.as_json(), allow_nan=False)


def test_right_answers_written_differently_are_one_vote() -> None:
    attempts = [
        record("a", "correct", 0, "1/2"),
        record("a", "correct", 1, "0.5"),
        record("a", "incorrect", 2, "3"),
        record("a", "incorrect", 3, "4"),
    ]
    assert majority(attempts) == 1.0


def test_mcnemar_against_values_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(3, 1) == mcnemar(1, 3) == pytest.approx(2 * 5 / 16)


def test_a_comparison_pairs_problems() -> None:
    first = [
        record("a", "correct"),
        record("b", "incorrect"),
        record("c", "incorrect"),
        record("x", "correct"),
    ]
    second = [
        record("a", "incorrect"),
        record("b", "correct"),
        record("c", "correct"),
        record("y", "undecided"),
    ]
    found = compare(first, second)
    assert (found.num_problems, found.gained, found.lost) == (3, ("b", "c"), ("a",))
    assert found.difference == pytest.approx(1 / 3)
    assert found.ci.low <= found.difference <= found.ci.high
    assert (found.only_first, found.only_second) == (1, 0)
    with pytest.raises(RecordError, match="share no decided problem"):
        compare(first, [record("z", "correct")])


def test_the_command_compares_folders(tmp_path: Path) -> None:
    config = RunConfig(env_id="e", agent="greedy", policy="p")
    for name, verdict in (("one", "incorrect"), ("two", "correct")):
        with RunFolder(tmp_path / name, config) as folder:
            folder.append(*(record(str(i), verdict if i else "correct") for i in range(4)))
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "one"), str(tmp_path / "two")])
    assert done.exit_code == 0 and "+75.0 points" in done.output and "gained: 3" in done.output
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "one"), str(tmp_path)])
    assert done.exit_code == 2 and "is not a run folder" in done.output


def test_each_member_of_a_mixture_has_the_accuracy_of_its_own_records() -> None:
    mixture, member = "stepgym/Mixture-v0", "stepgym/Countdown-v0"
    own = [record(f"{mixture}/3/{member}/level-1/{i}", VERDICTS[i % 2]) for i in range(3)]
    file = [record(f"{mixture}/4/mine/7", "correct")]
    alone = [record(f"{member}/level-1/seed-0/1", "incorrect")]
    assert by_member([*own, *file, *alone]) == {member: accuracy(own), "mine": accuracy(file)}

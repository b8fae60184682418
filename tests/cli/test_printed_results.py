"""What commands print for people; the objects of --json are tested with what makes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.cli import main

GAME = "--env Countdown-v0 --level 1 --policy random"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs of the same problems, `first` and `second`."""
    folder = tmp_path_factory.mktemp("runs")
    shown(f"eval {GAME} --episodes 6 --out {folder}/first")
    shown(f"eval {GAME} --episodes 8 --agent mcts --out {folder}/second")
    return folder


def shown(words: str, *, exit_code: int = 0) -> str:
    """Return what a command prints, each run of spaces as one."""
    done = CliRunner().invoke(main, words.split(), catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return " ".join(done.output.split())


def test_runs_are_summarised_and_compared(runs: Path) -> None:
    summary = shown(f"runs {runs}/first {runs}/second")
    assert f"{runs}/first: greedy with random on stepgym/Countdown-v0 episodes 6, " in summary
    assert f"{runs}/second: mcts with random on" in summary and " new, 0 prompt" in summary
    compared = shown(f"compare {runs}/first {runs}/second")
    assert "6 problems decided in both runs" in compared and "McNemar p = " in compared
    assert "gained: " in compared and "lost: 0" in compared
    assert (
        "left out: 0 problems that only the first run decided, 2 that only the second did"
        in compared
    )
    assert json.loads(shown(f"view {runs}/first --json"))["episodes"] == 6
    assert f"{runs}/first: 0 episodes rewritten" in shown(f"migrate {runs}/first")
    assert json.loads(shown(f"migrate {runs}/first --json")) == {"rewritten": {f"{runs}/first": 0}}


def test_a_solved_problem_is_drawn_with_its_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shown(f"solve {GAME} --agent mcts --agent-option simulations=30 --tree")
    assert "Reach" in whole and "visits" in whole and "correct" in whole
    many = shown(
        "solve --env Countdown-v0 --level 8 --policy random --agent mcts --no-verdicts --tree"
    )
    assert "more nodes" in many
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spoken = "solve --env Math-v0 --policy odd_policies:Speaker"
    assert "hidden" not in shown(spoken)
    assert "<think>hidden</think>" in shown(f"{spoken} --show-reasoning")
    failed = shown("solve --env Math-v0 --policy odd_policies:Short")
    assert "answer: none failed" in failed and "0 lists of steps for 1 states" in failed


def test_progress_is_a_bar_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = shown(f"eval {GAME} --episodes 3 --attempts 2 --out {tmp_path}/run")
    assert "attempt 1 of 2" in bar and "3/3" in bar and "tokens/s" in bar


def test_a_broken_clause_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    text = shown("check odd_policies:Short", exit_code=1)
    assert "BROKEN There is one list of steps per state, in order. 5 lists for 6 states" in text
    found = json.loads(shown("check odd_policies:Short --json", exit_code=1))
    assert (found["kind"], found["broken"]) == ("policy", 2)
    assert "4 of 4 clauses passed" in shown("check odd_policies:gives_up")


def test_problems_and_references_are_validated(tmp_path: Path) -> None:
    rows = [{"question": "1 + 1?", "answer": "2"}, {"question": "x"}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = shown(f"validate Math-v0 --env-option file={file}")
    assert "problems 1 rows left out 1 reference correct 1" in text
    assert "line 2: no column 'answer'" in text
    found = json.loads(shown("validate Countdown-v0 --count 3 --json"))
    assert (found["problems"], found["reference_correct"]) == (3, 3)


def test_steps_that_contradict_their_label_are_listed(tmp_path: Path) -> None:
    rows = [
        {"problem": "2 + 3?", "steps": ["2 + 3 = 6.", "So 6."], "label": label} for label in (-1, 0)
    ]
    file = tmp_path / "steps.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = shown(f"steps {file}")
    assert "row 1: step 0 is wrong, the label says no error: 2 + 3 is 5, not 6" in text
    assert "erroneous: 100.0% of 1" in text and "F1: 0.000" in text


def test_attacks_on_a_verifier_are_counted_and_written(tmp_path: Path) -> None:
    out = tmp_path / "attacks.jsonl"
    text = shown(f"check-answers --attack --verifier exact_match --out {out}")
    assert "0 of 450 attacks passed" in text
    assert len(out.read_text(encoding="utf-8").splitlines()) == 531


def test_environments_fit_the_terminal_and_name_the_next_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = CliRunner().invoke(main, ["envs"]).output.splitlines()
    assert lines[-1] == "stepgym envs ID describes one of them."
    assert max(map(len, lines)) <= 60
    text = shown("envs Countdown-v0 --level 1 -n 1 --reference --solution")
    assert "PROBLEMS stepgym/Countdown-v0/level-1/seed-0/0" in text and " = " in text

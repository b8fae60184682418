"""`stepgym eval` as a saved run: attempts, resuming, failures that are played again, comparison."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from stepgym.cli import episode_progress, main
from stepgym.cli.episode_progress import EpisodeProgress
from stepgym.records.run_folder import read_episodes

COUNTDOWN = ["--env", "Countdown-v0", "--level", "1", "--policy", "random", "--episodes", "6"]


def run(*words: str) -> Result:
    return CliRunner().invoke(main, list(words))


def test_attempts_give_pass_at_k_and_are_resumed(tmp_path: Path) -> None:
    out = str(tmp_path / "run")
    words = ["eval", *COUNTDOWN, "--agent", "best_of_n", "--agent-option", "n=1", "--out", out]
    first = run(*words, "--attempts", "2", "--json")
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout)
    assert set(found["pass_at"]) == {"1", "2"} and found["num_problems"] == 6
    assert found["pass_at"]["2"]["value"] >= found["mean"]["value"] == found["solved"]
    assert found["run"] == out and found["usage"]["visible_tokens"] >= 0
    more = run(*words, "--attempts", "4", "--json")
    assert set(json.loads(more.stdout)["pass_at"]) == {"1", "2", "3", "4"}
    records = list(read_episodes(out))
    assert sorted((r.problem_id, r.attempt) for r in records) == sorted(
        {(r.problem_id, r.attempt) for r in records}
    )
    assert len(records) == 24
    paths = {(r.problem_id, tuple(n.text for n in r.nodes)) for r in records}
    assert len(paths) > 6  # attempts draw with seeds of their own


def test_text_output_names_the_folder_and_the_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("eval", *COUNTDOWN, "--agent", "greedy", "--attempts", "2")
    assert done.exit_code == 0, done.output
    [folder] = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("eval-Countdown-v0-greedy-")
    assert "avg@2" in done.output and "pass@2" in done.output and "majority@2" in done.output
    assert f"stepgym compare runs/{folder.name}" in done.output


def test_failed_episodes_are_played_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flaky.py").write_text(
        "import pathlib\n"
        "from stepgym.envs.types import Step\n"
        "class Flaky:\n"
        "    def propose(self, states, counts):\n"
        "        if not pathlib.Path('well').exists():\n"
        "            raise RuntimeError('out of order')\n"
        "        return [[Step('1 + 1', num_tokens=1)] for _ in states]\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["eval", *COUNTDOWN[:4], "--policy", "flaky:Flaky", "--episodes", "3", "--out", "run"]
    broken = run(*words)
    assert broken.exit_code == 1
    assert "every episode failed" in broken.output and "out of order" in broken.output
    (tmp_path / "well").touch()
    kept = run(*words, "--keep-failed")
    assert kept.exit_code == 1
    mended = run(*words)
    assert mended.exit_code == 0, mended.output
    verdicts = [record.verdict for record in read_episodes("run")]
    assert len(verdicts) == 3 and "failed" not in verdicts
    assert len((tmp_path / "run" / "failed.jsonl").read_text().splitlines()) == 3


def test_more_episodes_than_problems_are_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "silent.py").write_text(
        "from stepgym.envs.types import Step\n"
        "class Silent:\n"
        "    def propose(self, states, counts):\n"
        "        return [[Step('<answer>2</answer>', num_tokens=1)] for _ in states]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "problems.jsonl"
    rows = [{"question": f"{i} + 1?", "answer": str(i + 1)} for i in range(3)]
    file.write_text("\n".join(map(json.dumps, rows)))
    for extra in (["--episodes", "50"], []):
        out = str(tmp_path / f"run{len(extra)}")
        where = ["--env", "Math-v0", "--env-option", f"file={file}", "--out", out]
        done = run("eval", *where, "--policy", "silent:Silent", "--json", *extra)
        assert done.exit_code == 0, done.output
        found = json.loads(done.stdout)
        assert found["num_problems"] == 3 and found["verdicts"] == {"incorrect": 2, "correct": 1}


def test_two_evaluations_are_compared(tmp_path: Path) -> None:
    for name, n in (("one", 1), ("two", 16)):
        done = run(
            *("eval", *COUNTDOWN, "--agent", "best_of_n", "--agent-option", f"n={n}"),
            *("--out", str(tmp_path / name)),
        )
        assert done.exit_code == 0, done.output
    found = run("compare", str(tmp_path / "one"), str(tmp_path / "two"), "--json")
    assert json.loads(found.stdout)["difference"] >= 0


def test_several_environments_give_a_table_and_a_run_folder_each(tmp_path: Path) -> None:
    out = tmp_path / "suite"
    words = ["eval", *COUNTDOWN[4:], "--env", "Countdown-v0", "--env", "stepgym/ModularSums-v0"]
    done = run(*words, "--env", "Countdown-v0", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert sorted(folder.name for folder in out.iterdir()) == ["Countdown-v0", "ModularSums-v0"]
    [mean] = [line for line in done.output.splitlines() if line.startswith("mean ")]
    shown = json.loads(run(*words, "--out", str(out), "--json").stdout)["environments"]
    shares = [each["mean"]["value"] for each in shown.values()]
    assert list(shown) == ["stepgym/Countdown-v0", "stepgym/ModularSums-v0"]
    assert f"{sum(shares) / 2:.1%}" in mean
    refused = run(*words, "--curve", str(tmp_path / "curve"))
    assert refused.exit_code == 2 and "one environment" in refused.output


def test_a_mixture_gives_a_table_of_its_members(tmp_path: Path) -> None:
    members = 'members={"Countdown-v0": 1, "ModularSums-v0": 1}'
    words = ["eval", "--env", "Mixture-v0", "--env-option", members, *COUNTDOWN[4:]]
    found = json.loads(run(*words, "--out", str(tmp_path / "run"), "--json").stdout)
    counts = {name: each["num_problems"] for name, each in found["members"].items()}
    assert set(counts) == {"stepgym/Countdown-v0", "stepgym/ModularSums-v0"}
    assert sum(counts.values()) == found["num_problems"] == 6


def test_a_policy_that_cannot_play_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    out = tmp_path / "run"
    for command in ("eval", "selfplay"):
        refused = run(command, "--env", "Math-v0", "--out", str(out))
        assert refused.exit_code == 2 and not out.exists(), refused.output
        assert "only plays Countdown" in refused.output and "smollm2" in refused.output


def test_a_relative_file_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.jsonl").write_text('{"question": "Compute 1 + 1.", "answer": "2"}\n')
    (tmp_path / "constant.py").write_text(
        "from stepgym.envs.types import Step\n"
        "class Two:\n"
        "    def propose(self, states, counts):\n"
        "        return [[Step('<answer>2</answer>')] * count for count in counts]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    words = ["eval", "--policy", "constant:Two", "--episodes", "5"]
    alone = run(*words, "--env", "Math-v0", "--env-option", "file=mine.jsonl", "--out", "alone")
    mixed = 'members={"Math-v0": {"file": "mine.jsonl"}}'
    mixture = run(*words, "--env", "Mixture-v0", "--env-option", mixed, "--out", "mixed")
    assert alone.exit_code == mixture.exit_code == 0, alone.output + mixture.output
    assert "1 problem:" in alone.output  # more episodes than problems mean all of them
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("alone", "mixed"):
        again = run("verify", str(tmp_path / name))
        assert again.exit_code == 0 and "0 verdicts changed" in again.output, again.output


def test_a_watch_that_measured_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ["watch", "--env", "Countdown-v0", "--policy", "odd_policies:Raises"]
    watched = run(*words, "--episodes", "2", "--widths", "1,2", "--out", str(tmp_path))
    assert watched.exit_code == 1 and "nothing was measured" in watched.output, watched.output
    found = json.loads((tmp_path / "watch.json").read_text())
    assert found["failed"] == 2 and len(found["alarms"]) >= 1


def test_a_slow_start_is_mentioned(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(episode_progress, "QUIET_S", 0.01)
    with EpisodeProgress(quiet=False):
        time.sleep(0.2)
    assert "models are loaded" in capsys.readouterr().err
    with EpisodeProgress(quiet=True):
        time.sleep(0.05)
    assert not capsys.readouterr().err

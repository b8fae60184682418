"""`stepgym train` and `stepgym loop` as a user meets them: what comes next, what is left behind, what to write first."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.cli import main
from stepgym.selfplay.loop_config import read_loop_config
from stepgym.selfplay.play import selfplay
from stepgym.training import fit
from stepgym.training import train as training
from stepgym.training.config import TrainConfig
from stepgym.training.types import Progress, TrainerKind, TrainingError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run") / "a"
    selfplay(
        "stepgym/Countdown-v0",
        out=folder,
        agent="best_of_n",
        agent_settings={"n": 8},
        env_options={"level": 3},
        episodes=8,
        seed=1,
        see_verdicts=False,
    )
    return str(folder)


def invoke(*words: str) -> Any:
    return CliRunner().invoke(main, [*words])


@pytest.mark.parametrize("kind", [kind for kind in TrainerKind if kind is not TrainerKind.DPO])
def test_the_command_that_train_prints_measures_what_was_trained(
    kind: TrainerKind, run: str, tmp_path: Path
) -> None:
    out = str(tmp_path / "out")
    source = ["--level", "1"] if kind is TrainerKind.GRPO else ["--runs", run]
    done = invoke("train", kind, *source, "--steps", "2", "--out", out)
    assert done.exit_code == 0, done.output
    assert out in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("Next: stepgym "))
    words = shlex.split(line.removeprefix("Next: stepgym "))
    words[words.index("--episodes") + 1] = "2"
    level = "1" if kind is TrainerKind.GRPO else "3"
    assert words[words.index("--level") + 1] == level
    measured = invoke(*words)
    assert measured.exit_code == 0, measured.output
    assert "failed" not in measured.output
    if "--reward-model" in words:
        load_reward_model(words[words.index("--reward-model") + 1])
    load_policy(words[words.index("--policy") + 1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("there", [False, True])
def test_a_training_that_ends_before_its_first_checkpoint_leaves_nothing(
    run: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    there: bool,
) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
        (out / "notes.txt").write_text("mine")

    def stop(progress: object) -> None:
        raise error

    config = TrainConfig(kind="sft", runs=(run,), out=str(out), steps=100)
    with pytest.raises(error):
        training.train(config, progress=stop)
    assert out.exists() is there
    if there:
        assert [path.name for path in out.iterdir()] == ["notes.txt"]
    training.train(TrainConfig(kind="sft", runs=(run,), out=str(out), steps=2, seed=1))


def test_an_output_that_is_a_file_is_refused_before_the_work(run: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("")
    with pytest.raises(TrainingError, match="out is a file") as raised:
        training.train(TrainConfig(kind="sft", runs=(run,), out=str(file)))
    assert str(file) in str(raised.value)


def test_grpo_takes_options_of_the_environment(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    start = ("--init", str(tmp_path / "none"))
    call = ("train", "grpo", "--env", "Countdown-v0", "--steps", "1", "--out", out)
    wrong = invoke(*call, "--env-option", "lewel=3")
    assert wrong.exit_code == 2 and "lewel" in wrong.output
    assert invoke(*call, *start).exit_code == 2
    assert not Path(out).exists()


def test_an_example_config_can_be_run_and_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "first.toml"
    written = invoke("loop", str(file), "--init-config")
    assert written.exit_code == 0 and f"stepgym loop {file}" in written.stdout
    config = read_loop_config(file)
    assert (config.generations, config.init, config.agent_settings) == (4, "fresh", {"n": 32})
    again = invoke("loop", str(file), "--init-config")
    assert again.exit_code == 2 and "exists already" in again.output
    nowhere = invoke("loop", str(tmp_path / "no" / "such.toml"), "--init-config")
    assert nowhere.exit_code == 2 and "no folder" in nowhere.output
    small = file.read_text().replace("episodes = 200", "episodes = 6").replace("= 300", "= 2")
    file.write_text(small.replace("held_out = 200", "held_out = 4").replace("n = 32", "n = 8"))
    done = invoke("loop", str(file), "--generations", "1")
    assert done.exit_code == 0, done.output
    assert "generation 1: solved greedy" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("Next: stepgym "))
    words = shlex.split(line.removeprefix("Next: stepgym "))
    words[words.index("--episodes") + 1] = "2"
    assert invoke(*words).exit_code == 0


def test_a_checkpoint_follows_the_umask_and_slow_steps_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "SHOWN_EVERY_S", 0.0)
    shown: list[Progress] = []
    before = os.umask(0o027)
    try:
        out = str(tmp_path / "model")
        config = TrainConfig(kind="grpo", out=out, steps=3, batch=8, group=4, level=1)
        training.train(config, progress=shown.append)
    finally:
        os.umask(before)
    assert [each.done for each in shown if each.task.startswith("train")] == [1, 2, 3]
    files = [file for file in (tmp_path / "model").iterdir() if file.is_file()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o640}

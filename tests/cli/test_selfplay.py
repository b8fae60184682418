"""`stepgym selfplay` and what comes after it: interruptions lose little, bad input says the way out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from click.testing import CliRunner, Result

from stepgym.agents.types import RunStopped
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import read_config
from stepgym.records.types import RunMismatchError
from stepgym.sandbox.types import SandboxError
from stepgym.selfplay import read_episodes, selfplay

HERE = Path(__file__).parent
COUNTDOWN = ["selfplay", "--env", "stepgym/Countdown-v0", "--level", "1"]


def stepgym(*arguments: object) -> Result:
    return CliRunner().invoke(
        main, [str(argument) for argument in arguments], catch_exceptions=False
    )


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


def test_from_play_to_data_to_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    played = stepgym(
        *COUNTDOWN,
        "--agent",
        "best_of_n",
        "--agent-option",
        "n=8",
        "--policy",
        "random",
        "--episodes",
        12,
        "--out",
        run,
    )
    assert played.exit_code == 0 and "12 episodes" in played.output
    summary = json.loads(stepgym("runs", run, "--json").output)
    assert summary["episodes"] == sum(summary["verdicts"].values()) == 12
    assert summary["verdicts"]["correct"] > 0
    for kind in ("sft", "preference", "steps", "tree", "verl", "openrlhf"):
        assert (
            stepgym("export", run, "--format", kind, "--out", tmp_path / f"{kind}.jsonl").exit_code
            == 0
        )
    assert (tmp_path / "sft.jsonl").read_text().count("\n") >= summary["verdicts"]["correct"]
    assert stepgym("view", run, "--out", tmp_path / "page.html").exit_code == 0
    assert "12 episodes" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_same_command_adds_nothing_and_a_larger_one_extends(tmp_path: Path) -> None:
    command = [*COUNTDOWN, "--policy", "random", "--out", tmp_path / "run", "--json"]
    first = json.loads(stepgym(*command, "--episodes", 3).output)
    again = json.loads(stepgym(*command, "--episodes", 3).output)
    more = json.loads(stepgym(*command, "--episodes", 5).output)
    assert first == again and more["episodes"] == 5
    assert [record.index for record in read_episodes(tmp_path / "run")] == [0, 1, 2, 3, 4]


def test_how_many_run_side_by_side_changes_nothing(tmp_path: Path) -> None:
    command = [*COUNTDOWN, "--agent", "best_of_n", "--policy", "random", "--episodes", 9]
    for parallel in (1, 4):
        stepgym(*command, "--parallel", parallel, "--out", tmp_path / str(parallel))
    one, four = (list(read_episodes(tmp_path / name)) for name in ("1", "4"))
    assert [(r.problem_id, r.verdict, r.nodes, r.path) for r in one] == [
        (r.problem_id, r.verdict, r.nodes, r.path) for r in four
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--env", "stepgym/Countdwn-v0"], "did you mean 'stepgym/Countdown-v0'? known: "),
        (["--agent", "best_of_m"], "unknown agent 'best_of_m'; did you mean 'best_of_n'? known: "),
        (["--policy", "randm"], "unknown policy 'randm'; did you mean 'random'? known: "),
        (
            ["--reward-model", "rndom"],
            "unknown reward model 'rndom'; did you mean 'random'? known: ",
        ),
        (["--policy", "nowhere.to:Be"], "cannot import 'nowhere.to'"),
        (["--agent-option", "m=3"], "agent 'greedy' has no setting 'm'"),
        (["--agent-option", "3"], "'3' should be NAME=VALUE, such as file=PATH or n=8"),
        (
            ["--env-option", "colour=3"],
            "environment 'stepgym/Countdown-v0' has no setting 'colour'",
        ),
        (
            ["--sandbox", "docker"],
            "environment 'stepgym/Countdown-v0' has no setting 'sandbox'",
        ),  # it runs no programs
        (
            ["--agent", "best_of_n", "--agent-option", "n=abc"],
            "agent 'best_of_n': n is a whole number, not 'abc'",
        ),
        (
            ["--agent", "mcts", "--agent-option", "simulations=x"],
            "simulations is a whole number, not 'x'",
        ),
        (["--agent-option", "n=3"], "agent 'greedy' has no setting 'n'"),
        (["--policy-option", "seed=hot"], "policy 'random': seed is a whole number, not 'hot'"),
        (["--env-option", "max_steps=abc"], "max_steps is a whole number or null, not 'abc'"),
        (["--env-option", "level=true"], "--level 1 and --env-option level=True: give one of them"),
        (["--episodes", "0"], "0 is not in the range x>=1"),
        (["--seed", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_what_cannot_be_played_says_why_and_leaves_nothing(
    arguments: list[str], says: str, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = stepgym(*COUNTDOWN, "--policy", "random", *arguments, "--out", out)
    assert result.exit_code == 2 and says in result.output.replace("\n", " ")
    assert not out.exists()


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("", "questions.jsonl, line 1: the file is empty"),
        ("\n" * 16 + '{"question": "2+2?", answer}\n', "questions.jsonl, line 17, column "),
        ('{"question": "1+1?"}\n', "no answer column"),
    ],
)
def test_a_broken_data_file_names_file_line_and_column(
    rows: str, says: str, tmp_path: Path
) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(rows)
    result = stepgym(
        "selfplay",
        "--env",
        "Math-v0",
        "--env-option",
        f"file={file}",
        "--policy",
        "random",
        "--out",
        tmp_path / "run",
    )
    assert result.exit_code == 2 and says in result.output.replace("\n", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["selfplay", "eval", "solve"])
def test_a_missing_engine_says_what_to_start(
    odd: None, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    out = ["--out", tmp_path / "run"] if command == "selfplay" else []
    result = stepgym(
        command,
        "--env",
        "stepgym/Code-v0",
        "--sandbox",
        "docker",
        "--policy",
        "odd_policies:Silent",
        *out,
    )
    assert (
        result.exit_code == 2
        and "unix:///nonexistent" in result.output
        and "start" in result.output
    )
    assert not (tmp_path / "run").exists()


def test_an_unknown_command_suggests_the_nearest() -> None:
    result = stepgym("selfpaly")
    assert result.exit_code == 2 and "did you mean 'selfplay'?" in result.output


def test_other_settings_on_the_same_folder_are_refused(tmp_path: Path) -> None:
    command = [*COUNTDOWN, "--policy", "random", "--episodes", 2, "--out", tmp_path / "run"]
    stepgym(*command)
    result = stepgym(*command, "--seed", 5)
    assert result.exit_code == 2 and "seed was 0, is now 5" in result.output


@pytest.mark.parametrize("command", ["runs", "export", "view"])
def test_a_folder_without_a_run_is_named(command: str, tmp_path: Path) -> None:
    result = stepgym(command, tmp_path)
    assert result.exit_code == 2 and f"{tmp_path} is not a run folder" in result.output.replace(
        "\n", ""
    )


@pytest.mark.parametrize("command", ["runs", "export", "view"])
def test_a_broken_line_is_named(command: str, tmp_path: Path) -> None:
    stepgym(*COUNTDOWN, "--policy", "random", "--episodes", 2, "--out", tmp_path / "run")
    with (tmp_path / "run/episodes.jsonl").open("a") as file:
        file.write("{broken\n")
    result = stepgym(command, tmp_path / "run")
    assert result.exit_code == 2 and "episodes.jsonl:3: not JSON" in result.output


@pytest.mark.parametrize(
    ("policy", "verdicts", "note"),
    [
        ("Silent", {"no_answer"}, ""),  # nothing is a move too: the tree is barren
        ("Rubbish", {"no_answer", "incorrect"}, ""),
        ("Megabyte", {"failed"}, "the limit is"),
        ("Raises", {"failed"}, "the model fell over"),
        ("NotSteps", {"failed"}, ""),
    ],
)
def test_a_bad_policy_is_recorded_and_the_run_goes_on(
    odd: None, policy: str, verdicts: set[str], note: str, tmp_path: Path
) -> None:
    command = [
        *COUNTDOWN,
        "--agent",
        "best_of_n",
        "--agent-option",
        "n=2",
        "--policy",
        f"odd_policies:{policy}",
    ]
    result = stepgym(*command, "--episodes", 3, "--out", tmp_path / "run")
    assert result.exit_code == (1 if verdicts == {"failed"} else 0)  # 1: nothing could be played
    records = list(read_episodes(tmp_path / "run"))
    assert len(records) == 3 and {record.verdict for record in records} <= verdicts
    assert all(note in record.note for record in records)
    assert stepgym("view", tmp_path / "run").exit_code == 0
    assert stepgym("export", tmp_path / "run", "--format", "tree").exit_code == 0


def test_one_failing_problem_costs_no_other(
    odd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [*COUNTDOWN, "--episodes", 4, "--policy"]
    stepgym(*command, "random", "--out", tmp_path / "good")
    good = list(read_episodes(tmp_path / "good"))
    monkeypatch.setenv("ODD_PROMPT", good[1].prompt)
    stepgym(*command, "odd_policies:RaisesOnce", "--out", tmp_path / "bad")
    bad = list(read_episodes(tmp_path / "bad"))
    assert bad[1].verdict == "failed"
    assert [record.nodes for record in bad if record.index != 1] == [
        record.nodes for record in good if record.index != 1
    ]


def start(out: Path, *arguments: str, sleep_s: float) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(HERE),
        "ODD_SLEEP": str(sleep_s),
        "ODD_BEGUN": f"{out}.begun",
    }
    command = [
        *COUNTDOWN,
        "--policy",
        "odd_policies:Slow",
        "--episodes",
        "30",
        "--parallel",
        "2",
        "--out",
        str(out),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "stepgym", *command, *arguments],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )


def lines(out: Path) -> list[bytes]:
    file = out / "episodes.jsonl"
    return file.read_bytes().splitlines(keepends=True) if file.exists() else []


def wait_for(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while len(lines(out)) < count and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()


def plain(line: bytes) -> dict[str, Any]:
    return {
        name: value
        for name, value in json.loads(line).items()
        if name not in ("usage", "created", "agent")
    }


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_an_interrupted_run_goes_on_where_it_stopped(
    how: signal.Signals, workers: tuple[str, ...], tmp_path: Path
) -> None:
    interrupted, whole = tmp_path / "interrupted", tmp_path / "whole"
    process = start(interrupted, *workers, sleep_s=0.1)
    wait_for(interrupted, 4, process)
    process.send_signal(how)
    # Returns when the last process that holds the pipes is gone: workers end with their parent.
    _, errors = process.communicate(timeout=60)
    before = [line for line in lines(interrupted) if line.endswith(b"\n")]
    assert 4 <= len(before) < 30
    if how is signal.SIGINT:
        assert process.returncode == 130 and "run the same command to continue" in errors
    assert start(interrupted, *workers, sleep_s=0).wait(timeout=120) == 0
    assert start(whole, sleep_s=0).wait(timeout=120) == 0
    after = lines(interrupted)
    assert after[: len(before)] == before, "finished episodes stay as they are"
    found, undisturbed = (list(map(plain, each)) for each in (after, lines(whole)))
    if workers:  # come in any order
        found.sort(key=lambda episode: int(episode["index"]))
    assert found == undisturbed, "as if nothing had happened"


@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["one process", "workers"])
def test_sigterm_finishes_what_is_in_flight_and_a_second_one_stops_at_once(
    workers: tuple[str, ...], tmp_path: Path
) -> None:
    process = start(tmp_path / "run", *workers, sleep_s=0.2)
    wait_for(tmp_path / "run", 2, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "Stopping after the episodes in flight" in errors, errors
    kept = list(read_episodes(tmp_path / "run"))
    assert 2 <= len(kept) < 30 and f"{len(kept)} new episodes are kept" in errors
    slow = start(tmp_path / "slow", *workers, sleep_s=20)
    deadline = time.monotonic() + 60
    while not (tmp_path / "slow.begun").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    slow.send_signal(signal.SIGTERM)
    assert slow.stderr is not None
    while "Stopping after the episodes in flight" not in (line := slow.stderr.readline()):
        assert line, "the first signal is answered"
    slow.send_signal(signal.SIGTERM)
    assert slow.wait(timeout=15) == 130


def test_a_second_writer_is_sent_away(tmp_path: Path) -> None:
    process = start(tmp_path / "run", sleep_s=1)
    try:
        wait_for(tmp_path / "run", 1, process)
        second = start(tmp_path / "run", sleep_s=0)
        _, errors = second.communicate(timeout=60)
        assert second.returncode == 1 and "another process is writing" in errors
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("command", ["eval", "solve", "selfplay"])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--agent-option", "simulations=x"),
        ("--policy-option", "temperature=hot"),
        ("--env-option", "max_steps=abc"),
    ],
)
def test_a_setting_of_the_wrong_type_is_named_by_every_command(
    command: str, option: str, value: str, tmp_path: Path
) -> None:
    out = ["--out", tmp_path / "run"] if command == "selfplay" else []
    result = stepgym(
        command,
        "--env",
        "Countdown-v0",
        "--agent",
        "mcts",
        "--policy",
        "embedded",
        option,
        value,
        *out,
    )
    name, _, shown = value.partition("=")
    assert result.exit_code == 2 and name in result.output and repr(shown) in result.output


def test_a_lost_sandbox_ends_the_run_and_the_same_command_goes_on(
    odd: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [
        *COUNTDOWN,
        "--policy",
        "odd_policies:LosesSandbox",
        "--parallel",
        2,
        "--episodes",
        6,
        "--out",
        tmp_path / "run",
    ]
    problem = load_env("Countdown-v0", level=1).problems[3]
    monkeypatch.setenv("ODD_PROMPT", problem.prompt)
    result = stepgym(*command)
    assert (
        result.exit_code == 1
        and "no engine answers" in result.output
        and "2 new episodes are kept" in result.output
    )
    assert [record.index for record in read_episodes(tmp_path / "run")] == [0, 1]
    monkeypatch.setenv("ODD_PROMPT", "nothing like it")
    assert stepgym(*command).exit_code == 0
    assert [record.index for record in read_episodes(tmp_path / "run")] == [0, 1, 2, 3, 4, 5]


def test_the_search_may_be_kept_from_the_verdicts_and_from_waiting(tmp_path: Path) -> None:
    command = [
        *COUNTDOWN,
        "--agent",
        "best_of_n",
        "--policy",
        "random",
        "--episodes",
        9,
        "--parallel",
        2,
    ]
    blind = stepgym(*command, "--no-verdicts", "--out", tmp_path / "blind")
    ahead = stepgym(*command, "--continuous", "--out", tmp_path / "ahead")
    stepgym(*command, "--out", tmp_path / "plain")
    assert blind.exit_code == ahead.exit_code == 0
    blinds, aheads, plains = (
        list(read_episodes(tmp_path / name)) for name in ("blind", "ahead", "plain")
    )
    assert [r.agent["see_verdicts"] for r in (*blinds, *plains)] == [False] * 9 + [True] * 9
    assert [(r.index, r.nodes, r.path) for r in aheads] == [
        (r.index, r.nodes, r.path) for r in plains
    ]
    assert {r.agent["continuous"] for r in aheads} == {True}
    refused = stepgym(*command, "--out", tmp_path / "blind")
    assert refused.exit_code == 2 and "see_verdicts was False, is now None" in refused.output


def test_the_sandbox_is_tried_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent")
    with pytest.raises(SandboxError, match="nonexistent"):
        selfplay(
            "Code-v0",
            env_options={"sandbox": "docker"},
            policy="hf:no/such/folder",
            out=tmp_path / "run",
        )


def test_a_sandbox_that_is_an_object_is_the_same_in_the_next_process(
    odd: None, tmp_path: Path
) -> None:
    class Place:
        """Nothing runs here."""

    for _ in range(2):
        selfplay(
            "Code-v0",
            env_options={"sandbox": Place()},
            policy="odd_policies:Silent",
            episodes=1,
            out=tmp_path / "run",
        )
    text = (tmp_path / "run/run.json").read_text()
    assert "Place" in text and " at 0x" not in text


def test_an_environment_that_is_an_object_keeps_its_options(tmp_path: Path) -> None:
    for level in (1, 1):
        selfplay(
            load_env("Countdown-v0", level=level), policy="random", episodes=1, out=tmp_path / "run"
        )
    assert read_config(tmp_path / "run").env_options["level"] == 1
    with pytest.raises(RunMismatchError, match="'level': 1"):
        selfplay(
            load_env("Countdown-v0", level=2), policy="random", episodes=1, out=tmp_path / "run"
        )
    wrapped = gymnasium.make("stepgym/Countdown-v0", level=1)
    selfplay(wrapped, policy="random", episodes=1, out=tmp_path / "wrapped")  # type: ignore[arg-type]
    assert read_config(tmp_path / "wrapped").env_options["level"] == 1
    with pytest.raises(UserError, match="say how many episodes"):
        selfplay(wrapped, policy="random", episodes=None, out=tmp_path / "endless")  # type: ignore[arg-type]


def test_a_key_stays_out_of_the_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunStopped) as caught:
        selfplay(
            "Countdown-v0",
            policy="chat:http://me:hush@127.0.0.1:1/v1?key=hush#tiny",
            episodes=1,
            out=tmp_path / "run",
            policy_settings={"api_key": "hush", "max_retries": 0, "timeout_s": 2.0},
        )
    assert "hush" not in str(caught.value) and (tmp_path / "run/run.json").exists()
    assert not any("hush" in file.read_text() for file in (tmp_path / "run").iterdir())


def test_a_full_disk_ends_with_a_message_and_loses_no_finished_episode(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("stepgym")
    words = (
        f"{script} selfplay --env Countdown-v0 --policy random --episodes 60 --out {tmp_path}/run"
    )
    full = subprocess.run(
        ["bash", "-c", f"ulimit -f 16; {words}"], capture_output=True, text=True, timeout=120
    )
    assert full.returncode == 1 and "make room" in full.stderr, full.stderr
    assert "Traceback" not in full.stderr
    again = subprocess.run(words.split(), capture_output=True, text=True, timeout=120)
    assert again.returncode == 0, again.stderr
    assert 0 < int(again.stderr.rpartition("new ")[2].split(",")[0]) < 60
    records = list(read_episodes(tmp_path / "run"))
    assert sorted(record.index for record in records) == list(range(60))


@pytest.mark.parametrize(
    "words",
    [
        "selfplay --env Countdown-v0 --policy random --out {}/run",
        "eval --env Countdown-v0 --policy random --out {}/run",
        "eval --env Countdown-v0 --curve {}/curve",
        "watch --env Countdown-v0 --out {}/watch",
        "train grpo --out {}/model",
        "view run --out {}/page.html",
        "loop {}/loop.toml --init-config",
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, words: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    refused = CliRunner().invoke(main, words.format(file).split())
    assert refused.exit_code == 2 and str(file) in refused.output, refused.output
    assert file.read_bytes() == b""

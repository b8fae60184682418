"""The loop and what is made of it: resumes, gates, learns from the teacher it was given, and draws what happened."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.embedded import net
from stepgym.agents.types import EpisodeRecord
from stepgym.cli import main
from stepgym.cli.reproduce import ARMS as COMMAND_ARMS
from stepgym.envs.modular_sums import MODULUS
from stepgym.selfplay.curves import bands
from stepgym.selfplay.loop import (
    Generation,
    held_out,
    lessons_of,
    level_after,
    next_level,
    play,
    run_loop,
    worse_p_value,
)
from stepgym.selfplay.loop_config import LoopConfig, read_loop_config
from stepgym.selfplay.reproduce import ARMS, self_play_improves
from stepgym.selfplay.run_folder import read_config
from stepgym.selfplay.teachers import Teacher
from stepgym.selfplay.train.fit import Schedule, TrainingError
from stepgym.selfplay.train.imitation import demonstrations, known_facts, train_imitation


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    train_imitation(folder, shape=net.Shape(16, 1, 2), level=1, num_problems=60, schedule=Schedule(60, 1e-2))
    return folder


def config(start: Path, out: Path, **changes: object) -> LoopConfig:
    settings = LoopConfig(
        out=str(out), env="stepgym/ModularSums-v0", level=1, init=str(start), teacher="vote", generations=1,
        agent_settings={"n": 4, "pick": "vote"}, episodes=6, held_out=5, steps=3,
    )  # fmt: skip
    return replace(settings, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def episodes(start: Path, tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRecord]:
    return play(config(start, tmp_path_factory.mktemp("play")), 1, str(start))


def test_demonstrations_are_right_and_use_known_facts_alone() -> None:
    known = known_facts(0.5, 0)
    for choice in demonstrations(40, level=2, known=known, seed=0):
        (text,) = choice.target
        a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
        assert (a + b) % MODULUS == c
        assert tuple(sorted((a, b))) in known


@pytest.mark.parametrize("teacher", list(Teacher))
def test_a_teacher_approves_what_it_says(episodes: list[EpisodeRecord], start: Path, teacher: Teacher) -> None:
    try:
        approved = lessons_of(config(start, Path("unused"), teacher=teacher), 1, {1: episodes})
    except TrainingError as error:
        assert teacher in (Teacher.VERIFIER, Teacher.ORACLE), "votes always approve of something"
        assert f"nothing that teacher {teacher} approves" in str(error)
        return
    if teacher is Teacher.ORACLE:
        for choice in approved:
            for text in choice.target:
                a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
                assert (a + b) % MODULUS == c


def test_a_loop_goes_on_where_it_stopped(start: Path, tmp_path: Path) -> None:
    once = run_loop(config(start, tmp_path / "a"))
    told: list[str] = []
    assert run_loop(config(start, tmp_path / "a"), tell=told.append) == once
    assert told == [], "nothing is done twice"
    more = run_loop(config(start, tmp_path / "a", generations=2))
    assert more[:2] == once
    assert [line["generation"] for line in more] == [0, 1, 2]
    assert all(line["ledger"]["train"]["flops"] > 0 for line in more[1:])
    with pytest.raises(TrainingError, match="episodes was 6, is now 7"):
        run_loop(config(start, tmp_path / "a", episodes=7))


def test_a_generation_cut_short_replays_no_finished_episode(start: Path, tmp_path: Path) -> None:
    first = play(config(start, tmp_path), 1, str(start))
    file = tmp_path / "generation-1" / "run" / "episodes.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    again = play(config(start, tmp_path), 1, str(start))
    assert [r.problem_id for r in again] == [r.problem_id for r in first]
    assert [r.created for r in again[:2]] == [r.created for r in first[:2]]


@pytest.mark.parametrize(
    ("old", "new", "accepted"),
    [
        ([1] * 10, [1] * 10, True),  # equal
        ([0] * 10, [1] * 10, True),  # better
        ([1] * 10, [0] * 10, False),  # worse, surely
        ([1, 1, 0, 0], [0, 1, 0, 0], True),  # worse by one of four: chance
    ],
)
def test_the_gate_turns_down_only_what_is_worse_at_95_percent(old: list[int], new: list[int], accepted: bool) -> None:
    assert (worse_p_value(old, new) > 0.05) is accepted


def test_the_command_writes_curves_and_names_a_wrong_setting(start: Path, tmp_path: Path) -> None:
    file = tmp_path / "sums.toml"
    file.write_text(
        f'env = "stepgym/ModularSums-v0"\nlevel = 1\ninit = "{start}"\nteacher = "vote"\nepisodes = 4\nheld_out = 4\n'
        'steps = 2\ngenerations = 1\n[agent_settings]\nn = 2\npick = "vote"\n'
    )
    done = CliRunner().invoke(main, ["loop", str(file), "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout.splitlines()[-1])) == 2
    assert (tmp_path / "sums" / "curves.png").is_file()
    assert "data:image/png" in (tmp_path / "sums" / "index.html").read_text()
    file.write_text("episode = 4\n")
    with pytest.raises(TrainingError, match="did you mean 'episodes'"):
        read_loop_config(file)


def test_bands_are_mean_and_extremes_over_seeds() -> None:
    seeds = [[{"greedy": 0.2}, {"greedy": 0.6}], [{"greedy": 0.4}, {"greedy": 0.8}, {"greedy": 1.0}]]
    assert bands(seeds, "greedy") == [(pytest.approx(0.3), 0.2, 0.4), (pytest.approx(0.7), 0.6, 0.8)]


TINY = ("vote", "random", "imitation", "scratch")
"""Arms that find something to learn even in four episodes."""


@pytest.fixture(scope="module")
def claim(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("claim")
    results = self_play_improves(
        out, seeds=1, generations=1, episodes=4, held_out=3, imitation_steps=20, steps=2, num_demonstrations=60,
        arms=TINY, tell=lambda line: None,
    )  # fmt: skip
    return out, results


def test_self_play_runs_every_arm(claim: tuple[Path, dict[str, Any]]) -> None:
    out, results = claim
    assert results.keys() == set(TINY)
    assert all(len(figures["greedy"]) == 2 for figures in results.values())
    assert results["vote"]["facts"].keys() == {"demonstrated", "others"}
    assert (out / "curves.png").is_file()


def test_every_phase_has_its_seconds_tokens_and_flops(claim: tuple[Path, dict[str, Any]]) -> None:
    (vote,) = claim[1]["vote"]["ledger"]
    assert vote.keys() == {"imitation", "play", "train", "test"}
    assert all(cost[unit] > 0 for cost in vote.values() for unit in ("seconds", "tokens", "flops"))


def test_more_imitation_spends_what_self_play_spent(claim: tuple[Path, dict[str, Any]]) -> None:
    (vote,), (control,) = claim[1]["vote"]["ledger"], claim[1]["imitation"]["ledger"]
    assert control["train"]["flops"] >= 0.95 * (vote["play"]["flops"] + vote["train"]["flops"])


def test_the_commands_arms_are_those_that_there_are() -> None:
    assert ARMS == COMMAND_ARMS


def test_a_report_is_called_once_a_generation_and_kept(start: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def report(generation: Generation) -> dict[str, float]:
        seen.append((generation.number, len(generation.records)))
        assert (generation.folder / "policy" / "model.safetensors").is_file()
        return {"length": 2.0}

    lines = run_loop(config(start, tmp_path, generations=2), report=report)
    assert seen == [(1, 6), (2, 6)]
    assert [line.get("report") for line in lines] == [None, {"length": 2.0}, {"length": 2.0}]


def test_the_curriculum_keeps_the_band(start: Path, tmp_path: Path) -> None:
    """The level goes up after a generation above the band, down after one below it, and a resumed loop knows it."""
    always, never = (0.0, 0.01), (0.98, 0.99)
    for band, first, then in ((always, 2, 3), (never, 2, 1)):
        made = config(start, tmp_path / str(band), teacher="random", band=band, start_level=first, generations=1)
        run_loop(made)
        lines = run_loop(replace(made, generations=2))
        assert lines[1]["level"] == first
        moved = (lines[1]["success"] > band[1]) - (lines[1]["success"] < band[0])
        assert lines[2]["level"] == lines[1]["curriculum"] == first + moved
        if moved:
            assert lines[2]["level"] == then
        assert read_config(tmp_path / str(band) / "generation-2" / "run").env_options == {"level": lines[2]["level"]}


@pytest.mark.parametrize(
    ("last", "level"),
    [
        ({}, 2),  # the start
        ({"curriculum": 4}, 4),
        ({"curriculum": {"level": 3, "lowest": 1, "highest": 5, "low": 0.4, "high": 0.8, "window": 6, "recent": [True]}}, 3),
    ],
)
def test_the_level_to_play_stands_in_the_last_line(start: Path, last: dict[str, Any], level: int) -> None:
    assert level_after(config(start, Path("unused"), band=(0.4, 0.8), start_level=2), [last]) == level


@pytest.mark.parametrize(
    ("rate", "level", "then"),
    [(0.9, 2, 3), (0.6, 2, 2), (0.1, 2, 1), (0.9, 5, 5), (0.1, 1, 1)],  # the last two: no further
)
def test_a_generations_own_rate_moves_the_level(start: Path, rate: float, level: int, then: int) -> None:
    """Whatever the order of its outcomes, and whatever came before."""
    outcomes = [i < rate * 10 for i in range(10)]
    settings = config(start, Path("unused"), band=(0.4, 0.8))
    assert next_level(settings, level, outcomes) == next_level(settings, level, outcomes[::-1]) == then


def test_no_lesson_is_from_a_held_out_problem(start: Path, episodes: list[EpisodeRecord]) -> None:
    settings = config(start, Path("unused"), teacher="random")
    asked = {problem.prompt for problem in held_out(settings)}
    inside = [replace(record, prompt=prompt) for record, prompt in zip(episodes, asked)]
    with pytest.raises(TrainingError, match="nothing that teacher random approves"):
        lessons_of(settings, 1, {1: inside})


def test_the_watch_reports_on_each_generation_and_needs_a_reward_model(start: Path, tmp_path: Path) -> None:
    report = "stepgym.selfplay.generation_watch:watch_generation"
    common = {"report": report, "agent_settings": {"n": 8}, "teacher": "verifier", "env": "stepgym/Countdown-v0", "init": "embedded"}
    lines = run_loop(config(start, tmp_path / "a", own_reward_model=True, held_out=3, **common))
    assert lines[1]["report"].keys() == {"alarms", "auc"}
    assert (tmp_path / "a" / "generation-1" / "watch.json").is_file()
    assert lines[1]["ledger"]["reward_model"]["flops"] > 0
    with pytest.raises(TrainingError, match="set own_reward_model = true"):
        run_loop(config(start, tmp_path / "b", held_out=3, **common))

"""The loop and what is made of it: resumes, gates, learns from the teacher it was given, and draws what happened."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.embedded import net
from stepgym.agents.embedded.net import CheckpointError
from stepgym.agents.executors import IN_PROCESS, Workers
from stepgym.agents.jobs import Executor
from stepgym.agents.types import EpisodeRecord
from stepgym.claims.alphazero.claim import ARMS, self_play_improves, write_results
from stepgym.claims.alphazero.command import ARMS as COMMAND_ARMS
from stepgym.claims.imitation import demonstrations, known_facts, train_imitation
from stepgym.cli import main
from stepgym.envs.families.modular_sums import MODULUS
from stepgym.plugins.errors import UserError
from stepgym.records.run_folder import read_config
from stepgym.selfplay.loop import Generation, run_loop, worse_p_value
from stepgym.selfplay.loop_config import LoopConfig, read_loop_config
from stepgym.selfplay.loop_curriculum import level_after, next_level, successes
from stepgym.selfplay.loop_folder import START, model_home, read_log
from stepgym.selfplay.loop_learn import policy_targets, replay_buffer, value_targets
from stepgym.selfplay.loop_page import bands
from stepgym.selfplay.loop_play import evaluate, held_out, outcomes_of, play, read_generation
from stepgym.training.types import Progress, Schedule, TrainingError


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start")
    train_imitation(
        folder, shape=net.Shape(16, 1, 2), level=1, num_problems=60, schedule=Schedule(60, 1e-2)
    )
    return folder


def config(start: Path, out: Path, **changes: object) -> LoopConfig:
    settings = LoopConfig(
        out=str(out),
        env="stepgym/ModularSums-v0",
        level=1,
        init=str(start),
        teacher="vote",
        generations=1,
        agent_settings={"n": 4, "pick": "vote"},
        episodes=6,
        held_out=5,
        steps=3,
    )
    return replace(settings, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def episodes(start: Path, tmp_path_factory: pytest.TempPathFactory) -> list[EpisodeRecord]:
    return play(config(start, tmp_path_factory.mktemp("play")), 1, START)


def test_demonstrations_are_right_and_use_known_facts_alone() -> None:
    known = known_facts(0.5, 0)
    for choice in demonstrations(40, level=2, known=known, seed=0):
        (text,) = choice.shares
        a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
        assert (a + b) % MODULUS == c
        assert tuple(sorted((a, b))) in known


def test_a_loop_goes_on_where_it_stopped(start: Path, tmp_path: Path) -> None:
    once = run_loop(config(start, tmp_path / "a"))
    told: list[Progress] = []
    assert run_loop(config(start, tmp_path / "a"), progress=told.append) == once
    assert told == [], "nothing is done twice"
    more = run_loop(config(start, tmp_path / "a", generations=2))
    assert more[:2] == once
    assert [line["generation"] for line in more] == [0, 1, 2]
    assert all(line["costs"]["train"]["flops"] > 0 for line in more[1:])
    with pytest.raises(TrainingError, match="episodes was 6, is now 7"):
        run_loop(config(start, tmp_path / "a", episodes=7))


def test_a_loop_in_worker_processes_learns_the_same(start: Path, tmp_path: Path) -> None:
    def run(name: str, *, executor: Executor) -> tuple[list[Any], list[Any]]:
        own = config(start, tmp_path / name)
        lines = run_loop(own, executor=executor)
        weights = tmp_path / name / "generation-1" / "policy" / "model.safetensors"
        records = [
            {**asdict(record), "created": None, "usage": None} for record in read_generation(own, 1)
        ]
        return [{k: v for k, v in line.items() if k != "costs"} for line in lines], [
            weights.read_bytes(),
            records,
        ]

    here, there = run("here", executor=IN_PROCESS), run("there", executor=Workers(2))
    assert here == there


def test_a_generation_cut_short_replays_no_finished_episode(start: Path, tmp_path: Path) -> None:
    first = play(config(start, tmp_path), 1, START)
    file = tmp_path / "generation-1" / "run" / "episodes.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    again = play(config(start, tmp_path), 1, START)
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
def test_the_gate_rejects_only_what_is_worse_at_95_percent(
    old: list[int], new: list[int], accepted: bool
) -> None:
    assert (worse_p_value(old, new) > 0.05) is accepted


@given(
    st.lists(st.tuples(*2 * [st.sampled_from([0, 1, None])]), max_size=12),
    st.lists(st.sampled_from([0, 1, None]), max_size=4),
)
def test_masked_problems_do_not_move_the_gate(pairs: list[Any], masked: list[Any]) -> None:
    """What one of the two did not decide counts neither for nor against it."""
    old, new = [o for o, _ in pairs], [n for _, n in pairs]
    decided = [(o, n) for o, n in pairs if o is not None and n is not None]
    alone = worse_p_value([o for o, _ in decided], [n for _, n in decided])
    assert worse_p_value(old + [None] * len(masked), new + masked) == alone


@pytest.mark.parametrize("teacher", ["verifier", "vote"])
def test_undecided_and_failed_episodes_are_in_no_success_rate(
    start: Path, episodes: list[EpisodeRecord], teacher: str
) -> None:
    settings = config(start, Path("unused"), teacher=teacher, env="stepgym/ModularSums-v0")
    failed = [replace(record, verdict="failed") for record in episodes]
    assert successes(settings, [*episodes, *failed]) == successes(settings, episodes)
    assert outcomes_of([*episodes, *failed]).share == outcomes_of(episodes).share
    assert outcomes_of([*episodes, *failed]).failed == len(failed)
    undecided = [replace(record, verdict="undecided") for record in episodes]
    silent = [replace(record, verdict="no_answer") for record in episodes]
    assert outcomes_of(silent).share == 0, "a missing answer is wrong"
    if teacher == "verifier":
        assert successes(settings, [*episodes, *undecided]) == successes(settings, episodes)
        assert next_level(replace(settings, band=(0.4, 0.8)), 2, successes(settings, failed)) == 2
        assert successes(settings, silent) == [False] * len(silent)
    with pytest.raises(TrainingError, match=r"no episode on .* was decided"):
        outcomes_of(undecided)


def test_the_gate_counts_any_number_of_problems() -> None:
    assert worse_p_value([1] * 1100, [0] * 1100) == 0.0
    assert worse_p_value([0] * 1100, [1] * 1100) == 1.0


def test_a_moved_loop_goes_on(start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its start beside it, named by another path than before."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    shutil.copytree(start, "start")
    made = config(Path("start"), Path("loop"), replay=1)
    (_, second) = run_loop(made)
    assert second["policy"] == "generation-1", "nothing is rejected"
    monkeypatch.chdir("/")
    here.rename(there)
    moved = replace(made, out=str(there / "loop"), init=str(there / "start"), generations=2)
    assert run_loop(moved)[2]["generation"] == 2
    played = read_config(there / "loop" / "generation-2" / "run").policy
    assert model_home(moved, played) == there / "loop" / "generation-1"
    assert model_home(moved, START) == there / "start"
    with pytest.raises(TrainingError, match=r"init was .\.\./start., is now "):
        run_loop(replace(moved, init=str(start)))


def test_a_loop_that_starts_at_a_generation_of_another_goes_on_when_both_are_moved(
    start: Path, tmp_path: Path
) -> None:
    one = config(start, tmp_path / "here" / "one")
    run_loop(one)
    two = config(
        tmp_path / "here" / "one" / "generation-1", tmp_path / "here" / "two", generations=0
    )
    run_loop(two)
    (tmp_path / "here").rename(tmp_path / "there")
    begun = tmp_path / "there" / "one" / "generation-1"
    lines = run_loop(
        replace(two, out=str(tmp_path / "there" / "two"), init=str(begun), generations=1)
    )
    assert read_config(tmp_path / "there" / "two" / "generation-1" / "run").policy == START
    assert [line["policy"] for line in lines] == ["start", "generation-1"]


def test_a_loop_without_the_reward_model_that_it_is_to_train_keeps_nothing(
    start: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"prm|no model\.safetensors"):
        run_loop(config(start, tmp_path / "loop", own_reward_model=True))
    assert not (tmp_path / "loop").exists()


def test_a_run_cut_short_goes_on_in_a_moved_loop(start: Path, tmp_path: Path) -> None:
    play(config(start, tmp_path / "a"), 2, START)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len(play(config(start, tmp_path / "b"), 2, START)) == 6


def test_a_log_cut_short_loses_its_last_line_alone(start: Path, tmp_path: Path) -> None:
    once = run_loop(config(start, tmp_path))
    log = tmp_path / "loop.jsonl"
    whole = log.read_text()
    log.write_text(whole[:-40])
    assert [line["generation"] for line in run_loop(config(start, tmp_path))] == [0, 1]
    assert read_log(tmp_path)[0] == once[0]
    log.write_text(whole.replace("generation", "gener\nation", 1))
    with pytest.raises(TrainingError, match=r"loop\.jsonl:1: not JSON"):
        run_loop(config(start, tmp_path))
    (tmp_path / "config.json").write_text("")
    with pytest.raises(TrainingError, match=r"config\.json: not JSON"):
        run_loop(config(start, tmp_path))


def test_a_loop_starts_from_random_weights_and_may_be_moved(tmp_path: Path) -> None:
    fresh = config(tmp_path, tmp_path / "loop", init="fresh", generations=0)
    scored = replace(fresh, out=str(tmp_path / "scored"), own_reward_model=True)
    assert len(run_loop(scored)) == 1
    models = {folder.name for folder in (tmp_path / "scored" / "start").iterdir()}
    assert models == {"policy", "prm"}
    first = run_loop(fresh)
    (tmp_path / "loop").rename(tmp_path / "moved")
    again = run_loop(replace(fresh, out=str(tmp_path / "moved"), generations=1))
    assert again[0] == first[0] and len(again) == 2
    with pytest.raises(TrainingError, match=r"cannot read stepgym/Math-v0; they play Countdown"):
        run_loop(replace(fresh, out=str(tmp_path / "other"), env="stepgym/Math-v0"))


def test_a_mistake_costs_no_folder(start: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="best_of_n"):
        run_loop(config(start, tmp_path / "a", agent="best_of_m"))
    assert not (tmp_path / "a").exists()
    assert len(run_loop(config(start, tmp_path / "a", generations=0))) == 1


def test_a_policy_of_another_game_is_said_to_be_one(start: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"stepgym/ModularSums-v0.*only plays Countdown"):
        run_loop(config(start, tmp_path, init="embedded"))


def test_a_loop_starts_from_what_a_trainer_wrote(start: Path, tmp_path: Path) -> None:
    """A folder with `policy/`, or the policy's own."""
    whole, own = (evaluate(config(init, tmp_path), START) for init in (start, start / "policy"))
    assert whole == own


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ("held_out = 0", "held_out is at least 1, not 0"),
        ("batch = 0", "batch is at least 1, not 0"),
        ('episodes = "6"', "episodes is a whole number, not '6'"),
        ("band = 0.5", r"band is \[low, high\] with 0 <= low < high <= 1, not 0.5"),
        ("band = [0.8, 0.4]", r"not \[0.8, 0.4\]"),
        ("band = [0.4, 0.8]\nstart_level = 6", "start_level 6 is above highest_level 5"),
        ("teacher = 3", "teacher is text, not 3"),
        ('teacher = "votes"', "did you mean 'vote'"),
        ("confidence = 95", "confidence is between 0 and 1, not 95"),
        ("learning_rate = nan", "learning_rate is above 0, not nan"),
        ("agent_settings = 8", "agent_settings is a table of settings, not 8"),
        ("env_options = {level = 3}", "level is a setting of the loop, not one of env_options"),
        ("episode = 4", "did you mean 'episodes'"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path: Path, settings: str, says: str) -> None:
    file = tmp_path / "loop.toml"
    file.write_text(settings)
    with pytest.raises(TrainingError, match=rf"loop\.toml: .*{says}"):
        read_loop_config(file)


def test_a_generation_reports_its_progress(start: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    play(config(start, tmp_path), 1, START, progress=told.append)
    assert [(now.task, now.done, now.total) for now in told] == [
        ("generation 1: play", number, 6) for number in range(1, 7)
    ]


def test_the_command_writes_curves(start: Path, tmp_path: Path) -> None:
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
    shown = CliRunner().invoke(main, ["view", str(tmp_path / "sums"), "--json"])
    assert json.loads(shown.stdout)["episodes"] == 4, "the page of a loop has its generations' runs"
    page = (tmp_path / "sums" / "page.html").read_text()
    assert "Solved on held-out problems by generation" in page


def test_bands_are_mean_and_extremes_over_seeds() -> None:
    seeds = [
        [{"greedy": 0.2}, {"greedy": 0.6}],
        [{"greedy": 0.4}, {"greedy": 0.8}, {"greedy": 1.0}],
    ]
    assert bands(seeds, "greedy") == [
        (pytest.approx(0.3), 0.2, 0.4),
        (pytest.approx(0.7), 0.6, 0.8),
    ]


TINY: dict[str, Any] = {
    "seeds": 1,
    "generations": 1,
    "episodes": 4,
    "held_out": 3,
    "imitation_steps": 20,
    "steps": 2,
    "num_demonstrations": 60,
    "write_line": lambda line: None,
}
RUN = tuple(arm for arm in ARMS if arm != "oracle")
"""Arms that find something to learn even in four episodes of a start so green: of whole right lines there are none."""


@pytest.fixture(scope="module")
def claim(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("claim")
    return out, self_play_improves(out, arms=RUN[::-1], **TINY)


def test_self_play_runs_every_arm(claim: tuple[Path, dict[str, Any]]) -> None:
    out, results = claim
    assert tuple(results) == RUN, (
        "in the order in which they need each other, whatever the order they are named in"
    )
    assert all(len(figures["greedy"]) == 2 for figures in results.values())
    assert results["vote"]["facts"].keys() == {"demonstrated", "others"}
    assert (out / "curves.png").is_file()


def test_intervals_count_the_spread_between_trainings_and_leave_masked_problems_out(
    tmp_path: Path,
) -> None:
    """Three trainings that differ: problems alone, pooled, would say .55 to .72."""
    seeds = [
        [
            {
                "generation": 0,
                "greedy": share,
                "searched": share,
                "solved": [*solved, None],
                "searched_solved": solved,
            }
        ]
        for share in (0.4, 0.6, 0.9)
        for solved in [[int(i < 50 * share) for i in range(50)]]
    ]
    results = write_results(tmp_path, {"vote": seeds})["vote"]
    low, high = results["searched_last_ci"]
    assert low < 0.5 and high > 0.78
    assert results["greedy_last_ci"] == results["searched_last_ci"]
    assert (
        json.loads((tmp_path / "results.json").read_text())["vote"]["searched_by_seed"]
        == [[0.4, 0.6, 0.9]] * 2
    )


def test_more_imitation_needs_as_many_generations_of_votes(
    claim: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    shutil.copytree(claim[0], tmp_path / "claim")
    more = {**TINY, "generations": 2}
    with pytest.raises(
        TrainingError, match=r"spent in 2 generations, and .*vote has 1: run `vote` with it"
    ):
        self_play_improves(tmp_path / "claim", arms=["imitation"], **more)
    with pytest.raises(ValueError, match="did you mean 'vote'"):
        self_play_improves(tmp_path / "claim", arms=["votes"], **TINY)


def test_every_phase_has_its_seconds_tokens_and_flops(claim: tuple[Path, dict[str, Any]]) -> None:
    (vote,) = claim[1]["vote"]["costs"]
    assert vote.keys() == {"imitation", "play", "train", "test"}
    assert all(cost[unit] > 0 for cost in vote.values() for unit in ("seconds", "tokens", "flops"))


def test_more_imitation_spends_what_self_play_spent(claim: tuple[Path, dict[str, Any]]) -> None:
    (vote,), (control,) = claim[1]["vote"]["costs"], claim[1]["imitation"]["costs"]
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
        made = config(
            start,
            tmp_path / str(band),
            teacher="random",
            band=band,
            start_level=first,
            generations=1,
        )
        run_loop(made)
        lines = run_loop(replace(made, generations=2))
        assert lines[1]["level"] == first
        moved = (lines[1]["success"] > band[1]) - (lines[1]["success"] < band[0])
        assert lines[2]["level"] == lines[1]["curriculum"] == first + moved
        if moved:
            assert lines[2]["level"] == then
        assert read_config(tmp_path / str(band) / "generation-2" / "run").env_options == {
            "level": lines[2]["level"]
        }


@pytest.mark.parametrize(
    ("last", "level"),
    [({}, 2), ({"curriculum": 4}, 4)],  # the first is the start
)
def test_the_level_to_play_stands_in_the_last_line(
    start: Path, last: dict[str, Any], level: int
) -> None:
    assert (
        level_after(config(start, Path("unused"), band=(0.4, 0.8), start_level=2), [last]) == level
    )


@pytest.mark.parametrize(
    ("rate", "level", "then"),
    [(0.9, 2, 3), (0.6, 2, 2), (0.1, 2, 1), (0.9, 5, 5), (0.1, 1, 1)],  # the last two: no further
)
def test_a_generations_own_rate_moves_the_level(
    start: Path, rate: float, level: int, then: int
) -> None:
    """Whatever the order of its outcomes, and whatever came before."""
    outcomes = [i < rate * 10 for i in range(10)]
    settings = config(start, Path("unused"), band=(0.4, 0.8))
    assert (
        next_level(settings, level, outcomes) == next_level(settings, level, outcomes[::-1]) == then
    )


def test_no_lesson_is_from_a_held_out_problem(start: Path, episodes: list[EpisodeRecord]) -> None:
    settings = config(start, Path("unused"), teacher="random")
    asked = {problem.prompt for problem in held_out(settings)}
    inside = [replace(record, prompt=prompt) for record, prompt in zip(episodes, asked)]
    buffer = replay_buffer(settings, 1, {1: inside})
    with pytest.raises(TrainingError, match="nothing that teacher random approves"):
        policy_targets(settings, buffer)
    with pytest.raises(TrainingError, match="no step that could be judged"):
        value_targets(buffer, "modular_sums")
    assert value_targets(replay_buffer(settings, 1, {1: episodes}), "modular_sums"), (
        "others are learned from"
    )


def test_reward_hacking_is_reported_on_each_generation_and_needs_a_reward_model(
    start: Path, tmp_path: Path
) -> None:
    report = "stepgym.selfplay.loop_reports:reward_hacking"
    common = {
        "report": report,
        "agent_settings": {"n": 8},
        "teacher": "verifier",
        "env": "stepgym/Countdown-v0",
        "init": "embedded",
    }
    lines = run_loop(config(start, tmp_path / "a", own_reward_model=True, held_out=3, **common))
    assert lines[1]["report"].keys() == {"alarms", "auc"}
    assert (tmp_path / "a" / "generation-1" / "reward_hacking.json").is_file()
    assert lines[1]["costs"]["reward_model"]["flops"] > 0
    with pytest.raises(TrainingError, match="set own_reward_model = true"):
        run_loop(config(start, tmp_path / "b", held_out=3, **common))

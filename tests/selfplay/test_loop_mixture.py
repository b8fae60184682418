"""A loop on a mixture: one policy learns several environments, each with a weight, a level and a gate of its own."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.registry import load_policy
from stepgym.agents.types import EpisodeRecord
from stepgym.cli import main
from stepgym.envs.registry import NAMES, load_env
from stepgym.records.reverify import reverify
from stepgym.records.run_folder import read_config
from stepgym.selfplay.loop import readable_game, run_loop, worse_on_some
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_curriculum import curriculum_figures, played_options
from stepgym.selfplay.loop_page import write_loop_page
from stepgym.selfplay.loop_play import held_out_places, read_generation
from stepgym.training.types import TrainingError

COUNTDOWN, SUMS = "stepgym/Countdown-v0", "stepgym/ModularSums-v0"
Lines = list[dict[str, Any]]


def config(out: Path, **changes: Any) -> LoopConfig:
    settings = LoopConfig(
        out=str(out),
        env="Mixture-v0",
        level=1,
        env_options={
            "rule": "progress",
            "members": {"Countdown-v0": 1, "ModularSums-v0": {"weight": 1, "modulus": 3}},
        },
        init="fresh",
        band=(0.0, 0.01),
        highest_level=3,
        generations=2,
        agent_settings={"n": 8},
        episodes=12,
        held_out=8,
        steps=3,
    )
    return replace(settings, **changes)


def content(out: Path, lines: Lines) -> tuple[Lines, list[bytes]]:
    """Return what two equal loops share: the lines without costs, and the weights."""
    kept = [{name: value for name, value in line.items() if name != "costs"} for line in lines]
    return kept, [file.read_bytes() for file in sorted(out.rglob("model.safetensors"))]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    out = tmp_path_factory.mktemp("mixture") / "loop"
    return out, run_loop(config(out))


def test_each_environment_has_its_accuracy_level_and_weight(
    undisturbed: tuple[Path, Lines], tmp_path: Path
) -> None:
    out, lines = undisturbed
    for line in lines:
        found = line["environments"]
        assert list(found) == [COUNTDOWN, SUMS]
        assert sum(each["problems"] for each in found.values()) == 8
        solved = sum(each["greedy"] * each["problems"] for each in found.values())
        assert solved == pytest.approx(line["greedy"] * 8)
        for each in found.values():
            low, high = each["greedy_interval"]
            assert low <= each["greedy"] <= high
    for before, line in pairwise(lines):
        options = read_config(out / f"generation-{line['generation']}" / "run").env_options
        assert options == played_options(config(out), [before])
        for (env_id, played), member in zip(line["played"].items(), options["members"].values()):
            assert (played["weight"], played["level"]) == (member["weight"], member["level"])
            known = {course["env_id"]: course for course in line["mixture"]["courses"]}
            rose = bool(played["success"])  # the band ends at 1%
            assert known[env_id]["curriculum"]["level"] == min(3, played["level"] + rose)
    assert lines[2]["played"][SUMS]["level"] == 2
    page = write_loop_page(tmp_path, {"loop": [lines]}).read_text(encoding="utf-8")
    assert page.count(SUMS) == len(lines)


def test_the_runs_are_verified_again_as_they_were(undisturbed: tuple[Path, Lines]) -> None:
    found = reverify(undisturbed[0] / "generation-2" / "run")
    assert found.episodes == 12 and not found.changed


@pytest.mark.parametrize(("num_lines", "num_episodes"), [(1, 5), (2, 0), (2, 7), (2, 12)])
def test_a_killed_loop_ends_as_an_undisturbed_one(
    undisturbed: tuple[Path, Lines], tmp_path: Path, num_lines: int, num_episodes: int
) -> None:
    """What a kill leaves: finished generations, the first episodes of the next one, and the start of a line."""
    out = tmp_path / "loop"
    shutil.copytree(undisturbed[0], out)
    for number in range(num_lines, 3):
        shutil.rmtree(out / f"generation-{number}" / "policy")
    shutil.rmtree(out / f"generation-{num_lines + 1}", ignore_errors=True)
    for file, kept in (
        (out / "loop.jsonl", num_lines),
        (out / f"generation-{num_lines}" / "run" / "episodes.jsonl", num_episodes),
    ):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join(lines[:kept]) + (b"" if kept == len(lines) else lines[kept][:20]))
    assert content(out, run_loop(config(out))) == content(*undisturbed)


@given(st.lists(st.sampled_from(["undecided", "failed"]), max_size=12))
def test_levels_and_weights_follow_decided_outcomes_alone(
    undisturbed: tuple[Path, Lines], masked: list[str]
) -> None:
    settings = config(undisturbed[0], band=(0.4, 0.8), start_level=2)
    decided = [
        replace(record, verdict="correct" if COUNTDOWN in record.problem_id else "incorrect")
        for record in read_generation(settings, 1)
    ]
    others = [replace(record, verdict=verdict) for record, verdict in zip(decided, masked)]
    found = curriculum_figures(settings, [], [*decided, *others])
    courses = {course["env_id"]: course for course in found["mixture"]["courses"]}
    assert courses[COUNTDOWN]["curriculum"]["level"] == 3
    assert courses[SUMS]["curriculum"]["level"] == 1
    assert found["played"][SUMS] == {"weight": 0.5, "level": 2, "success": 0.0}
    assert found["mixture"]["num_seen"] == len(decided)
    nothing: list[EpisodeRecord] = [replace(each, verdict="failed") for each in decided]
    after = curriculum_figures(settings, [found], nothing)
    assert after["mixture"] == found["mixture"]


def test_what_is_worse_on_one_environment_is_worse(undisturbed: tuple[Path, Lines]) -> None:
    settings = config(undisturbed[0], held_out=60)
    places = held_out_places(settings)

    def line(countdown: int, sums: int) -> dict[str, Any]:
        solved = [0] * 60
        for env_id, result in ((COUNTDOWN, countdown), (SUMS, sums)):
            for place in places[env_id]:
                solved[place] = result
        return {"solved": solved, "environments": {COUNTDOWN: {}, SUMS: {}}}

    assert worse_on_some(settings, line(0, 1), line(1, 0)) < 0.001
    assert worse_on_some(settings, line(0, 0), line(1, 0)) == 1.0
    assert worse_on_some(settings, line(1, 1), line(1, 1)) == 1.0


def test_only_games_of_the_embedded_models_are_readable() -> None:
    """Two of the other families have positions of the same form, but other steps."""
    found = {}
    for name in ("TwentyFour", "Fractions", "Knapsack", "Countdown", "ModularSums", "Hanoi"):
        assert f"stepgym/{name}-v0" in NAMES
        found[name] = readable_game(load_env(f"{name}-v0"))
    readable = {name: game for name, game in found.items() if game}
    assert readable == {"Countdown": "countdown", "ModularSums": "modular_sums"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "needs members in env_options"),
        ({"members": {"Countdown-v0": 1, "Fractions-v0": 1}}, "cannot read stepgym/Fractions-v0"),
        ({"members": {"Countdown-v0": 0}}, "weight of Countdown-v0 is a number above 0, not 0"),
        ({"members": {"Countdwn-v0": 1}}, "did you mean 'stepgym/Countdown-v0'"),
        ({"members": {"Countdown-v0": {"lewel": 1}}}, "did you mean 'level'"),
        (
            {"members": {"Countdown-v0": {"weight": 1, "seed": 7}, "ModularSums-v0": 1}},
            "seed is a setting of the loop, not of the member Countdown-v0",
        ),
        ({"members": {"Countdown-v0": 1}, "rule": "bandit"}, "'bandit'"),
        (
            {"members": {"Countdown-v0": 1000, "ModularSums-v0": 1}},
            "none of the 8 held-out problems is of stepgym/ModularSums-v0; raise held_out",
        ),
    ],
)
def test_a_mistake_in_a_mixture_is_named_and_leaves_no_folder(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        run_loop(config(tmp_path / "a", env_options=options))
    assert not (tmp_path / "a" / "loop.jsonl").exists()


MIXTURE_FILE = """\
env = "Mixture-v0"
[env_options]
rule = "annealed"
[env_options.members]
Countdown-v0 = 1
ModularSums-v0 = {weight = 1, modulus = 3}
"""
MEMBERS = {"Countdown-v0": 1, "ModularSums-v0": {"weight": 1, "modulus": 3}}
BOTH = {"Countdown-v0": 1, "ModularSums-v0": 1}


@pytest.mark.parametrize(
    ("written", "arguments", "options"),
    [
        (MIXTURE_FILE, [], {"rule": "annealed", "members": MEMBERS}),
        (MIXTURE_FILE, ["--env", "Countdown-v0"], {}),
        (MIXTURE_FILE, ["--env", "ModularSums-v0", "--env-option", "modulus=5"], {"modulus": 5}),
        (MIXTURE_FILE, ["--env-option", "rule=progress"], {"rule": "progress", "members": MEMBERS}),
        (
            MIXTURE_FILE,
            ["--env", "Countdown-v0", "--env", "ModularSums-v0"],
            {"rule": "annealed", "members": BOTH},
        ),
        (
            'env = "ModularSums-v0"\nenv_options = {modulus = 3}\n',
            ["--env", "stepgym/ModularSums-v0"],
            {"modulus": 3},
        ),
        (
            'env = "ModularSums-v0"\nenv_options = {modulus = 3}\n',
            ["--env", "Countdown-v0", "--env", "ModularSums-v0", "--env-option", "rule=progress"],
            {"rule": "progress", "members": BOTH},
        ),
    ],
)
def test_options_on_the_command_line_join_those_of_the_same_environment(
    tmp_path: Path, written: str, arguments: list[str], options: dict[str, Any]
) -> None:
    """And the policy that `Next:` names loads, though no generation was played."""
    file = tmp_path / "a loop.toml"
    file.write_text(
        'level = 1\ninit = "fresh"\nheld_out = 8\ngenerations = 0\nagent_settings = {n = 2}\n'
        + written
    )
    done = CliRunner().invoke(main, ["loop", str(file), *arguments])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "a loop" / "config.json").read_text())
    assert kept["env_options"] == options
    following = shlex.split(done.stdout.splitlines()[-1])
    assert load_policy(following[following.index("--policy") + 1]).describe()["kind"] == "embedded"


def test_the_shipped_policy_cannot_begin_a_mixture(tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError,
        match=r"plays Countdown, not all that stepgym/Mixture-v0 needs.*init = 'fresh'",
    ):
        run_loop(config(tmp_path / "a", init="embedded"))


def test_the_command_makes_a_mixture_of_several_environments(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text(
        'level = 1\ninit = "fresh"\nepisodes = 6\nheld_out = 6\nsteps = 2\ngenerations = 0\n'
        "[agent_settings]\nn = 4\n"
    )
    both = ["--env", "Countdown-v0", "--env", "ModularSums-v0"]
    done = CliRunner().invoke(main, ["loop", str(file), *both])
    assert done.exit_code == 0, done.output
    assert f"  {SUMS}: " in done.stdout and "stepgym eval --env stepgym/Mixture-v0" in done.stdout
    assert json.loads((tmp_path / "small" / "config.json").read_text())["env_options"] == {
        "members": {"Countdown-v0": 1, "ModularSums-v0": 1}
    }
    for arguments, says in (
        ([], "give CONFIG"),
        (["--env", "Countdown-v0"], "both --env and --out"),
        ([str(file), "--env", "Countdown-v0", *both], "names one environment twice"),
        (["--init-config"], "needs CONFIG"),
    ):
        refused = CliRunner().invoke(main, ["loop", *arguments])
        assert refused.exit_code == 2 and says in refused.output

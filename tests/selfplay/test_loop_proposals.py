"""A loop on ProposeSolve: the policy proposes, the gate decides what counts, and it learns in both roles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stepgym.agents.embedded import net
from stepgym.agents.types import EpisodeRecord
from stepgym.records.run_folder import read_config
from stepgym.selfplay.loop import run_loop
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import START
from stepgym.selfplay.loop_learn import train_policy
from stepgym.selfplay.loop_page import write_loop_page
from stepgym.selfplay.loop_play import held_out, read_generation
from stepgym.selfplay.loop_proposals import (
    SOLVED,
    counted_problems,
    joined,
    proposal_targets,
    solve_proposals,
)
from stepgym.training.embedded_trainers import step_log_probs, step_rows
from stepgym.training.types import PolicyTarget, TrainingError

Lines = list[dict[str, Any]]


def config(out: Path, **changes: Any) -> LoopConfig:
    """Return a small loop that begins with the small random policy beside its folder."""
    start = out.parent / "start" / net.POLICY
    if not start.is_dir():
        net.save(net.build(net.POLICY, net.Shape(16, 1, 2), "mixed"), start)
    settings = LoopConfig(
        out=str(out),
        env="ProposeSolve-v0",
        env_options={"attempts": 16},
        level=2,
        init=str(start.parent),
        generations=2,
        agent_settings={"n": 64},
        episodes=2,
        held_out=4,
        steps=3,
    )
    return replace(settings, **changes)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Lines]:
    out = tmp_path_factory.mktemp("proposals") / "loop"
    return out, run_loop(config(out))


@pytest.fixture(scope="module")
def proposed(undisturbed: tuple[Path, Lines]) -> list[EpisodeRecord]:
    return read_generation(config(undisturbed[0]), 1)


def test_what_counts_is_solved_and_learned_from(
    undisturbed: tuple[Path, Lines], proposed: list[EpisodeRecord]
) -> None:
    out, lines = undisturbed
    solved = read_generation(config(out), 1, SOLVED)
    found = lines[1]["proposals"]
    problems = counted_problems(proposed)
    assert found["made"] == 128 and 1 <= found["problems"] == len(problems) <= found["counted"]
    assert [record.problem_id for record in solved] == [problem.id for problem in problems]
    assert {record.env_id for record in solved} == {"stepgym/Countdown-v0"}
    assert found["solved"] >= 1 and 0 < found["reward"] < 1
    seen = [json.loads(row)["key"] for row in (out / "seen.jsonl").read_text().splitlines()]
    assert len(set(seen)) == len(seen) == sum(line["proposals"]["problems"] for line in lines[1:])
    page = write_loop_page(out.parent, {"loop": [lines]}).read_text(encoding="utf-8")
    assert "<h3>Proposals</h3>" in page and f"<td>{found['counted']}<td>" in page
    assert len({problem.prompt for problem in held_out(config(out))}) == len(lines[1]["solved"])


@pytest.mark.parametrize(("cut", "num_episodes"), [("run", 1), ("solved", 3)])
def test_a_killed_loop_ends_as_an_undisturbed_one(
    undisturbed: tuple[Path, Lines], tmp_path: Path, cut: str, num_episodes: int
) -> None:
    """A kill while the second generation proposes or solves; what was judged so far is in the file of seen proposals.

    A kill while it proposes may leave a part of that file's last line.
    """
    out = tmp_path / "loop"
    shutil.copytree(undisturbed[0], out)
    folder = out / "generation-2"
    shutil.rmtree(folder / "policy")
    if cut == "run":
        shutil.rmtree(folder / SOLVED)
        seen = out / "seen.jsonl"
        seen.write_bytes(seen.read_bytes()[:-9])
    for file, kept in ((out / "loop.jsonl", 2), (folder / cut / "episodes.jsonl", num_episodes)):
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:kept]))

    def content(folder: Path, lines: Sequence[dict[str, Any]]) -> list[Any]:
        kept = [{name: value for name, value in line.items() if name != "costs"} for line in lines]
        files = [*sorted(folder.rglob("model.safetensors")), folder / "seen.jsonl"]
        return [kept, [file.read_bytes() for file in files]]

    assert content(out, run_loop(config(out))) == content(*undisturbed)


@pytest.mark.parametrize("verdict", ["incorrect", "undecided", None])
def test_only_proposals_that_count_are_learned(
    proposed: list[EpisodeRecord], verdict: str | None
) -> None:
    """By their reward; UNDECIDED and failed ones are masked."""
    learned = proposal_targets({1: proposed})
    rewards = [node.reward for record in proposed for node in record.nodes if node.reward]
    assert [target.weight for target in learned] == rewards
    assert {target.public for target in learned} == {"countdown"}
    others = [
        replace(
            record,
            nodes=tuple(
                replace(n, verdict=verdict, reward=None, status="open") for n in record.nodes
            ),
        )
        for record in proposed
    ]
    assert proposal_targets({1: others}) == [] and counted_problems(others) == []


def test_a_rewarded_proposal_becomes_more_likely(
    undisturbed: tuple[Path, Lines], tmp_path: Path
) -> None:
    text = "<answer>countdown: 3, 5, 7 -> 41</answer>"
    target = PolicyTarget("countdown", {text: 1.0})
    settings = config(undisturbed[0], steps=30)
    train_policy(settings, [target], START, tmp_path / "policy", seed=0)
    rows = step_rows("mixed", [("countdown", text)])
    start = undisturbed[0].parent / "start" / "policy"
    before, after = (
        step_log_probs(net.load(net.POLICY, folder), rows).item()
        for folder in (start, tmp_path / "policy")
    )
    assert after > before + 3


def test_the_weights_of_each_role_have_the_mean_1() -> None:
    first = [PolicyTarget("a", {"x": 1.0}, 0.2), PolicyTarget("a", {"y": 1.0}, 0.6)]
    second = [PolicyTarget("b", {"z": 1.0}, 40.0)]
    assert [target.weight for target in joined(first, second)] == pytest.approx([0.5, 1.5, 1.0])
    assert joined([], second)[0].weight == 1.0 and joined([], []) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"env_options": {"kinds": "expression"}}, "propose kinds = 'countdown', not 'expression'"),
        ({"env_options": {"solver": "scripted"}}, "solver is set by the loop"),
        ({"band": (0.4, 0.8)}, "band does not fit stepgym/ProposeSolve-v0"),
        ({"own_reward_model": True}, "own_reward_model does not fit"),
        ({"init": "embedded"}, "plays Countdown, not all that stepgym/ProposeSolve-v0 needs"),
        (
            {
                "env": "Mixture-v0",
                "env_options": {"members": {"ProposeSolve-v0": {"kinds": "countdown"}}},
            },
            "stepgym/ProposeSolve-v0 is no member of a loop's mixture; give it alone",
        ),
    ],
)
def test_settings_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(TrainingError, match=says):
        run_loop(config(tmp_path / "a", **changes))
    assert not (tmp_path / "a").exists()


def test_proposals_that_all_fail_the_gate_are_an_error_with_the_reason(
    undisturbed: tuple[Path, Lines], proposed: list[EpisodeRecord], tmp_path: Path
) -> None:
    about = read_config(undisturbed[0] / "generation-1" / "run")
    refused = [replace(record, nodes=record.nodes[:1], reason="too large") for record in proposed]
    with pytest.raises(
        TrainingError, match=r"none of the proposals in .*run counts \(the first: too"
    ):
        solve_proposals(config(tmp_path), refused, tmp_path / SOLVED, about, policy="embedded")

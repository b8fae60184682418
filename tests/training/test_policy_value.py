"""The policy-and-value network: two heads on one body, laws first; what it is saved as, and how it is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.embedded.value_head import HEAD, PolicyValueNet
from stepgym.agents.registry import load_reward_model
from stepgym.agents.solving import iter_solve, solve
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig
from stepgym.training.config import read_config
from stepgym.training.embedded_trainers import train_policy_value
from stepgym.training.types import (
    PolicyTarget,
    Progress,
    Schedule,
    TrainerKind,
    TrainingError,
    ValueTarget,
)

CHOICES = [
    PolicyTarget(((3, 4, 5), 35), {"4 + 3": 1.0}),
    PolicyTarget(((2, 3, 7), 42), {"2 * 3": 0.75, "7 - 2": 0.25}),
] * 4
JUDGED = [
    ValueTarget(((5, 7), 35), 1.0),
    ValueTarget(((1, 3), 35), 0.0),
    ValueTarget(((6, 7), 42), 1.0),
    ValueTarget(((3, 5), 42), 0.0),
] * 2
SHIPPED = EmbeddedPolicy()

positions = st.tuples(
    st.lists(st.integers(0, 300), min_size=2, max_size=5).map(lambda x: tuple(sorted(x))),
    st.integers(0, 999),
)


def tiny(game: str = "countdown") -> PolicyValueNet:
    return PolicyValueNet(net.build(net.POLICY, net.Shape(16, 1, 2), game)).eval()


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped policy with a head of zeros."""
    folder = tmp_path_factory.mktemp("headed")
    value_head.save(value_head.load(WEIGHTS / net.POLICY), folder)
    return folder


@given(position=positions)
@settings(max_examples=25, deadline=None)
def test_an_untrained_head_says_nothing_and_leaves_the_policy_as_it_was(
    headed: Path, position: object
) -> None:
    with_head = EmbeddedPolicy(headed)
    assert with_head.log_probs(position) == SHIPPED.log_probs(position)  # type: ignore[arg-type]
    assert EmbeddedRewardModel(headed).score_positions([position]) == [0.5]  # type: ignore[list-item]


def test_the_policy_stays_one_that_transformers_loads_alone(headed: Path) -> None:
    policy, report = AutoModelForCausalLM.from_pretrained(headed, output_loading_info=True)
    assert not any(report.values())
    assert net.num_parameters(policy) == SHIPPED.num_parameters


@pytest.mark.parametrize(
    ("game", "choices", "judged"),
    [
        ("countdown", CHOICES, JUDGED),  # both heads read positions
        (
            "modular_sums",  # the value head reads the addition, the policy head the position
            [PolicyTarget(((3, 9, 20), None, 31), {"3 + 9 = 12": 1.0})] * 4,
            [ValueTarget((3, 9, 12), 1.0), ValueTarget((3, 9, 13), 0.0)] * 2,
        ),
    ],
)
def test_joint_training_lowers_both_losses(
    game: str, choices: list[PolicyTarget], judged: list[ValueTarget]
) -> None:
    model = tiny(game)
    first = train_policy_value(model, choices, judged, schedule=Schedule(1, 1e-9), batch=4)
    last = train_policy_value(
        model, choices, judged, schedule=Schedule(60, 2e-2, warmup=5), batch=4
    )
    assert first.value_loss == pytest.approx(math.log(2))
    assert last.policy_loss < 0.7 * first.policy_loss
    assert last.value_loss < 0.3 * first.value_loss
    assert last.fit.loss == pytest.approx(last.policy_loss + last.value_loss)
    good, bad = EmbeddedRewardModel(model=model).score_positions(
        [judged[0].reading, judged[1].reading]
    )
    assert good > 0.8 > 0.2 > bad


def test_what_is_saved_is_loaded_and_gone_on_from(tmp_path: Path) -> None:
    model = tiny()
    train_policy_value(model, CHOICES, JUDGED, schedule=Schedule(5, 1e-2), out=tmp_path)
    again = value_head.load(tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert load_file(tmp_path / HEAD)["weight"].any()
    assert {path.suffix for path in tmp_path.iterdir() if path.is_file()} == {
        ".safetensors",
        ".json",
        ".jsonl",
    }


def test_a_run_cut_short_and_taken_up_again_is_the_run_that_was_not(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.done == 12:
            raise Stop

    schedule = Schedule(20, 1e-2, warmup=2, checkpoint_every=5, report_every=4)
    whole, again = tiny(), tiny()
    train_policy_value(whole, CHOICES, JUDGED, schedule=schedule, batch=4, out=tmp_path / "whole")
    with pytest.raises(Stop):
        train_policy_value(
            tiny(), CHOICES, JUDGED, schedule=schedule, batch=4, out=tmp_path / "cut", progress=stop
        )
    kept = value_head.load(tmp_path / "cut")
    assert not torch.equal(kept.score.weight, whole.score.weight)
    train_policy_value(again, CHOICES, JUDGED, schedule=schedule, batch=4, out=tmp_path / "cut")
    for a, b in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("damage", ["cut", "shape", "names"])
def test_a_broken_head_is_named(tmp_path: Path, damage: str) -> None:
    value_head.save(tiny(), tmp_path)
    file = tmp_path / HEAD
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        name, size = ("weight", 8) if damage == "shape" else ("other", 16)
        save_file({name: torch.zeros(1, size), "bias": torch.zeros(1)}, file)
    with pytest.raises(
        net.CheckpointError,
        match=r"value_head.safetensors is cut short or no value head of this policy",
    ):
        EmbeddedRewardModel(tmp_path)
    EmbeddedPolicy(tmp_path)


def test_a_policy_without_a_head_is_no_reward_model_and_says_how_it_becomes_one(
    tmp_path: Path,
) -> None:
    net.save(tiny().policy, tmp_path)
    with pytest.raises(
        net.CheckpointError,
        match=r"not a prm .*`stepgym train alphazero --shared --init .*value head",
    ):
        load_reward_model(f"embedded:{tmp_path}")


def test_both_readings_of_one_network_are_charged(headed: Path) -> None:
    """Positions asked for steps, steps drawn, and the position behind every node through the body and the value head."""
    env = load_env("Countdown-v0", level=3)
    policy, value = EmbeddedPolicy(headed), EmbeddedRewardModel(headed)
    assert value.num_parameters == policy.num_parameters + policy.model.config.hidden_size + 1
    (record,) = solve(
        env, agent="beam", policy=policy, reward_model=value, episodes=1, see_verdicts=False
    )
    left = {0: len(env.problems[0].public[0])}  # type: ignore[index]
    for node, row in enumerate(record.nodes[1:], start=1):
        left[node] = left[row.parent] - 1
    judged = 2.0 * value.num_parameters * sum(1 + left[node] for node in left if node)
    drawn = sum(record.usage[name] for name in ("prompt_tokens", "visible_tokens"))
    assert record.usage["flops"] == pytest.approx(judged + 2.0 * policy.num_parameters * drawn)


def test_the_command_line_trains_one_network_and_plays_with_it(tmp_path: Path) -> None:
    env = load_env("Countdown-v0", level=3, seed=5)
    played = iter_solve(
        [env.problems[i] for i in range(8)],
        env=env,
        agent="mcts",
        policy="embedded",
        verify_all=True,
    )
    with RunFolder(
        tmp_path / "run", RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="embedded")
    ) as run:
        for i, record in enumerate(played):
            run.append(replace(record, verdict="incorrect" if i % 2 else "correct"))

    def call(*words: str) -> dict[str, float]:
        done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == 0, done.output
        figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        return figures

    alphazero = ("train", "alphazero", "--shared", "--runs", str(tmp_path / "run"), "--steps", "3")
    figures = call(*alphazero, "--out", str(tmp_path / "a"))
    assert figures["loss"] == pytest.approx(figures["policy_loss"] + figures["value_loss"])
    assert not (tmp_path / "a" / net.PRM).exists()
    # Goes on from the head that is there: a fresh one's loss would begin at log 2.
    call(
        *alphazero,
        "--init",
        str(tmp_path / "a"),
        "--learning-rate",
        "1e-9",
        "--out",
        str(tmp_path / "b"),
    )
    heads = [load_file(tmp_path / name / net.POLICY / HEAD)["weight"] for name in "ab"]
    assert heads[0].any()
    assert torch.allclose(heads[0], heads[1], atol=1e-6)
    name = f"embedded:{tmp_path / 'a' / net.POLICY}"
    named = ("--agent", "mcts", "--policy", name, "--reward-model", name)
    assert call("eval", "--env", "stepgym/Countdown-v0", *named, "--episodes", "2")["episodes"] == 2


def test_only_alphazero_is_shared(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('out = "x"\nshared = true\n')
    assert read_config(TrainerKind.ALPHAZERO, file, {"shared": None}).shared
    assert not read_config(TrainerKind.ALPHAZERO, file, {"shared": False}).shared
    with pytest.raises(TrainingError, match="unknown sft setting 'shared'"):
        read_config(TrainerKind.SFT, file, {})

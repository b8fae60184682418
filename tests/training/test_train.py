"""Trainers: each learns what its data says, stops where it must, resumes where it was, and names what is missing."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RecordError, RunConfig
from stepgym.selfplay.play import selfplay
from stepgym.selfplay.step_quality import auc
from stepgym.training import embedded_trainers, examples, grpo
from stepgym.training import fit as fitting
from stepgym.training.config import ONLY_FOR, TrainConfig, read_config
from stepgym.training.embedded_grpo import train_embedded_grpo
from stepgym.training.fit import fit
from stepgym.training.train import train
from stepgym.training.types import (
    Baseline,
    GrpoVariant,
    LossNotFinite,
    PolicyTarget,
    Preference,
    Progress,
    Schedule,
    StepLabels,
    TrainingError,
    ValueTarget,
)

SHAPE = net.Shape(16, 1, 2)
POSITION = ((3, 4, 5), 35)
GOOD, BAD = "4 + 3", "5 - 4"
QUICK = Schedule(60, 2e-2, warmup=5)


@pytest.fixture(scope="module")
def records() -> list[EpisodeRecord]:
    env = load_env("Countdown-v0", level=3, seed=5)
    problems = [env.problems[i] for i in range(12)]
    return list(
        iter_solve(
            problems,
            env=env,
            agent="mcts",
            policy="embedded",
            reward_model="embedded",
            see_verdicts=False,
            agent_settings={"simulations": 12},
            verify_all=True,
        )
    )


def policy(game: str = "countdown") -> Any:
    return net.build(net.POLICY, SHAPE, game)


def share(model: Any, position: Any, text: str) -> float:
    moves, log_probs = EmbeddedPolicy(model=model).log_probs(position)
    return math.exp(next(x for move, x in zip(moves.moves, log_probs) if move.text == text))


def test_a_policy_takes_on_the_shares_it_is_shown() -> None:
    model = policy()
    embedded_trainers.train_targets(
        model, [PolicyTarget(POSITION, {GOOD: 0.75, BAD: 0.25})] * 8, schedule=QUICK, batch=8
    )
    assert share(model, POSITION, GOOD) == pytest.approx(0.75, abs=0.05)
    assert share(model, POSITION, BAD) == pytest.approx(0.25, abs=0.05)


def test_a_step_of_several_tokens_is_learned_as_one() -> None:
    model, position = policy("modular_sums"), ((3, 9, 20), None, 31)
    embedded_trainers.train_targets(
        model, [PolicyTarget(position, {"3 + 9 = 12": 1.0})] * 8, schedule=QUICK, batch=8
    )
    assert share(model, position, "3 + 9 = 12") > 0.9


def test_preferences_move_one_step_over_the_other() -> None:
    model = policy()
    before = share(model, POSITION, GOOD) / share(model, POSITION, BAD)
    embedded_trainers.train_preferences(
        model, [Preference(POSITION, GOOD, BAD)] * 4, schedule=QUICK
    )
    assert share(model, POSITION, GOOD) / share(model, POSITION, BAD) > 10 * before


def test_a_reward_model_tells_its_classes_apart() -> None:
    model = net.build(net.PRM, SHAPE, "countdown")
    good, bad = ((7, 5), 35), ((1, 3), 35)
    embedded_trainers.train_values(
        model, [ValueTarget(good, 1.0), ValueTarget(bad, 0.0)] * 4, schedule=QUICK
    )
    high, low = torch.sigmoid(net.position_logits(model, [good, bad])).tolist()
    assert high > 0.9 > 0.1 > low


@pytest.mark.parametrize("baseline", list(Baseline))
@pytest.mark.parametrize("variant", list(GrpoVariant))
def test_grpo_raises_the_share_of_verified_answers(
    variant: GrpoVariant, baseline: Baseline
) -> None:
    env = load_env("Countdown-v0", level=1, seed=1)
    model = policy()
    problems = [env.problems[i] for i in range(1000, 1100)]

    def solved() -> float:
        policy = EmbeddedPolicy(model=model, distinct=False)
        return grpo.play(problems, env=env, policy=policy, search=BestOfN(n=4)).reward

    before = solved()
    schedule = Schedule(40, 1e-2, warmup=5)
    train_embedded_grpo(model, env, schedule=schedule, variant=variant, baseline=baseline)
    assert solved() > before + 0.03


@pytest.mark.parametrize("labels", list(StepLabels))
def test_labels_of_every_source_are_shares(
    records: list[EpisodeRecord], labels: StepLabels
) -> None:
    judged = examples.value_targets(
        records, "countdown", labels_of=partial(examples.step_labels, source=labels)
    )
    assert judged
    assert all(0 <= e.label <= 1 for e in judged)
    hard = examples.value_targets(
        records, "countdown", labels_of=partial(examples.step_labels, source=labels, hard=True)
    )
    assert [e.label for e in hard] == [float(e.label > 0) for e in judged]


def test_values_are_read_as_the_game_of_the_model_reads_them(records: list[EpisodeRecord]) -> None:
    """A model of mixtures learns from Countdown alone what a Countdown model learns; a model of another game refuses."""
    alone, mixed = (examples.value_targets(records, game) for game in ("countdown", "mixed"))
    assert [target.label for target in mixed] == [target.label for target in alone]
    assert [target.reading for target in mixed] == [(0, target.reading) for target in alone]
    embedded_trainers.train_values(net.build(net.PRM, SHAPE, "mixed"), mixed, schedule=QUICK)
    with pytest.raises(
        TrainingError, match=r"ModularSums cannot read episodes of stepgym/Countdown-v0"
    ):
        examples.value_targets(records, "modular_sums")


def test_agreement_keeps_a_part_of_the_samples_and_first_error_stops_at_it(
    records: list[EpisodeRecord],
) -> None:
    for record in records:
        sampled, exact, agreed, first = (
            examples.step_labels(record, labels)
            for labels in (
                StepLabels.MONTE_CARLO,
                StepLabels.VERIFIER,
                StepLabels.AGREEMENT,
                StepLabels.FIRST_ERROR,
            )
        )
        assert agreed.keys() <= sampled.keys()
        assert all((sampled[node] > 0) == (exact[node] > 0) for node in agreed)
        for node, label in first.items():
            assert label == float(sampled[node] > 0)
            above = record.nodes[node].parent
            assert above == 0 or first[above] == 1.0, "what follows the first error is not judged"


def test_visits_are_shares_of_siblings(records: list[EpisodeRecord]) -> None:
    choices = examples.visit_targets(records)
    assert choices
    assert all(math.fsum(c.shares.values()) == pytest.approx(1) for c in choices)


def test_a_run_cut_short_ends_as_the_one_that_was_not(tmp_path: Path) -> None:
    rows = [
        PolicyTarget(((a, b), a * b), {f"{max(a, b)} * {min(a, b)}": 1.0})
        for a in range(2, 9)
        for b in range(a, 9)
    ]
    schedule = Schedule(20, 1e-2, warmup=2, checkpoint_every=7)
    whole, cut = policy(), policy()
    embedded_trainers.train_targets(whole, rows, schedule=schedule, batch=4, out=tmp_path / "whole")

    class Stop(Exception):
        pass

    calls = 0

    def kill(step: int) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 11:
            raise Stop
        return loss(step)

    loss = embedded_trainers.targets_loss(cut, rows, 4, 0)

    with pytest.raises(Stop):
        fit(cut, kill, schedule=schedule, out=tmp_path / "cut")
    again = policy()
    embedded_trainers.train_targets(again, rows, schedule=schedule, batch=4, out=tmp_path / "cut")
    for a, b in zip(whole.parameters(), again.parameters()):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    rows, schedule = [PolicyTarget(POSITION, {GOOD: 1.0})], Schedule(4, 1e-3)
    embedded_trainers.train_targets(policy(), rows, schedule=schedule, out=tmp_path)
    with pytest.raises(
        TrainingError,
        match=r"steps was 4, is now 8; learning_rate was 0\.001, is now 0\.01; choose",
    ):
        embedded_trainers.train_targets(policy(), rows, schedule=Schedule(8, 1e-2), out=tmp_path)
    other = net.build(net.POLICY, SHAPE, "countdown", seed=1)
    with pytest.raises(TrainingError, match="another run: digest of the first weights was "):
        embedded_trainers.train_targets(other, rows, schedule=schedule, out=tmp_path)
    assert (
        embedded_trainers.train_targets(policy(), rows, schedule=schedule, out=tmp_path).steps == 4
    )


def test_grpo_goes_on_from_between_two_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both updates on a group of rollouts belong together: the group itself is not kept."""
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", -1.0)  # after every step that may have one
    env, models = load_env("Countdown-v0", level=1, seed=1), {}

    def stop(progress: Progress) -> None:
        if progress.done == 4:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {
        "schedule": Schedule(6, 1e-2, report_every=1),
        "inner": 2,
        "problems_per_step": 4,
    }
    with pytest.raises(KeyboardInterrupt):
        train_embedded_grpo(policy(), env, **settings, out=tmp_path / "cut", progress=stop)
    for name in ("cut", "whole"):
        models[name] = policy()
        done = train_embedded_grpo(models[name], env, **settings, out=tmp_path / name)
        assert 0 <= done.reward <= 1 and done.num_problems == (8 if name == "cut" else 12)
    assert '"reward"' in (tmp_path / "whole" / "metrics.jsonl").read_text()
    for a, b in zip(models["cut"].parameters(), models["whole"].parameters()):
        assert torch.allclose(a, b, atol=1e-6)


def test_a_loss_that_is_not_finite_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    model = policy()

    def loss(step: int) -> torch.Tensor:
        total = sum(p.square().sum() for p in model.parameters())
        return total * (math.nan if step == 12 else 1.0)  # type: ignore[return-value]

    with pytest.raises(LossNotFinite, match=r"step 12; the last good checkpoint is in"):
        fit(model, loss, schedule=Schedule(20, 1e-3, checkpoint_every=5), out=tmp_path)
    kept = net.load(net.POLICY, tmp_path)
    assert all(torch.isfinite(p).all() for p in kept.parameters())


def test_a_cut_training_state_is_named(tmp_path: Path) -> None:
    rows = [PolicyTarget(POSITION, {GOOD: 1.0})]
    embedded_trainers.train_targets(policy(), rows, schedule=Schedule(4, 1e-3), out=tmp_path)
    state = tmp_path / "training_state.safetensors"
    state.write_bytes(state.read_bytes()[:-50])
    with pytest.raises(TrainingError, match="cut short"):
        embedded_trainers.train_targets(policy(), rows, schedule=Schedule(8, 1e-3), out=tmp_path)


def run_folder(path: Path, records: list[EpisodeRecord]) -> Path:
    config = RunConfig(env_id="stepgym/Countdown-v0", agent="mcts", policy="embedded")
    with RunFolder(path, config) as run:
        for record in records:
            run.append(record)
    return path


def spoiled(record: EpisodeRecord, verdict: str) -> EpisodeRecord:
    nodes = tuple(replace(node, verdict=verdict if node.verdict else None) for node in record.nodes)
    return replace(record, nodes=nodes, verdict=verdict)


@pytest.mark.parametrize(
    ("kind", "verdict", "message"),
    [
        ("sft", "incorrect", "no correct episode"),  # nothing to imitate
        ("dpo", "correct", "no fork"),  # nothing to prefer over anything
        ("prm", "correct", "labels are good"),  # one class only
        ("orm", "incorrect", "labels are bad"),
        ("alphazero", "correct", "labels are good"),
    ],
)
def test_records_that_teach_nothing_are_named(
    tmp_path: Path, records: list[EpisodeRecord], kind: str, verdict: str, message: str
) -> None:
    run = run_folder(tmp_path / "run", [spoiled(record, verdict) for record in records])
    with pytest.raises(TrainingError, match=message):
        train(TrainConfig(kind=kind, runs=(str(run),), out=str(tmp_path / "out"), steps=2))


@pytest.mark.parametrize("kind", ["sft", "dpo", "prm", "orm", "alphazero", "grpo"])
def test_every_trainer_runs_from_the_command_line(
    tmp_path: Path, records: list[EpisodeRecord], kind: str
) -> None:
    mixed = [
        spoiled(record, "incorrect") if i % 3 == 0 else record for i, record in enumerate(records)
    ]
    run, out = run_folder(tmp_path / "run", mixed), tmp_path / "out"
    source = ["--level", "1"] if kind == "grpo" else ["--runs", str(run)]
    call = ["train", kind, *source, "--out", str(out), "--steps", "3", "--json"]
    done = CliRunner().invoke(main, call)
    assert done.exit_code == 0, done.output
    assert math.isfinite(json.loads(done.stdout.splitlines()[-1])["loss"])
    again = CliRunner().invoke(main, call)
    assert "NaN" not in again.stdout and "loss" not in json.loads(again.stdout.splitlines()[-1])
    folder = out / "policy" if kind == "alphazero" else out
    net.load(net.PRM if kind in ("prm", "orm") else net.POLICY, folder)
    assert (folder / "metrics.jsonl").read_text().count("\n") == 1
    changed = CliRunner().invoke(main, [*call, "--seed", "9"])
    assert changed.exit_code == 2
    assert "seed was 0, is now 9" in changed.output


@pytest.mark.parametrize("kind", ["sft", "orm"])
def test_a_run_is_played_again_with_its_own_options(tmp_path: Path, kind: str) -> None:
    """Two runs of one environment with other options each: neither is taken for the other."""
    for modulus in (7, 19):
        selfplay(
            "stepgym/ModularSums-v0",
            out=tmp_path / f"{modulus}",
            agent="best_of_n",
            policy="random",
            episodes=6,
            level=1,
            env_options={"modulus": modulus},
            agent_settings={"n": 16},
        )
    model = net.build(net.PRM if kind == "orm" else net.POLICY, SHAPE, "modular_sums")
    net.save(model, tmp_path / "start")
    runs = tuple(str(tmp_path / name) for name in ("7", "19"))
    train(
        TrainConfig(
            kind=kind, runs=runs, init=str(tmp_path / "start"), out=str(tmp_path / "out"), steps=2
        )
    )


def test_a_folder_is_resumed_on_another_device_and_none_is_overwritten_by_its_own_training(
    tmp_path: Path, records: list[EpisodeRecord]
) -> None:
    run, out = run_folder(tmp_path / "run", records), tmp_path / "out"
    config = TrainConfig(kind="sft", runs=(str(run),), out=str(out), steps=2)
    train(config)
    file = out / "train.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "device": "cuda"}))
    train(config)
    with pytest.raises(TrainingError, match="init and out are the same folder"):
        train(replace(config, init=config.out))
    file.write_text("{")
    with pytest.raises(TrainingError, match=r"train\.json: not JSON"):
        train(config)


def test_settings_come_from_toml_and_flags_count_more(tmp_path: Path) -> None:
    file = tmp_path / "train.toml"
    file.write_text('out = "x"\nsteps = 5\nseed = 3\n')
    config = read_config("sft", file, {"steps": 9, "seed": None, "runs": ("a",)})
    assert (config.steps, config.seed, config.runs) == (9, 3, ("a",))
    file.write_text('out = "x"\nruns = "cd"\n')
    assert read_config("sft", file, {}).runs == ("cd",)
    file.write_text("stepz = 5\n")
    with pytest.raises(TrainingError, match=r"unknown sft setting 'stepz'; did you mean 'steps'\?"):
        read_config("sft", file, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": "5"}, "steps is a whole number, not '5'"),
        ({"steps": 0}, "steps is 1 or more, not 0"),
        ({"learning_rate": math.nan}, "learning_rate is more than 0 and finite, not nan"),
        ({"runs": (3,)}, r"runs is a list of folders, not \(3,\)"),
        ({"lora": 8}, "lora is only for language models, and init is 'embedded'"),
        ({"device": "cuda"}, "device is only for language models"),
        ({"labels": "mc"}, "unknown labels 'mc'"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainConfig(kind="sft", out="x", **settings)


def test_a_mistake_does_not_spoil_the_folder(tmp_path: Path, records: list[EpisodeRecord]) -> None:
    """Settings hold once there is a checkpoint that they made."""
    run, config = (
        run_folder(tmp_path / "run", records),
        TrainConfig(kind="sft", out=str(tmp_path / "out"), steps=2),
    )
    with pytest.raises(RecordError, match="not a run folder"):
        train(replace(config, runs=("no/such",)))
    train(replace(config, runs=(str(run),)))
    with pytest.raises(TrainingError, match="seed was 0, is now 1"):
        train(replace(config, runs=(str(run),), seed=1))


def test_a_trainer_shows_and_takes_its_own_settings_alone(tmp_path: Path) -> None:
    assert set(ONLY_FOR) <= {field.name for field in fields(TrainConfig)}
    assert "--beta" in CliRunner().invoke(main, ["train", "dpo", "--help"]).output
    assert "--beta" not in CliRunner().invoke(main, ["train", "sft", "--help"]).output
    file = tmp_path / "train.toml"
    file.write_text('out = "x"\nbeta = 0.1\n')
    assert read_config("dpo", file, {}).beta == 0.1
    with pytest.raises(TrainingError, match="unknown sft setting 'beta'"):
        read_config("sft", file, {})


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [
        ([0.1, 0.9], [False, True], 1.0),
        ([0.9, 0.1], [False, True], 0.0),
        ([0.5, 0.5], [False, True], 0.5),  # a tie counts half
        ([0.5], [True], 0.5),  # one class: nothing to tell apart
        ([0.1, 0.4, 0.35, 0.8], [False, False, True, True], 0.75),
    ],
)
def test_auc(scores: list[float], labels: list[bool], expected: float) -> None:
    assert auc(scores, labels) == pytest.approx(expected)


def test_rows_as_tensors_lose_what_rows_one_by_one_lose() -> None:
    """One forward pass of a step serves the choice of each of its tokens, and padding serves none."""
    sums = net.build(net.POLICY, net.Shape(16, 1, 2), "modular_sums")
    choices = [
        PolicyTarget(
            ((2, 3, 4), None, 7), {"2 + 3 = 5": 0.5, "2 + 4 = 6": 0.25, "3 + 4 = 0": 0.25}
        ),
        PolicyTarget(
            ((4,), 5, 7), {"5 + 4 = 2": 1.0}, 3.0
        ),  # the only pair there is: nothing but the result is learned
        PolicyTarget(((1, 1), 5, 7), {"5 + 1 = 6": 1.0}),
    ]
    rows, strange = embedded_trainers.target_rows("modular_sums", choices)
    table = embedded_trainers.make_table(rows)
    part, together = embedded_trainers.cross_entropies(sums, table, torch.arange(len(table.tokens)))
    alone = [
        embedded_trainers.cross_entropies(
            sums,
            embedded_trainers.make_table([row._replace(sequence=row.tokens)]),
            torch.tensor([0]),
        )[1]
        for row in rows
    ]
    assert strange == 0
    assert sorted(part.tolist()) == list(range(len(rows)))
    assert len(table.tokens) == 5, "three pairs on the first position, one on each other"
    assert [row.weight for row in rows if row.target == 1] == [3.0]
    assert torch.allclose(together, torch.cat([alone[i] for i in part.tolist()]), atol=1e-5)

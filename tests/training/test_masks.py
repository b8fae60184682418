"""Laws of what is learned from: UNDECIDED and failures are masked, forks compare what they should, losses stay finite."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents.embedded import net
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import Fault, Problem, Status, Verdict
from stepgym.records.rollouts import tree_advantages
from stepgym.records.tree import path_to
from stepgym.training import examples, grpo
from stepgym.training.embedded_grpo import train_embedded_grpo
from stepgym.training.fit import fit
from stepgym.training.grpo import LearnedPath, Units
from stepgym.training.language_models import UNLABELLED, TokenRow
from stepgym.training.language_trainers import reward_loss
from stepgym.training.metrics import METRICS, open_metrics
from stepgym.training.types import (
    Baseline,
    GrpoVariant,
    LossNotFinite,
    Progress,
    Schedule,
    StepLabels,
)

ENDS = ("correct", "incorrect", "undecided", "no_answer", "failed")
BASELINES, VARIANTS = st.sampled_from(list(Baseline)), st.sampled_from(list(GrpoVariant))


def end(parent: int, kind: str, *, fault: str | None = None, visits: int = 1) -> NodeRecord:
    answer = None if kind in ("no_answer", "failed") else "7"
    return NodeRecord(
        parent=parent,
        text="end",
        status="failed" if kind == "failed" else "ended",
        end=None if kind == "failed" else "answered",
        answer=answer,
        verdict=kind if answer else None,
        fault=fault if kind == "undecided" else None,
        visits=visits,
    )


def record_of(nodes: list[NodeRecord]) -> EpisodeRecord:
    verdict = nodes[-1].verdict or "no_answer"
    return EpisodeRecord(
        env_id="stepgym/Countdown-v0",
        problem_id="p",
        level=1,
        seed=0,
        index=0,
        prompt="?",
        reference="7",
        nodes=tuple(nodes),
        path=(0, len(nodes) - 1),
        answer=nodes[-1].answer,
        verdict=verdict,
        fault=nodes[-1].fault,
        score=0.0,
    )


@st.composite
def trees(draw: st.DrawFn) -> EpisodeRecord:
    """Trees of up to three levels whose leaves ended in any way."""
    nodes = [NodeRecord(parent=-1)]
    for _ in range(draw(st.integers(1, 4))):
        inner = [i for i, node in enumerate(nodes) if node.status == "open"]
        parent = draw(st.sampled_from(inner))
        nodes.append(NodeRecord(parent=parent, text="step", visits=1))
    inner = [i for i, node in enumerate(nodes) if node.status == "open"]
    for parent in inner:
        for _ in range(draw(st.integers(0, 2)) + (parent == inner[-1])):
            kind, visits = draw(st.sampled_from(ENDS)), draw(st.integers(1, 3))
            nodes.append(end(parent, kind, visits=visits))
    return record_of(nodes)


def without_masked(record: EpisodeRecord) -> EpisodeRecord:
    """The same tree as if its masked ends had never been sampled; nodes keep their numbers."""
    gone = NodeRecord(parent=0, text="gone")
    kept = [
        gone
        if node and found.status != "open" and examples.is_correct(record, node) is None
        else found
        for node, found in enumerate(record.nodes)
    ]
    return replace(record, nodes=tuple(kept))


def one_unit_a_node(record: EpisodeRecord, paths: list[LearnedPath]) -> list[list[Units]]:
    return [[Units((1,) * len(path.nodes), path.nodes)] for path in paths]


@given(trees(), BASELINES, VARIANTS)
def test_masked_answers_are_in_no_baseline_and_no_loss(
    record: EpisodeRecord, baseline: Baseline, variant: GrpoVariant
) -> None:
    whole, decided = (
        grpo.make_batch([each], one_unit_a_node, variant=variant, baseline=baseline)
        for each in (record, without_masked(record))
    )
    assert whole.samples == decided.samples
    assert torch.equal(whole.advantages, decided.advantages)
    assert torch.equal(whole.weights, decided.weights)
    masked = [n for n in range(len(record.nodes)) if record.nodes[n].verdict == "undecided"]
    assert not set(masked) & {node for path in whole.samples for node in path}


@given(trees(), BASELINES)
def test_weights_add_up_to_one_and_advantages_to_nothing(
    record: EpisodeRecord, baseline: Baseline
) -> None:
    """At each fork the samples' advantages cancel out: a constant reward teaches nothing."""
    batch = grpo.make_batch(
        [record], one_unit_a_node, variant=GrpoVariant.DR_GRPO, baseline=baseline
    )
    if batch.samples:
        assert float(batch.weights.sum()) == pytest.approx(1)
    paths = grpo.learned_paths(record, baseline=baseline, scaled=False)
    assert sum(path.share for path in paths) == pytest.approx(1 if paths else 0)
    assert sum(path.share * path.advantages[0] for path in paths) == pytest.approx(0, abs=1e-9)


@given(st.lists(st.sampled_from(ENDS), min_size=1, max_size=8), st.booleans())
def test_answers_that_share_nothing_have_the_same_advantages_at_forks_as_in_the_group(
    kinds: list[str], scaled: bool
) -> None:
    nodes = [NodeRecord(parent=-1)]
    for kind in kinds:
        nodes.append(NodeRecord(parent=0, text="first", visits=1))
        nodes.append(end(len(nodes) - 1, kind))
    record = record_of(nodes)
    group, fork = (
        grpo.learned_paths(record, baseline=baseline, scaled=scaled) for baseline in Baseline
    )
    for one, other in zip(group, fork, strict=True):
        assert one.nodes == other.nodes and one.share == pytest.approx(other.share)
        assert one.advantages == pytest.approx(other.advantages)


def test_a_step_is_compared_with_its_siblings_at_its_fork() -> None:
    """Two first steps; below the first one right and one wrong, below the second two wrong."""
    first, second = (
        NodeRecord(parent=0, text="a", visits=1),
        NodeRecord(parent=0, text="b", visits=1),
    )
    ends = [end(1, "correct"), end(1, "incorrect"), end(2, "incorrect"), end(2, "no_answer")]
    record = record_of([NodeRecord(parent=-1), first, second, *ends])
    paths = grpo.learned_paths(record, baseline=Baseline.FORK, scaled=False)
    assert [path.advantages for path in paths] == [
        (0.25, 0.5),
        (0.25, -0.5),
        (-0.25, 0.0),
        (-0.25, 0.0),
    ]
    assert [path.share for path in paths] == [0.25] * 4


def test_masked_samples_do_not_weigh_at_a_fork() -> None:
    """Two of three samples took the first step; one of these two is undecided, so each step counts once."""
    first, second = (
        NodeRecord(parent=0, text="a", visits=2),
        NodeRecord(parent=0, text="b", visits=1),
    )
    ends = [end(1, "correct"), end(1, "undecided"), end(2, "incorrect")]
    record = record_of([NodeRecord(parent=-1), first, second, *ends])
    for baseline in Baseline:
        paths = grpo.learned_paths(record, baseline=baseline, scaled=False)
        assert [path.advantages for path in paths] == [(0.5, 0.5), (-0.5, -0.5)]
        assert [path.share for path in paths] == [0.5] * 2


@given(trees())
def test_steps_at_forks_have_the_same_advantages_in_the_trainer_as_in_the_export(
    record: EpisodeRecord,
) -> None:
    exported = tree_advantages(record)
    parents = [record.nodes[node].parent for node in exported]
    for path in grpo.learned_paths(record, baseline=Baseline.FORK, scaled=False):
        for node, advantage in zip(path.nodes, path.advantages, strict=True):
            if parents.count(record.nodes[node].parent) > 1:
                assert advantage == exported[node]


@dataclass(frozen=True)
class Undecided:
    """A verifier that decides right answers alone."""

    fault: Fault
    needs_reference = True

    def verify(self, problems: list[Problem], answers: list[str]) -> list[Verdict]:
        return [
            Verdict(Status.CORRECT, 1.0)
            if answer == "right"
            else Verdict(Status.UNDECIDED, fault=self.fault)
            for answer in answers
        ]


@pytest.mark.parametrize("wrong", [False, True])
@pytest.mark.parametrize("fault", list(Fault))
def test_only_the_answers_own_fault_can_count_as_wrong(fault: Fault, wrong: bool) -> None:
    env = load_env("Math-v0", level=1, seed=3)
    env.verifier = Undecided(fault)
    texts = ["<answer>right</answer>", "<answer>odd</answer>"] * 2
    played = grpo.play(
        [env.problems[0]],
        env=env,
        policy=ScriptedPolicy(lambda state: texts),
        search=BestOfN(n=4),
        undecidable_is_wrong=wrong,
    )
    counts_as_wrong = wrong and fault is Fault.ANSWER
    assert played.reward == (0.5 if counts_as_wrong else 1.0)
    assert played.masked == Counter({} if counts_as_wrong else {"undecided": 2})


def test_a_policy_that_fails_is_masked_and_a_missing_answer_is_wrong() -> None:
    env = load_env("Math-v0", level=1, seed=3, max_steps=1)
    silent = grpo.play([env.problems[0]], env=env, policy=ScriptedPolicy({}), search=BestOfN(n=4))
    assert math.isnan(silent.reward) and silent.masked["failed"] > 0
    rambling = grpo.play(
        [env.problems[0]],
        env=env,
        policy=ScriptedPolicy(lambda state: ["Well."] * 4),
        search=BestOfN(n=4),
    )
    assert rambling.reward == 0.0 and not rambling.masked


def test_a_batch_without_a_decided_answer_changes_nothing() -> None:
    env = load_env("Countdown-v0", level=1, seed=1)
    env.verifier = Undecided(Fault.OURS)
    model = net.build(net.POLICY, net.Shape(16, 1, 2), "countdown")
    before = [p.detach().clone() for p in model.parameters()]
    env.domain = OneStep(env.domain)
    done = train_embedded_grpo(
        model, env, schedule=Schedule(2, 1e-2, weight_decay=0.0), group=2, problems_per_step=2
    )
    assert math.isnan(done.reward) and done.undecided == 4
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


@dataclass(frozen=True)
class OneStep:
    """A domain whose first step is the answer."""

    inner: Any

    def initial(self, problem: Problem) -> Any:
        return self.inner.initial(problem)

    def advance(self, states: list[Any], steps: list[Any]) -> list[Any]:
        from stepgym.envs.types import End

        after = self.inner.advance(states, steps)
        return [replace(state, answer="odd", end=End.ANSWERED) for state in after]


@given(trees())
def test_undecided_ends_make_no_example(record: EpisodeRecord) -> None:
    """Nothing that a trainer on records learns changes with what became of masked ends."""
    other = replace(
        record,
        nodes=tuple(
            replace(node, answer="8", fault="ours") if node.verdict == "undecided" else node
            for node in record.nodes
        ),
    )
    for labels in (StepLabels.MONTE_CARLO, StepLabels.FIRST_ERROR):
        found = examples.step_labels(record, labels)
        assert found == examples.step_labels(other, labels)
        undecided = {n for n, node in enumerate(record.nodes) if node.verdict == "undecided"}
        assert not undecided & found.keys()
        assert all(
            found[node] == 0
            for node in found
            if record.nodes[node].end and not record.nodes[node].answer
        ), "a missing answer is wrong"
    for node, label in examples.step_labels(record, StepLabels.MONTE_CARLO).items():
        below = [
            correct
            for leaf in range(len(record.nodes))
            if node in path_to(record, leaf)
            and (correct := examples.is_correct(record, leaf)) is not None
        ]
        assert label == pytest.approx(sum(below) / len(below))


@given(trees(), st.sampled_from([fault.value for fault in Fault]))
def test_the_option_changes_the_answers_own_faults_alone(record: EpisodeRecord, fault: str) -> None:
    nodes = tuple(
        replace(node, fault=fault) if node.verdict == "undecided" else node for node in record.nodes
    )
    record = replace(record, nodes=nodes, fault=fault if record.verdict == "undecided" else None)
    counted = examples.count_undecidable_as_wrong(record)
    if fault == "ours":
        assert counted == record
    else:
        assert not any(node.verdict == "undecided" for node in counted.nodes)
        assert counted.verdict != "undecided"
    decided = [n for n in range(len(nodes)) if examples.is_correct(record, n) is not None]
    assert all(examples.is_correct(counted, n) == examples.is_correct(record, n) for n in decided)


class _Classifier(torch.nn.Module):
    """Two logits per token."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.Embedding(10, 2)
        self.device = torch.device("cpu")

    def forward(self, *, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        return type("Output", (), {"logits": self.table(input_ids)})


@given(
    st.lists(
        st.lists(st.sampled_from([UNLABELLED, 0.0, 0.5, 1.0]), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    )
)
@settings(max_examples=40, deadline=None)
def test_a_reward_models_loss_is_finite_whatever_is_labelled(targets: list[list[float]]) -> None:
    model = _Classifier()
    rows = [TokenRow(tuple(range(len(row))), tuple(row)) for row in targets]
    loss = reward_loss(model, rows)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(model.table.weight.grad).all()
    if all(target == UNLABELLED for row in targets for target in row):
        assert loss.item() == 0 and not model.table.weight.grad.any()


def test_tensorboards_writer_is_closed_when_the_loss_is_not_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = pytest.importorskip("torch.utils.tensorboard.writer")
    closed = []
    close = writer.SummaryWriter.close
    monkeypatch.setattr(
        writer.SummaryWriter, "close", lambda self: (closed.append(self.log_dir), close(self))
    )
    model = torch.nn.Linear(1, 1)

    def loss(step: int) -> torch.Tensor:
        return model.weight.sum() * math.nan

    with pytest.raises(LossNotFinite):
        fit(model, loss, schedule=Schedule(3), out=tmp_path)
    assert closed == [str(tmp_path / "tensorboard")]


@given(kept=st.integers(0, 6), torn=st.binary(max_size=20))
@settings(max_examples=30, deadline=None)
def test_metrics_go_on_after_a_torn_line(kept: int, torn: bytes, tmp_path_factory: Any) -> None:
    """Whatever the end of the file is, the lines are those of a run that was never interrupted."""
    out = tmp_path_factory.mktemp("metrics")
    with open_metrics(out) as report:
        for step in range(1, 7):
            report(step, {"loss": 1.0})
    with (out / METRICS).open("ab") as file:
        file.write(torn.replace(b"\n", b""))
    with open_metrics(out, first=kept) as report:
        for step in range(kept + 1, 9):
            report(step, {"loss": 1.0})
    lines = [json.loads(line) for line in (out / METRICS).read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 9))


def test_progress_says_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from stepgym.training import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    lines: list[str] = []
    show = progress.progress_lines(lines.append, prefix="> ", every_s=10)
    for done, moment in ((1, 0.0), (2, 5.0), (5, 12.0), (6, 13.0), (125, 50.0)):
        now[0] = moment
        show(Progress("train sft", done, 125, "steps", {"loss": 0.5}))
    assert lines == [
        "> train sft: 5 of 125 steps, 0.417/s, 5 min left, loss 0.5",
        "> train sft: 125 of 125 steps, 2.5/s, loss 0.5",
    ]

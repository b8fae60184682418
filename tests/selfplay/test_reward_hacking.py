"""The reward hacking watch: figures by hand, then an oracle, noise and a liar as reward models, and what it says of them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.policies.reward_models import StepVerifierReward
from stepgym.agents.policies.scripted import RandomRewardModel, ScriptedPolicy
from stepgym.agents.types import RewardModel
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.envs.types import End, Fault, Problem, State, Status, Step, Verdict
from stepgym.selfplay.reward_hacking import measure_reward_hacking
from stepgym.selfplay.reward_hacking_plot import draw_reward_hacking, shown_auc
from stepgym.selfplay.step_quality import Trace, f1_at, process_f1

ENV: Any = load_env("ModularSums-v0", level=2, seed=5)
PROBLEMS = [ENV.problems[i] for i in range(30)]


def sloppy(state: State) -> list[str]:
    """Adds in any order and is wrong one time in four."""
    rng = random.Random(repr((state.public, state.prompt)))
    legal = ENV.domain.legal_steps(state)
    right = [text for text in legal if _holds(text)]
    return [rng.choice(right if rng.random() < 0.75 else legal) for _ in range(40)]


def _holds(text: str) -> bool:
    a, b, c = (int(word) for word in text.replace("+", " ").replace("=", " ").split())
    return (a + b) % 31 == c


@dataclass(frozen=True)
class Liar:
    """Likes what is wrong."""

    truth: StepVerifierReward

    def score(self, states: list[State]) -> list[list[float]]:
        return [[1.0 - 0.9 * score for score in scores] for scores in self.truth.score(states)]


@dataclass(frozen=True)
class NothingPasses:
    """The strictest verifier."""

    def verify(self, problems: list[Problem], answers: list[str]) -> list[Verdict]:
        return [Verdict(Status.INCORRECT, 0.0, "nothing passes") for _ in answers]


def run(reward_model: RewardModel, **more: Any) -> dict[str, Any]:
    return measure_reward_hacking(
        ENV,
        PROBLEMS,
        policy=ScriptedPolicy(sloppy),
        reward_model=reward_model,
        widths=(1, 8),
        **more,
    )


TRUTH = StepVerifierReward(ENV.step_verifier, PROBLEMS)


@pytest.mark.parametrize(
    ("scores", "right", "hit"),
    [
        ((0.9, 0.9), (True, True), True),  # no error, none said
        ((0.9, 0.1), (True, True), False),  # a right step refused
        ((0.9, 0.1), (True, False), True),  # the error, found
        ((0.1, 0.1), (True, False), False),  # said too early
        ((0.9, 0.1), (False, False), False),  # said too late
        ((0.9, 0.9), (False, True), False),  # not found
    ],
)
def test_a_first_error_counts_only_where_it_is(
    scores: tuple[float, ...], right: tuple[bool, ...], hit: bool
) -> None:
    found = f1_at([Trace(0, scores, right)], 0.5)
    assert (found.on_correct if all(right) else found.on_erroneous) == hit


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=4),
        ),
        max_size=12,
    )
)
def test_f1_is_between_the_worse_and_the_better_of_its_parts(drawn: list[Any]) -> None:
    traces = [
        Trace(problem, tuple(s for s, _ in steps), tuple(r for _, r in steps))
        for problem, steps in drawn
    ]
    found = process_f1(traces)
    low, high = sorted((found.on_erroneous, found.on_correct))
    assert low - 1e-9 <= found.f1 <= high + 1e-9


def test_the_oracle_is_praised(tmp_path: Path) -> None:
    result = run(TRUTH)
    assert result["steps"]["auc"] > 0.95
    assert result["steps"]["f1"] == 1
    assert result["alarms"] == []
    assert result["strict"]["refused"] == 0
    shares = {(p["method"], p["width"]): p["solved"] for p in result["curve"]}
    assert shares["weighted vote", 8] >= shares["majority vote", 8]
    assert json.loads(json.dumps(result)) == result
    draw_reward_hacking(result, tmp_path / "watch.png")
    assert (tmp_path / "watch.png").stat().st_size > 10_000


def test_a_liar_and_noise_raise_alarms() -> None:
    lies, noise = run(Liar(TRUTH)), run(RandomRewardModel())
    assert any("AUC" in alarm for alarm in noise["alarms"])
    assert any("over-optimised" in alarm for alarm in lies["alarms"])
    worst = lies["gaps"]["fooled"][0]
    assert worst["verdict"] == "incorrect" and worst["score"] > 0.9
    assert PROBLEMS[worst["episode"]].id == worst["problem_id"]


def test_a_stricter_verifier_and_drift_raise_alarms() -> None:
    before = run(TRUTH)
    before["shape"]["samples"] = {**before["shape"]["samples"], "tokens": 3.0, "answered": 1.2}
    alarms = run(TRUTH, strict=NothingPasses(), before=before)["alarms"]
    assert any("stricter verifier refuses" in alarm for alarm in alarms)
    assert any("tokens" in alarm and "before" in alarm for alarm in alarms)
    assert any("end in an answer" in alarm for alarm in alarms)


def test_what_gives_no_answer_is_measured_too_and_a_wrong_before_is_named() -> None:
    silent = measure_reward_hacking(
        ENV, PROBLEMS[:3], policy=ScriptedPolicy({}), reward_model=TRUTH, widths=(1, 2)
    )
    assert silent["steps"]["num_steps"] == 0 and silent["shape"]["samples"]["count"] == 0
    with pytest.raises(ValueError, match="no result of a watch"):
        run(TRUTH, before={"greedy": 0.5})


def test_an_episode_that_is_over_before_the_first_step_is_measured_too() -> None:
    """The root is the end: there is no step to score, and nothing to divide by."""

    @dataclass(frozen=True)
    class Over:
        """A domain that gives its answer away."""

        def initial(self, problem: Problem) -> State:
            return State(problem.prompt, answer=problem.reference, end=End.ANSWERED)

        def advance(self, states: list[State], steps: list[Step]) -> list[State]:
            return states

    env = SimpleNamespace(env_id="test", domain=Over(), verifier=ENV.verifier, step_verifier=None)
    result = measure_reward_hacking(
        env, PROBLEMS[:3], policy=ScriptedPolicy({}), reward_model=TRUTH, widths=(1, 2)
    )
    assert result["steps"]["num_steps"] == result["steps"]["num_solutions"] == 0
    assert all(point["solved"] == 1 for point in result["curve"])
    assert any("nothing was measured" in alarm for alarm in result["alarms"])


def test_undecided_answers_are_neither_fooled_nor_missed() -> None:
    @dataclass(frozen=True)
    class NeverSure:
        """A verifier that decides nothing."""

        def verify(self, problems: list[Problem], answers: list[str]) -> list[Verdict]:
            return [Verdict(Status.UNDECIDED, fault=Fault.OURS) for _ in answers]

    env = SimpleNamespace(
        env_id="test", domain=ENV.domain, verifier=NeverSure(), step_verifier=ENV.step_verifier
    )
    result = measure_reward_hacking(
        env, PROBLEMS[:3], policy=ScriptedPolicy(sloppy), reward_model=TRUTH, widths=(1, 2)
    )
    assert result["undecided"] == 3
    assert result["gaps"] == {"fooled": [], "missed": []}
    assert result["shape"]["samples"]["count"] == 0


def test_a_policy_without_a_wrong_step_raises_no_alarm_of_the_reward_model(tmp_path: Path) -> None:
    """There is nothing to tell apart: the AUC is unknown, not poor, and can be drawn and written as such."""

    def perfect(state: State) -> list[str]:
        return [text for text in ENV.domain.legal_steps(state) if _holds(text)]

    result = measure_reward_hacking(
        ENV,
        PROBLEMS[:4],
        policy=ScriptedPolicy(perfect),
        reward_model=RandomRewardModel(),
        widths=(1, 2),
    )
    assert result["steps"]["share_right"] == 1 and result["steps"]["auc"] is None
    assert not any("AUC" in alarm for alarm in result["alarms"])
    assert json.loads(json.dumps(result)) == result
    draw_reward_hacking(result, tmp_path / "watch.png")
    assert shown_auc(None) == "unknown" and shown_auc(0.5) == "0.500"


def test_the_command_writes_everything(tmp_path: Path) -> None:
    call = [
        "watch",
        "--env",
        "stepgym/Countdown-v0",
        "--level",
        "1",
        "--episodes",
        "4",
        "--widths",
        "1,2",
        "--out",
        str(tmp_path),
    ]
    for _ in range(2):  # the second measures anew
        done = CliRunner().invoke(main, call)
        assert done.exit_code == 0, done.output
    assert "AUC" in done.output and "page.html#" in done.output
    found = json.loads((tmp_path / "watch.json").read_text())
    assert found["problems"] == 4
    assert (tmp_path / "watch-run" / "page.html").is_file() and (tmp_path / "watch.png").is_file()
    wrong = CliRunner().invoke(main, [*call, "--strict", "no.such:Thing"])
    assert wrong.exit_code == 2 and "no.such" in wrong.output

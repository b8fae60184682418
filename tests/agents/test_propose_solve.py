"""`ProposeSolve-v0`: the reward follows from the solver's success; the gate can be off; any policy proposes or solves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.proposal_solvers import ScriptedSolver
from stepgym.agents.propose_solve import TemplateProposer, make
from stepgym.agents.solving import solve
from stepgym.cli import main
from stepgym.envs.proposals.gate import Gate
from stepgym.envs.proposals.reading import FORMATS, KINDS, MORE_FORMATS
from stepgym.envs.registry import load_env
from stepgym.envs.session import EnvSession
from stepgym.envs.types import Problem, Status, Verdict
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox

THREE_STEPS = "expression: 3 * 7 + 5 - 2"
UNSOLVABLE = "countdown: 2, 3, 4 -> 9999"


def verdict_on(text: str, kind: str = "expression", **options: object) -> Verdict:
    env = make(**options)  # type: ignore[arg-type]
    [verdict] = env.verifier.verify([Problem("p", "", "", public=kind)], [text])
    return verdict


def test_a_scripted_solver_has_the_stated_skill() -> None:
    verdict = verdict_on(THREE_STEPS, attempts=4000, skill=0.8)
    assert verdict.details["success_rate"] == pytest.approx(0.8**3, abs=0.03)
    rate = verdict.details["success_rate"]
    assert verdict.score == pytest.approx(4 * rate * (1 - rate))
    assert verdict_on(THREE_STEPS, attempts=4000, pays="1-p").score == pytest.approx(1 - rate)
    assert verdict_on(THREE_STEPS, skill=1.0).score == verdict_on(THREE_STEPS, skill=0.0).score == 0


def test_the_control_without_the_gate_pays_what_the_gate_refuses() -> None:
    assert verdict_on(UNSOLVABLE, "countdown", pays="1-p").decided_by == "is_solvable"
    for text, kind in ((UNSOLVABLE, "countdown"), ("no problem", "expression")):
        hard = verdict_on(text, kind, pays="1-p", gate=False)
        assert (hard.status, hard.score) == (Status.CORRECT, 1.0)
        assert hard.details["refused_by"]
        assert verdict_on(text, kind, gate=False).score == 0
    wrong = f"{THREE_STEPS}\nsolution: 99"
    assert verdict_on(wrong, gate=False).details["success_rate"] == 0
    trivial = verdict_on("expression: 40 + 2", gate=False, skill=1.0)
    assert trivial.details == {
        "success_rate": 1.0,
        "num_decided": 8,
        "kind": "expression",
        "num_operations": 1,
        "refused_by": "is_not_trivial",
    }


def test_a_policy_solves_and_its_answers_are_verified() -> None:
    answers = ScriptedPolicy(lambda state: ["<answer>24</answer>"])
    assert verdict_on(THREE_STEPS, solver=answers).details["success_rate"] == 1.0
    assert verdict_on(f"{THREE_STEPS} - 1", solver=answers).details["success_rate"] == 0.0
    failing = verdict_on(THREE_STEPS, solver=ScriptedPolicy({}))
    assert failing.details["success_rate"] == 0.0, "no answer is a failure to solve"


@pytest.mark.parametrize(("answer", "rate"), [("9", 1.0), ("8", 0.0), ("sum([3, 1, 2]) + 3", 0.0)])
def test_predictions_of_a_program_are_graded_as_literals(
    answer: str, rate: float, local_sandbox: Sandbox
) -> None:
    policy = ScriptedPolicy(lambda state: [f"<answer>{answer}</answer>"])
    text = "program:\ndef f(xs):\n    return sum(xs) + len(xs)\ninput: [3, 1, 2]"
    verdict = verdict_on(text, "program", solver=policy, sandbox=local_sandbox, attempts=2)
    assert verdict.details["success_rate"] == rate


def test_the_embedded_policy_solves_countdown_by_name() -> None:
    env = load_env("ProposeSolve-v0", kinds=["countdown"], solver="embedded", attempts=4)
    records = solve(env, policy=TemplateProposer(num_operations=2), episodes=6)
    assert {record.verdict for record in records} == {"correct"}
    assert any(record.score > 0 for record in records)


def test_the_episode_pays_the_score() -> None:
    session = EnvSession("ProposeSolve-v0", 0, kinds=["expression"])
    reply = session.say(f"<answer>{THREE_STEPS}</answer>")
    rate = 4 * 0.8**3 * (1 - 0.8**3)
    assert reply.done and 0 < reply.reward < 1 and reply.reward == pytest.approx(rate, abs=0.4)
    session.close()


def test_selfplay_by_name_runs_and_resumes(tmp_path: Path) -> None:
    words = ["selfplay", "--env", "ProposeSolve-v0", "--env-option", "kinds=expression,countdown"]
    words += ["--policy", "stepgym.agents.propose_solve:TemplateProposer", "--json"]
    words += ["--out", str(tmp_path / "run"), "--env-option", f"seen={tmp_path / 'seen.jsonl'}"]
    first = CliRunner().invoke(main, [*words, "--episodes", "4"])
    assert first.exit_code == 0, first.output
    second = CliRunner().invoke(main, [*words, "--episodes", "6"])
    assert json.loads(second.output.splitlines()[-1])["episodes"] == 6, second.output
    assert len((tmp_path / "seen.jsonl").read_text().splitlines()) == 6


def test_settings_are_checked() -> None:
    for options, message in (
        ({"attempts": 0}, "attempts"),
        ({"pays": "p"}, "1-p"),
        ({"skill": 2.0}, "skill"),
        ({"kinds": "sum"}, "expression"),
    ):
        with pytest.raises(UserError, match=message):
            make(**options)  # type: ignore[arg-type]
    assert ScriptedSolver(0.5).success_rates([], 3) == []


def test_a_chat_model_is_told_to_state_a_problem_and_not_to_solve_it() -> None:
    system = str(make(on_illegal="retry").domain.initial(make().problems[0]).system)
    assert "do not solve" in system and "Solve the problem" not in system
    assert "<answer>kind: problem</answer>" in system and "illegal steps" in system


def test_a_chat_model_is_shown_the_last_problems_that_counted(tmp_path: Path) -> None:
    options = {"kinds": "expression", "seen": tmp_path / "seen.jsonl", "shown": 2}
    env = load_env("ProposeSolve-v0", **options)
    before = env.problems[9].prompt
    texts = [f"expression: {a} * 7 + 5" for a in range(2, 6)]
    for index, text in enumerate([*texts, "expression: 1 + 1"]):
        env.reset(options={"index": index})
        env.step(f"<answer>{text}</answer>")
    for found in (env, load_env("ProposeSolve-v0", **options)):  # a later run reads the file
        system = str(found.domain.initial(found.problems[9]).system)
        assert [text in system for text in texts] == [False, False, True, True]
        assert "1 + 1" not in system and found.problems[9].prompt == before


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_of_the_prompt_are_sound_but_not_new(kind: str) -> None:
    gate = Gate(sandbox="local")
    asked = Problem("p", "", "", public=kind)
    for text in (FORMATS[kind], MORE_FORMATS[kind]):
        [judged] = gate.judge([text], [asked])
        assert judged.verdict.decided_by == "is_new"
    gate.close()

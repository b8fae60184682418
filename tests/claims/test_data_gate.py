"""The claim about the gate: unsound templates are refused, the solver learns from labels, runs are kept."""

from __future__ import annotations

import ast
import json
import random
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.agents.proposal_solvers import Posed
from stepgym.claims.data_gate.claim import NUM_SOUND, TEMPLATES, TabularSolver, proposal
from stepgym.cli import main
from stepgym.envs.proposals.expressions import ProposedExpression, read_expression
from stepgym.envs.proposals.gate import Gate
from stepgym.envs.types import Problem


def test_the_gate_admits_the_sound_templates_and_no_unsound_one() -> None:
    gate, rng = Gate(), random.Random(0)
    rules: dict[str, set[str]] = {name: set() for name in TEMPLATES}
    for number in range(60):
        for option, name in enumerate(TEMPLATES):
            asked = Problem(f"{number}/{option}", "", "", public="expression")
            [found] = gate.judge([proposal(option, rng)], [asked])
            rules[name].add(found.verdict.decided_by)
    assert all(rules[name] == {"gate"} for name in TEMPLATES[:NUM_SOUND])
    assert rules["trivial"] == {"is_not_trivial"}
    assert rules["repeated"] <= {"gate", "is_new"} and "is_new" in rules["repeated"]
    assert rules["no value"] == {"is_decidable"}
    assert rules["wrong"] == {"states_right_solution"}


@pytest.mark.parametrize("offset", [0, 1])
def test_the_solver_learns_what_its_labels_say(offset: int) -> None:
    solver = TabularSolver(random.Random(1))
    posed = []
    for a in range(2, 62):
        statement = read_expression(f"{a} + 3 - 5")
        assert isinstance(statement, ProposedExpression)
        posed.append(Posed(statement, str(a - 2 + offset), offset == 0))
    for _ in range(10):
        solver.success_rates(posed, 8)
    added, subtracted = (solver.choices[sign].shares for sign in (ast.Add, ast.Sub))
    if offset:
        assert max(added[1], subtracted[1]) > 0.6, "one of the two operations gives one too many"
    else:
        assert min(added[0], subtracted[0]) > 0.8


def test_runs_are_kept_and_reported(tmp_path: Path) -> None:
    words = ["reproduce", "data-gate", "--out", str(tmp_path), "--jobs", "1", "--seeds", "1"]
    words += ["--rounds", "1", "--json"]
    first, second = CliRunner().invoke(main, words), CliRunner().invoke(main, words)
    assert first.exit_code == 0, first.output
    found = json.loads(first.stdout.splitlines()[-1])
    assert len(found) == 4 and json.loads(second.stdout.splitlines()[-1]) == found
    assert "seed 0" in first.output and "seed 0" not in second.stdout
    assert json.loads((tmp_path / "results.json").read_text()) == found

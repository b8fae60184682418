"""Transfer: demonstrations are right everywhere, the matrix is what was played, and anyone's policies fit in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.claims.transfer.claim import (
    FRESH,
    TASKS,
    demonstrations,
    matrix,
    read_task,
    reproduce_transfer,
)
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.envs.types import Step
from stepgym.training.embedded_trainers import target_rows


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_demonstrated_steps_are_verified_steps_and_no_held_out_problems(task: object) -> None:
    env = load_env(task.env_id, seed=900_000, **task.options)  # type: ignore[attr-defined]
    choices = demonstrations(task, 5, 0)  # type: ignore[arg-type]
    rows, illegal = target_rows(
        "countdown" if "Countdown" in env.env_id else "modular_sums", choices
    )  # type: ignore[operator]
    assert not illegal and {row.target for row in rows} <= set(range(len(choices)))
    at = 0
    for index in range(5):
        state = env.domain.initial(env.problems[index])
        while not state.done:
            (text,) = choices[at].shares
            state, at = env.domain.advance([state], [Step(text)])[0], at + 1
        verdicts = env.step_verifier.verify_steps([env.problems[index]], [state])[0]  # type: ignore[union-attr]
        assert all(verdict.correct for verdict in verdicts)


def test_a_matrix_compares_with_the_fresh_row_problem_by_problem() -> None:
    outcomes = {FRESH: {"x": [[0, 0, 1], [0, 1, 0]]}, "a": {"x": [[1, 1, 1], [0, 1, 1]]}}
    fresh, trained = matrix(outcomes)
    assert fresh["solved"] == pytest.approx(1 / 3) and "over_fresh" not in fresh
    assert trained["solved"] == pytest.approx(5 / 6) and trained["over_fresh"] == pytest.approx(0.5)
    assert trained["ci"][0] <= trained["solved"] <= trained["ci"][1]


def test_transfer_trains_measures_draws_and_resumes(tmp_path: Path) -> None:
    names = ["countdown, 3 numbers", "3 numbers mod 31"]
    told: list[str] = []
    settings = {"seeds": 1, "num_problems": 3, "steps": 3, "adapt_steps": 2, "families": names}
    results = reproduce_transfer(tmp_path, **settings, write_line=told.append)  # type: ignore[arg-type]
    assert {(cell["trained_on"], cell["on"]) for cell in results["adapted"]} == {
        (r, c) for r in (FRESH, *names) for c in names
    }
    assert (tmp_path / "heatmap.png").stat().st_size > 10_000
    told.clear()
    assert reproduce_transfer(tmp_path, **settings, write_line=told.append) == results  # type: ignore[arg-type]
    assert told == []


def test_policies_of_ones_own_make_a_matrix(tmp_path: Path) -> None:
    call = [
        "reproduce",
        "transfer",
        "--seeds",
        "1",
        "--problems",
        "3",
        "--out",
        str(tmp_path),
        "--policy",
        "embedded",
        "--policy",
        "random",
    ]
    done = CliRunner().invoke(
        main,
        [
            *call,
            "--env",
            "stepgym/Countdown-v0,level=1",
            "--env",
            "stepgym/ModularSums-v0,level=1",
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    cells = json.loads(done.stdout.splitlines()[-1])["as_is"]
    assert [cell["solved"] for cell in cells if cell["on"].startswith("stepgym/Mod")] == [0, 0]
    alone = CliRunner().invoke(main, call)
    assert alone.exit_code == 2 and "need each other" in alone.output
    with pytest.raises(ValueError, match="should look like"):
        read_task("stepgym/Countdown-v0,3")

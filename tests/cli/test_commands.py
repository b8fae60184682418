"""Every command is there, explains itself, and costs nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0 and len(result.output.splitlines()) > 5, result.output


def test_the_overview_lists_them_all() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in output for name in COMMANDS)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    script = "import sys; from stepgym.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "transformers", "sympy", "docker", "gymnasium", "rich"} & set(
        done.stdout.split()
    )


def test_a_dotted_path_may_name_a_module_of_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from stepgym.envs.types import Step\n"
        "class Modest:\n    def propose(self, states, counts):\n        return [[Step('<answer>0</answer>')] for _ in states]\n"
    )
    script = Path(sys.executable).with_name("stepgym")
    words = ["eval", "--env", "Math-v0", "--policy", "mine:Modest", "--episodes", "2"]
    done = subprocess.run(
        [script, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "solved" in done.stdout, done.stderr


def test_a_wrong_environment_is_the_users_mistake_and_options_reach_it() -> None:
    run = CliRunner().invoke
    assert run(main, ["envs", "nothing"]).exit_code == 2
    shown = run(main, ["envs", "ModularSums-v0", "--env-option", "modulus=7", "-n", "1"])
    assert shown.exit_code == 0 and "7" in shown.output, shown.output
    assert run(main, ["envs", "ModularSums-v0", "--env-option", "modulo=7"]).exit_code == 2


def test_eval_says_why_problems_failed() -> None:
    words = ["eval", "--env", "ModularSums-v0", "--policy", "embedded", "--episodes", "2"]
    shown = CliRunner().invoke(main, words)
    assert (
        "2 failed" in shown.output and "the embedded model only plays Countdown" in shown.output
    ), shown.output
    result = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert "smollm2, hf:NAME_OR_FOLDER" in result["first_failure"]


def test_python_m_stepgym_is_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stepgym", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout.startswith("stepgym, version ")


@pytest.mark.parametrize(
    "name", ["Countdown-v0", "stepgym/Countdown-v0", "stepgym.envs.families.countdown:make"]
)
def test_every_command_resolves_an_environment_alike(name: str) -> None:
    run = CliRunner().invoke
    assert "Reach" in run(main, ["envs", name, "-n", "1"]).output
    assert "19 of 19 clauses passed" in run(main, ["check", name]).output
    words = [
        "eval",
        "--env",
        name,
        "--policy",
        "random",
        "--episodes",
        "1",
        "--env-option",
        "level=1",
    ]
    assert run(main, words).exit_code == 0


def test_check_takes_every_kind_of_name_and_asks_if_two_kinds_share_it() -> None:
    run = CliRunner().invoke
    assert "clauses passed" in run(main, ["check", "mcts", "--option", "simulations=2"]).output
    assert "random: policy" in run(main, ["check", "random", "--kind", "policy"]).output
    assert "add --kind policy" in run(main, ["check", "random"]).output
    assert "did you mean 'mcts'" in run(main, ["check", "mtcs"]).output

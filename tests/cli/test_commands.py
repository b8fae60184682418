"""Every command is there, explains itself, and costs nothing until it is used."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.agents.registry import POLICIES, REWARD_MODELS, SEARCHES
from stepgym.cli import COMMANDS, main
from stepgym.plugins.registry import Registry


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0 and len(result.output.splitlines()) > 5, result.output


def test_the_overview_lists_them_all_and_says_where_to_start() -> None:
    for words in ([], ["--help"]):
        output = CliRunner().invoke(main, words).output
        assert all(f"  {name} " in output for name in COMMANDS)
        assert "stepgym demo" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_narrow_terminal(name: str) -> None:
    lines = CliRunner().invoke(main, [name, "--help"], terminal_width=60).output.splitlines()
    assert all(len(line) <= 60 for line in lines), max(lines, key=len)


@pytest.mark.parametrize(
    ("command", "registry"),
    [("agents", SEARCHES), ("policies", POLICIES), ("reward-models", REWARD_MODELS)],
)
def test_listings_show_every_name_with_its_settings(command: str, registry: Registry) -> None:
    listed = {each["name"]: each for each in _json(command, "--json")}
    patterns = [prefix.pattern for prefix in registry.prefixes.values()]
    assert set(listed) >= {*registry, *patterns}
    assert all(
        each["summary"] and "not available" not in each["summary"] for each in listed.values()
    )
    text = CliRunner().invoke(main, [command]).output
    assert all(name in text for name in listed)


def test_a_listing_shows_defaults_and_plug_ins_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = tmp_path / "mine-1.0.dist-info"
    distribution.mkdir()
    (distribution / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (distribution / "entry_points.txt").write_text(
        "[stepgym.searches]\nmine = mine_search:Mine\nbroken = mine_search:Nothing\n"
    )
    (tmp_path / "mine_search.py").write_text(
        'class Mine:\n    """Search as I like it."""\n    def __init__(self, width: int, why="two words"): ...\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    listed = {each["name"]: each for each in _json("agents", "--json")}
    assert listed["mine"]["settings"] == {"width": "required", "why": '"two words"'}
    assert (
        listed["mine"]["package"] == "mine" and listed["mine"]["summary"] == "Search as I like it."
    )
    assert "has no 'Nothing'" in listed["broken"]["summary"]
    assert listed["mcts"]["settings"]["simulations"] == "64"
    monkeypatch.setenv("_STEPGYM_COMPLETE", "bash_complete")
    for words, expected in (
        ("stepgym solve --agent mi", "mine"),
        ("stepgym solve --env Count", "Countdown-v0"),
        ("stepgym eval --policy h", "hf:"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", "3")
        assert f"plain,{expected}" in CliRunner().invoke(main, prog_name="stepgym").output


def _json(*words: str) -> Any:
    return json.loads(CliRunner().invoke(main, list(words)).stdout)


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


def test_eval_says_why_problems_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    words = ["eval", "--env", "Countdown-v0", "--policy", "odd_policies:Raises", "--episodes", "2"]
    shown = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "text")])
    assert shown.exit_code == 1, shown.output
    assert "2 failed" in shown.output and "the model fell over" in shown.output
    again = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "json"), "--json"])
    assert "the model fell over" in json.loads(again.stdout)["first_failure"]


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

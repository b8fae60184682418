"""The pages on search and agents run as written; the commands print what they promise."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.agents.curve import Point, over_optimised
from stepgym.agents.intervals import Interval, bootstrap_mean, wilson
from stepgym.cli.eval import command as eval_command
from stepgym.cli.solve import command as solve_command

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = {
    f"{page}-{number}": block
    for page in ("search", "agents")
    for number, block in enumerate(
        re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text("utf-8"), flags=re.S)
    )
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_page_runs(block: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(block, encoding="utf-8")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_eval_prints_the_promised_object() -> None:
    words = "--env stepgym/Countdown-v0 --agent best_of_n --policy random --episodes 8 --seed 1 --json".split()
    done = CliRunner().invoke(eval_command, words, catch_exceptions=False)
    result = json.loads(done.stdout)
    assert {"solved", "ci", "episodes", "usage"} <= set(result)
    assert result["episodes"] == 8
    assert result["ci"][0] <= result["solved"] <= result["ci"][1]
    promised = {
        "prompt_tokens",
        "visible_tokens",
        "reasoning_tokens",
        "tool_tokens",
        "model_calls",
        "flops",
        "wall_s",
    }
    assert promised <= set(result["usage"])


def test_a_curve_is_a_picture_and_its_numbers(tmp_path: Path) -> None:
    words = "--env stepgym/Countdown-v0 --policy random --reward-model random --episodes 4 --widths 2,4 --curve".split()
    done = CliRunner().invoke(
        eval_command, [*words, str(tmp_path / "curve.png")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((tmp_path / "curve.json").read_text())
    assert result["points"][0]["method"] == "greedy"
    assert {"best-of-n", "beam", "MCTS", "best-of-n, random policy", "MCTS, random values"} <= {
        point["method"] for point in result["points"]
    }


def test_solve_shows_the_steps_and_hides_reasoning() -> None:
    words = "--env stepgym/Countdown-v0 --agent mcts --policy random".split()
    shown = CliRunner().invoke(solve_command, words, catch_exceptions=False).output
    assert "Reach" in shown and "answer:" in shown
    records = CliRunner().invoke(solve_command, [*words, "--json"], catch_exceptions=False).stdout
    assert json.loads(records.splitlines()[0])["path"][0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--env stepgym/Cuontdown-v0", "did you mean"),
        ("--env stepgym/Countdown-v0 --agent mtcs", "did you mean 'mcts'"),
        ("--env stepgym/Countdown-v0 --policy radnom", "did you mean 'random'"),
        (
            "--env stepgym/Countdown-v0 --policy random --agent beam --agent-option widht=3",
            "no setting 'widht'",
        ),
        ("--env stepgym/Countdown-v0 --policy random --curve x --widths 0", "--widths"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(words: str, message: str) -> None:
    done = CliRunner().invoke(eval_command, words.split())
    assert done.exit_code == 2
    assert message in done.output


def point(width: int, outcomes: tuple[int, ...]) -> Point:
    share = sum(outcomes) / len(outcomes)
    return Point(
        method="beam",
        width=width,
        solved=share,
        ci=Interval(0, 1),
        new_tokens=1,
        flops=0,
        model_calls=1,
        control=False,
        outcomes=outcomes,
    )


def test_a_fall_with_width_is_a_warning_and_noise_is_not() -> None:
    good, worse, bad = (1,) * 40 + (0,) * 10, (1,) * 39 + (0,) * 11, (1,) * 10 + (0,) * 40
    assert not over_optimised([point(1, good), point(4, worse)])
    (warning,) = over_optimised([point(1, worse), point(2, good), point(8, bad)])
    assert "beam: solved falls from 0.800 at width 2 to 0.200 at width 8" in warning


def test_intervals() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(50, 100)
    assert (round(low, 3), round(high, 3)) == (0.404, 0.596), "Wilson 1927, 50 of 100"
    assert bootstrap_mean([1.0] * 20) == (1.0, 1.0)


COUNTDOWN = "--env stepgym/Countdown-v0 --policy random --episodes 2".split()


def test_eval_says_when_the_search_saw_verdicts() -> None:
    seen = CliRunner().invoke(eval_command, COUNTDOWN, catch_exceptions=False)
    blind = CliRunner().invoke(eval_command, [*COUNTDOWN, "--no-verdicts"], catch_exceptions=False)
    assert "allowed to check answers" in seen.output
    assert "allowed to check" not in blind.output


@pytest.mark.parametrize(
    "option", [["--agent", "mcts"], ["--agent", "greedy"], ["--agent-option", "n=4"]]
)
def test_a_curve_refuses_a_single_agent(option: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(
        eval_command, [*COUNTDOWN, *option, "--curve", str(tmp_path / "curve")]
    )
    assert done.exit_code == 2 and f"leave out {option[0]}" in done.output
    assert not list(tmp_path.iterdir())


def test_a_curve_keeps_the_budget(tmp_path: Path) -> None:
    words = [*COUNTDOWN, "--widths", "8", "--budget-calls", "2", "--parallel", "1", "--continuous"]
    done = CliRunner().invoke(
        eval_command, [*words, "--curve", str(tmp_path / "curve")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    points = json.loads((tmp_path / "curve.json").read_text())["points"]
    assert max(point["model_calls"] for point in points) <= 2

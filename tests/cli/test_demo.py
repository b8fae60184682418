"""`stepgym demo` writes what it says it writes, with the models that come with the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.cli import main


def test_the_demo_in_small(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["demo", "--out", str(tmp_path / "demo"), "--problems", "6", "--episodes", "4"]
    )
    assert result.exit_code == 0, result.output
    shares = dict(re.findall(r"│ (\w+)[^│]*│ embedded +│ +(\d+)%", result.output))
    assert set(shares) == {"greedy", "best_of_n", "beam", "mcts"}
    written = {path.name for path in (tmp_path / "demo").iterdir()}
    assert written == {
        "run",
        "sft.parquet",
        "preference.parquet",
        "steps.parquet",
        "tree.parquet",
        "page.html",
    }


@pytest.mark.parametrize("wrong", [["--policy", "embeded"], ["--level", "99"]])
def test_what_cannot_be_shown_says_why(wrong: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["demo", "--out", str(tmp_path / "demo"), "--problems", "1", *wrong]
    )
    assert result.exit_code == 2 and "Error:" in result.output

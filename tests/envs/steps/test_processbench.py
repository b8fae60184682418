"""Labelled solutions: reading them, the figures, and what is reached on published files."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.cli import main
from stepgym.envs.steps.processbench import measure, read_labelled

ROWS = [
    {"id": "hit", "problem": "", "steps": ["1 + 1 = 2", "2 + 2 = 5"], "label": 1},
    {"id": "missed", "problem": "", "steps": ["It is so."], "label": 0},
    {"id": "right", "problem": "", "steps": ["1 + 1 = 2"], "label": -1},
    {"id": "label wrong", "problem": "", "steps": ["1 + 1 = 3"], "label": -1},
]


def test_figures_follow_from_first_flags(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    figures = measure(read_labelled(file))
    assert (figures.num_erroneous, figures.num_correct) == (2, 2)
    assert (figures.error_accuracy, figures.correct_accuracy, figures.f1) == (0.5, 0.5, 0.5)
    assert figures.flagged_precision == 1.0
    assert [flag.id for flag in figures.disagreements] == ["label wrong"]
    assert figures.f1_undisputed == pytest.approx(2 / 3), "1 of 2 errors, 1 of 1 correct"
    done = CliRunner().invoke(main, ["steps", str(file), "--json"])
    assert done.exit_code == 0 and json.loads(done.output)["f1"] == 0.5
    assert "label wrong: step 0 is wrong" in CliRunner().invoke(main, ["steps", str(file)]).output


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"steps": "one"}]', "row 1: 'steps' is not a list"),
        ('[{"steps": ["one"]}]', "row 1: label is 'missing'"),
        ('[{"steps": ["one"], "label": 1}]', "row 1: label is 1"),
        ("{", "line 1"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_row(
    tmp_path: Path, text: str, fault: str
) -> None:
    file = tmp_path / "rows.json"
    file.write_text(text)
    done = CliRunner().invoke(main, ["steps", str(file)])
    assert done.exit_code == 2 and fault in done.output


DATA = os.environ.get("STEPGYM_DATA")


@pytest.mark.skipif(not DATA, reason="STEPGYM_DATA names no folder with the published files")
def test_published_files() -> None:
    gsm8k = measure(read_labelled(Path(str(DATA)) / "processbench_gsm8k.json"))
    assert gsm8k.correct_accuracy is not None and gsm8k.correct_accuracy >= 0.98
    assert gsm8k.flagged_precision is not None and gsm8k.flagged_precision >= 0.8
    assert gsm8k.error_accuracy is not None and gsm8k.error_accuracy >= 0.13
    sums = measure(read_labelled(Path(str(DATA)) / "bigbench_mistake_arithmetic.jsonl"))
    assert sums.error_accuracy is not None and sums.error_accuracy >= 0.98
    assert sums.correct_accuracy is not None and sums.correct_accuracy >= 0.75
    assert sums.f1_undisputed is not None and sums.f1_undisputed >= 0.99
    assert len(sums.disagreements) == 18
    for flag in sums.disagreements:
        proof = re.fullmatch(r"(.+) is (-?\d+), not (.+)", flag.reason)
        assert proof is not None, flag
        left, value, right = (eval(side) for side in proof.groups())
        assert left == value != right, flag

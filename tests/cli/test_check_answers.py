"""`stepgym check-answers`: counts, verdicts written out, and errors that name the line."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from stepgym.cli.check_answers import command


def test_it_counts_and_writes_the_verdicts(tmp_path: Path) -> None:
    rows = [
        {"gold": "1/2", "said": "\\boxed{0.5}"},
        {"gold": 7, "said": "8"},
        {"gold": "\\frac{", "said": "1"},
    ]
    source, out = tmp_path / "answers.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    arguments = [str(source), "--answer", "said", "--reference", "gold", "--out", str(out)]
    found = CliRunner().invoke(command, [*arguments, "--json"])
    assert found.exit_code == 0, found.output
    summary = json.loads(found.stdout.strip().splitlines()[-1])
    assert {name: summary[name] for name in ("pairs", "correct", "incorrect", "undecided")} == {
        "pairs": 3,
        "correct": 1,
        "incorrect": 1,
        "undecided": 1,
    }
    written = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["verdict"]["status"] for row in written] == ["correct", "incorrect", "undecided"]
    assert written[0]["said"] == "\\boxed{0.5}"
    assert "decided by" in CliRunner().invoke(command, arguments).output


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    source = tmp_path / "bad.jsonl"
    source.write_text('{"answer": "1", "reference": "1"}\nnot json\n', encoding="utf-8")
    found = CliRunner().invoke(command, [str(source)])
    assert found.exit_code == 2
    assert "bad.jsonl:2: not JSON" in found.output
    source.write_text('{"reply": "1", "reference": "1"}\n', encoding="utf-8")
    found = CliRunner().invoke(command, [str(source)])
    assert "bad.jsonl:1: no column 'answer'; the line has 'reply', 'reference'" in found.output


def test_workers_give_the_same_verdicts_in_the_same_order(tmp_path: Path) -> None:
    source = tmp_path / "answers.jsonl"
    rows = [{"answer": str(i % 7), "reference": str(i % 5)} for i in range(200)]
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name, more in (("here", []), ("there", ["--workers", "2"])):
        found = CliRunner().invoke(command, [str(source), "--out", str(tmp_path / name), *more])
        assert found.exit_code == 0, found.output
    assert (tmp_path / "here").read_text() == (tmp_path / "there").read_text()
    wrong = CliRunner().invoke(command, [str(source), "--workers", "none"])
    assert wrong.exit_code == 2 and "'none' should be a number above 0" in wrong.output

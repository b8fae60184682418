"""Claim A: every method stays inside the large model's FLOPs, and the run resumes."""

from __future__ import annotations

from pathlib import Path

from stepgym.selfplay.small_beats_large import METHODS, small_beats_large


def test_small_beats_large_runs_and_keeps_its_budget(tmp_path: Path) -> None:
    results = small_beats_large(tmp_path, seeds=1, num_problems=3, steps=3, tell=lambda line: None)
    rows = {row["name"]: row for row in results["methods"]}
    assert rows.keys() == {method.name for method in METHODS}
    assert rows["large greedy"]["parameters"] >= 14 * rows["small greedy"]["parameters"]
    for method in METHODS:
        if method.matched:
            assert rows[method.name]["mflop"] <= rows["large greedy"]["mflop"] * 1.0001, method.name
    assert (tmp_path / "figure.png").is_file()

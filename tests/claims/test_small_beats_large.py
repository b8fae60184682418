"""Claim A: settings are chosen by FLOPs alone and keep to the allowance; the intervals count seeds; a run resumes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.intervals import bootstrap_groups
from stepgym.claims.small_beats_large.claim import (
    Method,
    Outcome,
    methods,
    small_beats_large,
    widest,
)

values = st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=20), min_size=1, max_size=4)


@given(values)
def test_an_interval_over_seeds_and_problems_holds_the_mean(groups: list[list[int]]) -> None:
    low, high = bootstrap_groups(groups, resamples=200)
    mean = sum(sum(group) / len(group) for group in groups) / len(groups)
    assert 0 <= low <= high <= 1
    assert low - 0.3 <= mean <= high + 0.3


def test_seeds_that_differ_widen_the_interval() -> None:
    alike, apart = [[0, 1] * 200] * 3, [[0, 0] * 200, [0, 1] * 200, [1, 1] * 200]
    narrow, wide = bootstrap_groups(alike), bootstrap_groups(apart)
    assert narrow.high - narrow.low < 0.1 < 0.5 < wide.high - wide.low
    assert math.isnan(bootstrap_groups([]).low)


@pytest.mark.parametrize(
    ("costs", "allowance", "on_average", "n"),
    [
        ([3, 3, 3], 9, False, 3),  # the widest that fits
        ([3, 3, 3], 2, False, 1),  # none fits: the narrowest
        ([1, 1, 4], 8, False, 2),  # no problem may cost more
        ([1, 1, 4], 8, True, 4),  # all together may not
        ([1] * 30 + [9], 30, False, 3),  # what the pilot did not see makes it step down
    ],
)
def test_the_widest_settings_within_the_allowance_are_taken(
    costs: list[int], allowance: int, on_average: bool, n: int
) -> None:
    def play(settings: object, problems: object) -> Outcome:
        width = settings["n"]  # type: ignore[index]
        return Outcome(settings, [0] * len(problems), [width * cost for cost in problems])  # type: ignore[arg-type,attr-defined]

    ladder = tuple({"n": n} for n in (1, 2, 3, 4))
    method = Method(name="x", ladder=ladder, on_average=on_average)
    assert widest(play, method, costs, allowance).settings == {"n": n}  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["countdown", "sums"])
def test_the_claim_runs_keeps_its_budget_and_resumes(tmp_path: Path, family: str) -> None:
    told: list[str] = []
    settings = {
        "seeds": 1,
        "families": [family],
        "num_problems": 3,
        "steps": 4,
        "write_line": told.append,
    }
    results = small_beats_large(tmp_path, **settings)  # type: ignore[arg-type]
    known = {method.name: method for method in methods(family == "countdown")}
    for measured in results["families"]:
        rows = {row["name"]: row for row in measured["methods"]}
        assert rows.keys() == known.keys()
        assert rows["large greedy"]["parameters"] >= 14 * rows["small greedy"]["parameters"]
        for name, row in rows.items():
            if not name.startswith("control") and known[name].ladder != known[name].ladder[:1]:
                spent = row["mflop"] if known[name].on_average else row["mflop_most"]
                assert spent <= rows["large greedy"]["mflop"] * 1.0001, name
    assert (tmp_path / "figure.png").is_file()
    told.clear()
    assert small_beats_large(tmp_path, **settings) == results  # type: ignore[arg-type]
    assert told == []
    with pytest.raises(ValueError, match="other settings"):
        small_beats_large(tmp_path, **{**settings, "num_problems": 4})  # type: ignore[arg-type]

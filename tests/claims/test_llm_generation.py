"""The claim `llm-generation`: how its measurements are compared."""

from __future__ import annotations

import pytest

from stepgym.claims.llm_generation.claim import compared


def test_problems_without_a_verdict_count_neither_as_solved_nor_as_unsolved() -> None:
    before, after = {"solved": [1, 0, None, 0]}, {"solved": [1, 1, 1, None]}
    rows = compared([before, after])
    assert [row["share"] for row in rows] == pytest.approx([1 / 3, 1])
    assert rows[1]["gain"] == pytest.approx(1 / 2), "over the two problems that both decided"


def test_a_measurement_without_any_verdict_has_no_interval() -> None:
    [row] = compared([{"solved": [None, None]}])
    assert row["share"] == 0 and row["ci"] == [0.0, 1.0]

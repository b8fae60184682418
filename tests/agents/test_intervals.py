"""Intervals of many problems are drawn in pieces."""

from __future__ import annotations

import pytest

from stepgym.agents import intervals


def test_the_pieces_of_a_bootstrap_give_the_interval_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = [number % 7 / 7 for number in range(301)]
    whole = intervals.bootstrap_mean(values)
    monkeypatch.setattr(intervals, "MAX_DRAWN", 1000)
    assert intervals.bootstrap_mean(values) == whole
    assert whole.low < sum(values) / len(values) < whole.high

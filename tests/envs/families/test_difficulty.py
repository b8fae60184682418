"""Difficulty rises with the level in every family, by the measures of `benchmarks/difficulty.py`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from stepgym.envs.registry import FAMILIES


@pytest.fixture(scope="module")
def difficulty() -> ModuleType:
    file = Path(__file__).parents[3] / "benchmarks" / "difficulty.py"
    spec = importlib.util.spec_from_file_location("difficulty", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FAMILIES)
def test_work_rises_with_the_level(difficulty: ModuleType, name: str) -> None:
    pairs = [(level, n) for level in range(1, 11) for n in difficulty.work(name, level, 4)]
    assert difficulty.spearman(pairs) > 0.4


@pytest.mark.parametrize("name", ["Countdown", "GraphColouring", "Hanoi", "SlidingTiles"])
def test_random_play_solves_less_at_a_high_level(difficulty: ModuleType, name: str) -> None:
    low, high = (difficulty.random_play(name, level, 12) for level in (1, 9))
    assert low > high + 0.2


def test_ranks_and_their_correlation(difficulty: ModuleType) -> None:
    assert difficulty.spearman([(1, 10), (2, 20), (3, 1000)]) == pytest.approx(1)
    assert difficulty.spearman([(1, 5), (2, 4), (3, 3)]) == pytest.approx(-1)
    assert difficulty._ranks([7, 3, 7, 9]) == [1.5, 0, 1.5, 3]


def test_a_search_that_finds_nothing_says_so_and_a_long_one_stops(difficulty: ModuleType) -> None:
    with pytest.raises(ValueError, match="no solution"):
        difficulty.counted(iter([False, False]))
    assert difficulty.counted(iter([False, True, False])) == 2
    assert difficulty.counted(iter(lambda: False, True)) == difficulty.MOST

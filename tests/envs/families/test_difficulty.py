"""Difficulty rises with the level in every family, by the measures of `benchmarks/difficulty.py`."""

from __future__ import annotations

import importlib
import operator
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.registry import FAMILIES, load_env

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[3] / "benchmarks")
    difficulty = importlib.import_module("difficulty")
    arithmetic = importlib.import_module("paper_arithmetic")
    solver = importlib.import_module("paper_solver")

whole = st.integers(-(10**6), 10**6)


def paper(seed: int = 0, slip: float = 0.0) -> Any:
    return arithmetic.Paper(random.Random(seed), slip=slip)


@pytest.mark.parametrize("name", FAMILIES)
def test_work_rises_with_the_level(name: str) -> None:
    pairs = [(level, n) for level in range(1, 11) for n in difficulty.work(name, level, 4)]
    assert difficulty.spearman(pairs) > 0.4


@pytest.mark.parametrize("name", ["Countdown", "GraphColouring", "Hanoi", "SlidingTiles"])
def test_random_play_solves_less_at_a_high_level(name: str) -> None:
    low, high = (difficulty.num_solved(name, level, 12) for level in (1, 9))
    assert low > high + 2


@pytest.mark.parametrize("name", solver.SOLVERS)
def test_a_solver_without_slips_solves_every_problem(name: str) -> None:
    for level in range(1, 11):
        env = load_env(f"{name}-v0", level=level, seed=level + 100)
        for index in range(2):
            assert solver.is_solved(env, index, name, paper()), env.problems[index]


@pytest.mark.parametrize("name", solver.SOLVERS)
def test_a_solver_with_slips_solves_less_at_high_levels(name: str) -> None:
    levels = (1, 4, 7, 10)
    solved = [difficulty.num_solved(name, level, 16) for level in levels]
    assert solved[0] > solved[-1]
    assert difficulty.spearman(list(zip(levels, solved))) < 0


def test_every_family_has_one_measure() -> None:
    assert sorted([*difficulty.MEASURES, *solver.SOLVERS]) == sorted(FAMILIES)
    assert difficulty.num_solved("Knapsack", 1, 1) is None


@given(whole, whole, st.sampled_from([operator.add, operator.sub, operator.mul]))
def test_paper_without_slips_is_exact(a: int, b: int, operation: Any) -> None:
    page = paper()
    assert int(operation(page.number(a), page.number(b))) == operation(a, b)
    assert page.is_less(a, b) == (a < b)
    if b:
        assert page.divide(a, b) == divmod(a, b)
        assert str(page.number(a) / b) == str(Fraction(a, b))
    assert int(arithmetic.square_root(page.number(abs(a)))) ** 2 <= abs(a)


@given(st.integers(10**3, 10**6), st.integers(10**3, 10**6), st.integers(0, 100))
def test_a_slip_changes_one_place_and_costs_nothing(a: int, b: int, seed: int) -> None:
    exact, wrong = paper(), paper(seed, slip=0.05)
    right, sum_written = exact.add(a, b), wrong.add(a, b)
    assert exact.num_operations == wrong.num_operations == max(len(str(a)), len(str(b)))
    assert abs(sum_written - right) < 10 ** (exact.num_operations + 1)
    always = paper(seed, slip=1 - 1e-12)
    assert len(list(always.slips(7))) == 7


def test_slips_come_as_often_as_their_probability() -> None:
    page = paper(slip=0.02)
    places = [len(list(page.slips(count))) for count in [1, 3, 10, 100] * 300]
    assert 0.017 < sum(places) / page.num_operations < 0.023


def test_a_solver_that_cannot_go_on_has_no_answer() -> None:
    assert solver.solve("Primes", "What is the largest prime factor of 10403?", paper()) is None
    assert (
        solver.solve("Limits", "the limit of (x + 1) / (x - 1) as x approaches 1", paper()) is None
    )
    assert str(arithmetic.square_root(paper().number(99))) == "9"
    endless = arithmetic.Paper(random.Random(0), max_operations=10)
    with pytest.raises(arithmetic.GaveUpError, match="more than 10"):
        endless.multiply(12345, 12345)


def test_ranks_and_their_correlation() -> None:
    assert difficulty.spearman([(1, 10), (2, 20), (3, 1000)]) == pytest.approx(1)
    assert difficulty.spearman([(1, 5), (2, 4), (3, 3)]) == pytest.approx(-1)
    assert difficulty._ranks([7, 3, 7, 9]) == [1.5, 0, 1.5, 3]


def test_a_search_that_finds_nothing_says_so_and_a_long_one_stops() -> None:
    with pytest.raises(ValueError, match="no solution"):
        difficulty.counted(iter([False, False]))
    assert difficulty.counted(iter([False, True, False])) == 2
    assert difficulty.counted(iter(lambda: False, True)) == difficulty.MOST

"""The adaptive level: laws on any outcomes, and a student whose success falls with the level."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.curriculum import Curriculum


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 20))
def test_it_stays_in_range_and_moves_one_level_at_a_time(outcomes: list[bool], window: int) -> None:
    course = Curriculum(level=3, highest=6, window=window)
    for outcome in outcomes:
        after = course.observe(outcome)
        assert 1 <= after.level <= 6 and abs(after.level - course.level) <= 1
        assert len(after.recent) <= window
        assert Curriculum.from_json(json.loads(json.dumps(after.to_json()))) == after
        course = after


@pytest.mark.parametrize(("skill", "expected"), [(1.5, {1, 2}), (4.5, {4, 5}), (9.5, {9, 10})])
def test_it_finds_the_level_of_a_student(skill: float, expected: set[int]) -> None:
    """A student who succeeds nine times in ten below their skill and once in ten above it."""
    chance, course, levels = random.Random(0), Curriculum(window=16), []
    for _ in range(2_000):
        course = course.observe(chance.random() < (0.9 if course.level < skill else 0.1))
        levels.append(course.level)
    assert set(levels[1_000:]) <= {min(expected) - 1, *expected, max(expected) + 1}
    assert sum(level in expected for level in levels[1_000:]) > 800


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"level": 11}, "level 11 is not between 1 and 10"),
        ({"low": 0.8}, "not 0.8 to 0.7"),
        ({"window": 0}, "not 0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Curriculum(**settings)  # type: ignore[arg-type]

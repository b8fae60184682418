"""Procedural sets: items are hashed, so that no two seeds share a stretch of them."""

from __future__ import annotations

import pickle
import random
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.problem_sets import Draft, ProceduralSet, item_entropy, item_random


def number(rng: random.Random, level: int) -> Draft:
    return Draft(str(rng.getrandbits(64)), "0")


SEEDS = st.integers(0, 2**80)
ITEMS = st.tuples(SEEDS, st.integers(1, 10), st.integers(0, 2**62))


@given(ITEMS, ITEMS)
def test_different_items_go_into_the_hash_as_different_words(
    one: tuple[int, int, int], other: tuple[int, int, int]
) -> None:
    words, others = item_entropy(*one), item_entropy(*other)
    assert (words == others) == (one == other)
    assert all(0 <= word < 2**32 for word in words)
    assert words[0] == len(words) - 4, (
        "the count of the seed's words stands first, so that no padding is ambiguous"
    )


@given(SEEDS, st.integers(1, 100), st.integers(-6, 6), st.integers(1, 10))
def test_no_seed_is_another_seed_shifted(seed: int, further: int, shift: int, level: int) -> None:
    one = ProceduralSet("numbers", number, level, seed)
    other = one.with_seed(seed + further)
    first = {one[i].prompt for i in range(10)}
    assert first.isdisjoint(other[i + shift].prompt for i in range(10) if i + shift >= 0)


@given(ITEMS)
def test_an_item_is_a_pure_function(item: tuple[int, int, int]) -> None:
    seed, level, index = item
    problems = ProceduralSet("numbers", number, level, seed)
    assert problems[index] == pickle.loads(pickle.dumps(problems))[index]
    assert problems[index].id == f"numbers/level-{level}/seed-{seed}/{index}"


def test_the_stream_is_the_same_on_every_machine() -> None:
    """Golden values: a change here gives every problem of every release another content under the same id."""
    assert [item_random(0, 1, i).randrange(1000) for i in range(5)] == [456, 174, 376, 752, 465]
    assert item_random(2**70, 3, 2**40).randrange(1000) == 840


@pytest.mark.parametrize("level", [0, 11, -1, "3", None])
def test_a_level_outside_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match=f"levels 1 to 10, not {level!r}"):
        ProceduralSet("numbers", number, level)


def test_a_negative_seed_and_a_negative_index_are_refused() -> None:
    with pytest.raises(ValueError, match="not -1"):
        ProceduralSet("numbers", number, 1, -1)
    with pytest.raises(IndexError, match="not -1"):
        ProceduralSet("numbers", number)[-1]
    assert len(ProceduralSet("numbers", number)) == sys.maxsize

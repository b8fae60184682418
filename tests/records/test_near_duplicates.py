"""Near-duplicate problems: which are alike, and which episodes on them are kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord
from stepgym.records.near_duplicates import likeness, without_near_duplicates

from .trees import TREE

PROMPTS = st.lists(
    st.sampled_from(["add", "3", "7", "30", "modulo", "Add"]), min_size=1, max_size=5
).map(" ".join)
EPISODE = st.builds(
    lambda prompt, env_id: replace(TREE, prompt=prompt, env_id=env_id),
    PROMPTS,
    st.sampled_from(["sums", "words"]),
)


@given(st.lists(st.lists(EPISODE, max_size=5), max_size=3), st.lists(PROMPTS, max_size=2))
def test_the_newest_episode_on_each_problem_of_an_environment_is_kept(
    generations: list[list[EpisodeRecord]], apart: list[str]
) -> None:
    numbered = [
        [replace(record, problem_id=f"{g}/{i}") for i, record in enumerate(row)]
        for g, row in enumerate(generations)
    ]
    kept = without_near_duplicates(numbered, apart=apart)
    assert without_near_duplicates(kept, apart=apart) == kept
    held_out = set(map(likeness, apart))
    every = [record for row in numbered for record in row]
    newest = {
        (record.env_id, likeness(record.prompt)): record
        for record in every
        if likeness(record.prompt) not in held_out
    }
    for before, after in zip(numbered, kept, strict=True):
        assert after == [record for record in before if record in newest.values()]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Add 3, 7, 30 modulo 31", "Add 30, 3, 7 modulo 31", True),  # a sum has no order
        ("Add 3, 7", "add  3,7", True),  # case and spacing
        ("Add 3, 7", "Add 37", False),  # other numbers
        ("Add 3, 7", "Add 3, 7, 7", False),  # once more
    ],
)
def test_what_counts_as_a_near_duplicate(one: str, other: str, same: bool) -> None:
    assert (likeness(one) == likeness(other)) is same

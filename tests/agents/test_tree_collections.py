"""Searches make full garbage collections rarer while they run, and restore the thresholds."""

import gc
from collections.abc import Iterator

import pytest

from stepgym.agents.tree_collections import RARER, rare_full_collections


@pytest.fixture(autouse=True)
def own_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(701, 11, 12)
    yield
    gc.set_threshold(*before)


def test_only_full_collections_become_rarer_and_the_last_search_restores_them() -> None:
    first, second = rare_full_collections(), rare_full_collections()
    with first:
        assert gc.get_threshold() == (701, 11, 12 * RARER)
        second.__enter__()
        assert gc.get_threshold() == (701, 11, 12 * RARER)
    assert gc.get_threshold() == (701, 11, 12 * RARER), "another search still runs"
    second.__exit__(None, None, None)
    assert gc.get_threshold() == (701, 11, 12)


def test_thresholds_are_restored_after_an_error() -> None:
    with pytest.raises(KeyError), rare_full_collections():
        raise KeyError
    assert gc.get_threshold() == (701, 11, 12)


def test_thresholds_that_the_caller_changes_meanwhile_are_kept() -> None:
    with rare_full_collections():
        gc.set_threshold(500, 5, 5)
    assert gc.get_threshold() == (500, 5, 5)

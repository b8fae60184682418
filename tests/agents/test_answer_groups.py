"""Votes: which answers are the same, by how many comparisons, and after tree reuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents import SearchTree, load_search, run_search
from stepgym.agents.answer_groups import (
    AnswerComparison,
    AnswerGroups,
    group_answers,
    group_texts,
    known_groups,
)
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.agents.tree_reuse import subtree
from stepgym.envs.families.words import SameWord, WordsDomain, WordsVerifier
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.types import End, State


def tree_of(answers: Sequence[str]) -> SearchTree:
    """A tree whose node `i + 1` has answer `i`."""
    tree = SearchTree("p", [State("p")])
    tree.states += [State("p", answer=answer, end=End.ANSWERED) for answer in answers]
    return tree


class CaseBlind(WordsVerifier):
    """Letters in upper and lower case are the same."""

    calls = 0
    compared = 0

    def same(self, a: str, b: str) -> bool:
        type(self).compared += 1
        return a.lower() == b.lower()


CASE_BLIND = AnswerComparison.of(CaseBlind())


class Batched(CaseBlind):
    def same_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        type(self).calls += 1
        return [self.same(a, b) for a, b in pairs]


class Keyed(CaseBlind):
    def answer_key(self, answer: str) -> str | None:
        return None if answer.startswith("z") else answer.lower()


def grouped(answers: Sequence[str], verifier: Any, *, rounds: int = 1) -> dict[int, int]:
    tree, known = tree_of(answers), AnswerGroups()
    nodes = list(range(1, len(answers) + 1))
    for start in range(rounds):
        group_answers(
            [tree], [known], [nodes[start::rounds]], comparison=AnswerComparison.of(verifier)
        )
    return tree.groups


@given(
    st.lists(st.text("abABzZ", min_size=1, max_size=2), max_size=12),
    st.integers(1, 3),
    st.sampled_from([CaseBlind(), Batched(), Keyed()]),
)
def test_answers_are_in_one_group_if_and_only_if_they_are_the_same(
    answers: list[str], rounds: int, verifier: Any
) -> None:
    groups = grouped(answers, verifier, rounds=rounds)
    assert groups.keys() == set(range(1, len(answers) + 1))
    for a, first in enumerate(answers, start=1):
        for b, second in enumerate(answers, start=1):
            assert (groups[a] == groups[b]) == (first.lower() == second.lower())
    assert all(groups[first] == first for first in groups.values())


def test_keys_need_no_comparison() -> None:
    answers = [f"{'a' * n}" for n in range(1, 200)] + ["A" * n for n in range(1, 200)]
    Keyed.compared = 0
    groups = grouped(answers, Keyed())
    assert len(set(groups.values())) == 199
    assert Keyed.compared == 0


def test_comparisons_of_all_trees_share_their_calls() -> None:
    trees = [tree_of(["a", "b", "A", "c", "B"]) for _ in range(10)]
    Batched.calls = 0
    group_answers(
        trees,
        [AnswerGroups() for _ in trees],
        [range(1, 6)] * 10,
        comparison=AnswerComparison.of(Batched()),
    )
    assert all(tree.groups == {1: 1, 2: 2, 3: 1, 4: 4, 5: 2} for tree in trees)
    assert Batched.calls == 2, "one per group that others are compared with"


def test_numbers_are_grouped_by_value() -> None:
    answers = ["7", "7.0", "\\frac{14}{2}", "8", "x+1", "1+x"]
    assert grouped(answers, MathVerifier()) == {1: 1, 2: 1, 3: 1, 4: 4, 5: 5, 6: 5}


def test_a_comparison_that_fails_keeps_answers_apart_and_leaves_a_note() -> None:
    class Broken(WordsVerifier):
        def same(self, a: str, b: str) -> bool:
            raise RuntimeError("boom")

    tree = tree_of(["a", "b"])
    group_answers([tree], [AnswerGroups()], [[1, 2]], comparison=AnswerComparison.of(Broken()))
    assert tree.groups == {1: 1, 2: 2}
    assert "verifier: RuntimeError: boom" in tree.notes[2]


def test_votes_are_not_split_after_tree_reuse() -> None:
    """Answers of the earlier search and of the later one are one vote."""
    tree = tree_of(["a", "b"])
    group_answers([tree], [AnswerGroups()], [[1, 2]], comparison=CASE_BLIND)
    tree.states += [State("p", answer=answer, end=End.ANSWERED) for answer in ("A", "a", "b")]
    group_answers([tree], [known_groups(tree, CASE_BLIND)], [[3, 4, 5]], comparison=CASE_BLIND)
    assert tree.groups == {1: 1, 2: 2, 3: 1, 4: 1, 5: 2}


def test_a_search_in_a_subtree_counts_the_votes_of_both() -> None:
    script = {(): ["a", "a", "a"], ("a",): ["b", "c", "c", "B", "B"]}

    def grow(n: int, trees: Sequence[SearchTree] | None = None) -> SearchTree:
        (tree,) = run_search(
            [SameWord("ab", 1)[0]],
            domain=WordsDomain(2),
            policy=ScriptedPolicy(script),
            search=load_search("best_of_n", n=n),
            verifier=CaseBlind(),
            trees=trees,
        )
        return tree

    tree = grow(5, [subtree(grow(3), 1)])
    answers = {state.answer: visits for state, visits in zip(tree.states, tree.visits)}
    assert answers == {None: 5, "ab": 1, "ac": 2, "aB": 2}
    best = load_search("best_of_n", n=5, pick="vote").best(tree)
    assert tree.states[best].answer == "ab", "ab and aB are three votes against two"


@given(st.lists(st.sampled_from("aAbBzZ"), max_size=8))
def test_texts_are_grouped_with_the_first_that_is_the_same(texts: list[str]) -> None:
    for verifier in (CaseBlind(), Batched(), Keyed()):
        found = group_texts(texts, AnswerComparison.of(verifier))
        lower = [text.lower() for text in texts]
        assert found == [lower.index(text) for text in lower]


def test_texts_with_keys_need_no_comparison() -> None:
    Keyed.compared = 0
    group_texts(list("abcdefgABCDEFG"), AnswerComparison.of(Keyed()))
    assert Keyed.compared == 0

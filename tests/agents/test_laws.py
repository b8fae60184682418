"""Laws that hold for every search, whatever the policy, the values and the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import Budget, SearchTree, load_search, run_search
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel
from stepgym.agents.registry import SEARCHES
from stepgym.agents.search.puct import MCTSMemory
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus
from stepgym.envs.families.words import SameWord, WordsDomain, same_word_env
from stepgym.envs.types import State

ENV = same_word_env()
MCTS_SETTINGS: list[dict[str, Any]] = [
    {},
    {"until_end": False},
    {"leaves": 1, "widen": 0.0},
    {"leaves": 16, "backup_rule": "max", "rollout_width": 1},
    {"root_noise": "dirichlet", "outcome_weight": 0.5},
    {"root_noise": "gumbel", "width": 8, "merge": False},
]


def grow(
    name: str,
    count: int = 3,
    *,
    seed: int = 0,
    continuous: bool = False,
    see: bool = False,
    **rest: Any,
) -> list[SearchTree]:
    problems = SameWord(count=count)
    return run_search(
        [problems[i] for i in range(count)],
        domain=ENV.domain,
        policy=RandomLegalPolicy(seed),
        reward_model=RandomRewardModel(seed),
        search=load_search(name, seed=seed, **rest.pop("settings", {})),
        verifier=ENV.verifier,
        see_verdicts=see,
        continuous=continuous,
        **rest,
    )


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("see", [False, True])
def test_both_drivers_grow_the_same_trees(name: str, see: bool) -> None:
    assert grow(name, 5, see=see) == grow(name, 5, see=see, continuous=True)


@pytest.mark.parametrize("name", SEARCHES)
def test_the_same_seed_gives_the_same_tree_and_another_seed_another(name: str) -> None:
    assert grow(name, seed=7) == grow(name, seed=7)
    assert grow(name, seed=7) != grow(name, seed=8)


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "adaptive"])
def test_a_tree_does_not_depend_on_how_many_grow_beside_it(name: str) -> None:
    # not adaptive, whose whole point is to share one budget
    assert grow(name, 1)[0] == grow(name, 6)[0]


@pytest.mark.parametrize("name", SEARCHES)
def test_the_arrays_agree_with_each_other(name: str) -> None:
    for tree in grow(name, see=True):
        arrays = (
            tree.parent,
            tree.children,
            tree.prior,
            tree.score,
            tree.visits,
            tree.value,
            tree.status,
            tree.asked,
        )
        assert {len(array) for array in arrays} == {len(tree)}
        assert tree.parent[ROOT] == NO_PARENT
        for node, children in enumerate(tree.children):
            assert all(tree.parent[child] == node < child for child in children)
            assert len({tree.states[child].steps[-1] for child in children}) == len(children), (
                "equal siblings are one"
            )
        assert all(
            tree.states[node].done == (tree.status[node] is NodeStatus.ENDED)
            for node in range(1, len(tree))
        )


@pytest.mark.parametrize("name", SEARCHES)
def test_best_is_an_answer_once_there_is_one(name: str) -> None:
    for tree in grow(name):
        assert tree.states[load_search(name).best(tree)].answer is not None


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(MCTS_SETTINGS), st.integers(1, 60), st.integers(0, 5))
def test_visits_are_own_and_childrens(options: dict[str, Any], simulations: int, seed: int) -> None:
    for tree in grow("mcts", 2, seed=seed, settings={**options, "simulations": simulations}):
        own = [
            tree.visits[node] - sum(tree.visits[c] for c in tree.children[node])
            for node in range(len(tree))
        ]
        assert min(own) >= 0
        assert sum(own) == tree.visits[ROOT] == tree.memory[MCTSMemory].started <= simulations
        assert all(0.0 <= value <= 1.0 for value in tree.value)
        for children in tree.children:
            assert not children or sum(tree.prior[c] for c in children) == pytest.approx(1.0)
        ends = [node for node in range(len(tree)) if tree.status[node] is NodeStatus.ENDED]
        assert all(tree.visits[node] <= 1 for node in ends), "an end is visited once"


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(SEARCHES)),
    st.sampled_from(["model_calls", "new_tokens"]),
    st.integers(1, 60),
    st.booleans(),
)
def test_no_budget_is_overspent_by_more_than_a_round(
    name: str, limit: str, most: int, continuous: bool
) -> None:
    free = grow(name, 2)
    for tree, unlimited in zip(
        grow(name, 2, budget=Budget(**{limit: most}), continuous=continuous), free
    ):
        spent = getattr(tree.usage, limit)
        # Two calls a round; the largest round of any of these asks for 64 letters of one token each.
        one_round = 2 if limit == "model_calls" else 64
        assert spent < most + one_round
        assert spent >= min(most, getattr(unlimited.usage, limit)) or name == "adaptive"


@pytest.mark.parametrize("continuous", [False, True])
def test_a_run_budget_limits_all_together(continuous: bool) -> None:
    trees = grow("mcts", 8, run_budget=Budget(new_tokens=60), continuous=continuous)
    assert sum(tree.usage.new_tokens for tree in trees) < 60 + 8 * 64
    assert all(len(tree) > 0 for tree in trees)


@pytest.mark.parametrize("name", SEARCHES)
def test_usage_is_what_the_policy_said(name: str) -> None:
    for tree in grow(name):
        assert tree.usage.new_tokens == sum(tree.asked), (
            "one token a letter, also for letters drawn twice"
        )
        assert tree.usage.wall_s > 0
        assert asdict(tree.usage)["tool_tokens"] == 0


@pytest.mark.parametrize("name", ["best_of_n", "mcts"])
def test_both_drivers_charge_the_same(name: str) -> None:
    """A reward model says itself what it reads; the merged calls of the continuous driver must ask it."""

    class ReadsTen(RandomRewardModel):
        def tokens_read(self, states: Sequence[State]) -> list[int]:
            return [10] * len(states)

    def flops(continuous: bool) -> list[float]:
        problems = SameWord(count=3)
        trees = run_search(
            [problems[i] for i in range(3)],
            domain=ENV.domain,
            policy=RandomLegalPolicy(),
            reward_model=ReadsTen(num_parameters=5),
            search=load_search(name),
            continuous=continuous,
        )
        assert [tree.usage.flops for tree in trees] == [
            2 * 5 * 10 * (len(tree) - 1) for tree in trees
        ]
        return [tree.usage.flops for tree in trees]

    assert flops(False) == flops(True)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
)
def test_adaptive_ends_and_spends_no_more_than_its_probes_or_its_budget(
    steps: int, probe: int, stages: int, count: int, see: bool, scored: bool
) -> None:
    """The default settings overspend on deep problems: four probes of a long word take more than 64 steps."""
    problems = SameWord("abcdabcd", count)
    search = load_search("adaptive", steps=steps, probe=probe, stages=stages)
    trees = run_search(
        [problems[i] for i in range(count)],
        domain=WordsDomain(8),
        policy=RandomLegalPolicy(),
        reward_model=RandomRewardModel() if scored else None,
        search=search,
        verifier=ENV.verifier,
        see_verdicts=see,
    )
    spent = sum(sum(tree.asked) for tree in trees)
    assert not any(tree.notes for tree in trees)
    assert spent <= max(count * probe * 8, count * steps + count * stages * 4 * 8)

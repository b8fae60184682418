"""Trees that grow together come out as trees that grow one by one, number for number."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import Budget, Request, SearchTree, run_search
from stepgym.agents.attic import NODES, Attic
from stepgym.agents.lockstep import MANY
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel, ScriptedPolicy
from stepgym.agents.search.mcts import MCTS
from stepgym.agents.words import WordEnv, Words, WordSet
from stepgym.envs.types import State, Step
from stepgym.sandbox.types import SandboxError

ENV = WordEnv(Words(4), problems=WordSet("abca", MANY + 2))
PROBLEMS = [ENV.problems[i] for i in range(MANY + 2)]


def letters_by_likelihood(likely: bool) -> ScriptedPolicy:
    """Offer as many letters as asked for, some twice, with log-probabilities or without."""

    def offer(state: State) -> list[Step]:
        shift = sum(map(ord, state.prompt + "".join(step.text for step in state.steps)))
        return [
            Step(
                "abcdx"[(shift + i * i) % 5], log_prob=-0.1 * ((shift + i) % 7) if likely else None
            )
            for i in range(8)
        ]

    return ScriptedPolicy(offer)


@dataclass(frozen=True)
class Sets(Words):
    """The order of letters does not matter, so that there are equal states to merge."""

    def _advance(self, state: State, step: Step) -> State:
        after = super()._advance(state, step)
        public = "".join(sorted(s.text for s in after.steps))
        return State(after.prompt, after.steps, after.answer, after.end, public)


@given(
    options=st.fixed_dictionaries(
        {
            "simulations": st.integers(1, 70),
            "width": st.integers(1, 5),
            "leaves": st.integers(1, 6),
            "until_end": st.booleans(),
            "widen": st.sampled_from([0.0, 0.25, 0.5]),
            "rollout_width": st.sampled_from([None, 1, 2]),
            "outcome_weight": st.sampled_from([1.0, 0.5]),
            "root_noise": st.sampled_from(["none", "dirichlet"]),
            "prior_temperature": st.sampled_from([1.0, 2.0]),
            "merge": st.booleans(),
        }
    ),
    likely=st.sampled_from([True, False, None]),
    scored=st.booleans(),
    see=st.booleans(),
    calls=st.sampled_from([None, None, 0, 3, 8]),
)
@settings(max_examples=40, deadline=None)
def test_together_as_one_by_one(
    options: dict[str, Any], likely: bool | None, scored: bool, see: bool, calls: int | None
) -> None:
    def grow(
        problems: Sequence[Any], trees: Sequence[SearchTree] | None = None
    ) -> list[SearchTree]:
        return run_search(
            problems,
            domain=Sets(4),
            policy=RandomLegalPolicy(3) if likely is None else letters_by_likelihood(likely),
            reward_model=RandomRewardModel(3) if scored else None,
            search=MCTS(**options),
            verifier=ENV.verifier,
            see_verdicts=see,
            budget=Budget(model_calls=calls),
            trees=trees,
        )

    together = grow(PROBLEMS)
    alone = [tree for problem in PROBLEMS for tree in grow([problem])]
    assert together == alone, (
        "the notes between rounds are part of a tree, so that it can be gone on with"
    )
    if calls is not None:  # stopped halfway, with walks in flight
        options = {**options, "simulations": 90, "leaves": 3, "exploration": 2.0}
        assert grow(PROBLEMS, together) == [
            tree for problem, own in zip(PROBLEMS, alone) for tree in grow([problem], [own])
        ]


@dataclass(frozen=True, kw_only=True)
class Louder(MCTS):
    """Somebody's own variation, which must be asked each time."""

    def select(self, tree: SearchTree) -> list[Request]:
        return [Request(node, n + 1) for node, n, _ in super().select(tree)]


class Wrapper:
    """Hands everything on but counts."""

    def __init__(self, search: MCTS) -> None:
        self.search, self.asked = search, 0

    def select(self, tree: SearchTree) -> list[Request]:
        self.asked += 1
        return self.search.select(tree)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.search, name)


def grow_many(search: Any) -> list[SearchTree]:
    return run_search(
        PROBLEMS, domain=ENV.domain, policy=letters_by_likelihood(True), search=search
    )


def test_nobody_goes_past_a_variation_or_a_wrapper() -> None:
    plain = MCTS(simulations=8, width=2)
    assert grow_many(Louder(simulations=8, width=2)) != grow_many(plain)
    wrapped = Wrapper(plain)
    assert grow_many(wrapped) == grow_many(plain)
    assert wrapped.asked > MANY


def test_a_failing_round_leaves_whole_trees() -> None:

    @dataclass
    class Stops:
        left: int = 3

        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return letters_by_likelihood(True).propose(states, counts)

    trees = [SearchTree(problem.id, [ENV.domain.initial(problem)]) for problem in PROBLEMS]
    with pytest.raises(KeyboardInterrupt):
        run_search(PROBLEMS, domain=ENV.domain, policy=Stops(), search=MCTS(), trees=trees)
    for tree in trees:
        assert len(tree) == len(tree.visits) == len(tree.value) == len(tree.prior) > 1
        assert tree.visits[0] > 0


def test_a_sandbox_that_is_gone_after_growth_leaves_whole_trees() -> None:
    class Gone:
        needs_reference = False

        def verify(self, problems: Sequence[Any], answers: Sequence[str]) -> Any:
            raise SandboxError("gone")

    trees = [SearchTree(problem.id, [ENV.domain.initial(problem)]) for problem in PROBLEMS]
    with pytest.raises(SandboxError):
        run_search(
            PROBLEMS,
            domain=ENV.domain,
            policy=letters_by_likelihood(True),
            search=MCTS(),
            verifier=Gone(),
            see_verdicts=True,
            trees=trees,
        )
    assert all(
        len(tree) == len(tree.visits) == len(tree.value) == len(tree.prior) > 1 for tree in trees
    )


def test_the_collector_is_as_it_was() -> None:
    assert gc.get_freeze_count() == 0
    with Attic() as outer, Attic():
        outer.put(NODES)
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_somebody_else_froze_stay_frozen() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with Attic() as attic:
            attic.put(NODES)
        assert gc.get_freeze_count() >= frozen > 0
    finally:
        gc.unfreeze()

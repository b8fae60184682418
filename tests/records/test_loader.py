"""A record gives back the states of its tree, and the environment it was played in."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.record import make_record
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, NodeStatus, SearchTree
from stepgym.envs.registry import load_env
from stepgym.envs.types import End, State, Step
from stepgym.records.loader import Environments, states_of
from stepgym.records.schema import from_line, to_line
from stepgym.records.types import RecordError

ENVS = [("stepgym/Countdown-v0", {"level": 2, "seed": 3}), ("stepgym/ModularSums-v0", {"seed": 5})]


def played(env_id: str, options: dict[str, Any], num: int = 3) -> list[EpisodeRecord]:
    env = load_env(env_id, **options)
    problems = [env.problems[i] for i in range(num)]
    return list(
        iter_solve(problems, env=env, agent="best_of_n", policy="random", seed=1, verify_all=True)
    )


def from_disk(record: EpisodeRecord) -> EpisodeRecord:
    return from_line(to_line(record))


@pytest.mark.parametrize(("env_id", "options"), ENVS)
def test_states_are_those_that_playing_again_reaches(env_id: str, options: dict[str, Any]) -> None:
    environments = Environments()
    for record in map(from_disk, played(env_id, options)):
        env, problem = environments.of(record), environments.problem(record)
        states = states_of(record)
        for node, state in zip(record.nodes, states):
            if node.parent < 0:
                assert state == env.domain.initial(problem)
            else:
                [after] = env.domain.advance([states[node.parent]], [Step(node.text)])
                assert state == after
    environments.close()


@pytest.mark.parametrize(("env_id", "options"), ENVS)
def test_step_verdicts_are_the_step_verifiers(env_id: str, options: dict[str, Any]) -> None:
    env = load_env(env_id, **options)
    for record in map(from_disk, played(env_id, options)):
        problem = env.problems[record.index]
        for node, state in zip(record.nodes[1:], states_of(record)[1:]):
            [verdicts] = env.step_verifier.verify_steps([problem], [state])
            assert node.step_verdict == verdicts[-1].status.value


TOKENS = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@st.composite
def trees(draw: st.DrawFn) -> SearchTree:
    """A tree whose policy read what lay before, or something else, or gave no tokens."""
    tree = SearchTree("p0", [State("p", public=((1, 2), "x"))])
    for node in range(1, draw(st.integers(1, 7)) + 1):
        parent = draw(st.integers(0, node - 1))
        before = tree.states[parent].steps
        ids = draw(st.none() | TOKENS)
        seen: tuple[int, ...] = ()
        if before and before[-1].token_ids is not None:
            seen = (before[-1].context_ids or ()) + before[-1].token_ids
        context = draw(TOKENS) if draw(st.booleans()) else seen + draw(TOKENS)
        step = Step(
            f"<think>a</think>{node}",
            log_prob=-1.5,
            num_tokens=4,
            num_reasoning_tokens=3,
            reply=draw(st.sampled_from(["", "no"])),
            num_reply_tokens=2,
            final=draw(st.booleans()),
            token_ids=ids,
            token_log_probs=None if ids is None else (-0.5,) * len(ids),
            context_ids=None if ids is None else context,
        )
        end = draw(st.sampled_from([None, *End]))
        tree.states.append(State("p", (*before, step), "c" if end else None, end, ((1,), node)))
        tree.parent.append(parent)
        tree.children.append([])
        tree.children[parent] = [*tree.children[parent], node]
    size = len(tree)
    tree.prior, tree.score, tree.visits = [1.0] * size, [None] * size, [0] * size
    tree.value, tree.status = [0.0] * size, [NodeStatus.OPEN] * size
    return tree


@given(trees())
def test_every_field_of_a_step_comes_back_but_what_had_to_be_read_anew(tree: SearchTree) -> None:
    problem = replace(load_env("stepgym/Countdown-v0").problems[0], prompt="p")
    back = states_of(from_disk(make_record(tree, problem, best=0, verdict=None)))
    assert back == tree.states
    for state, original in zip(back, tree.states):
        for mine, theirs in zip(state.steps, original.steps):
            for field in fields(Step):
                assert getattr(mine, field.name) == getattr(theirs, field.name), field.name


def test_an_environment_that_makes_another_problem_now_is_refused() -> None:
    [record] = played("stepgym/Countdown-v0", {"level": 1}, 1)
    with pytest.raises(RecordError, match="another problem at index 0 now, which begins"):
        Environments().problem(replace(record, prompt="Make 1."))
    with pytest.raises(RecordError, match="cannot be made with options"):
        Environments().of(replace(record, env_id="stepgym/Cuontdown-v0"))
    with pytest.raises(RecordError, match="none with index -1"):
        Environments().problem(replace(record, index=-1))

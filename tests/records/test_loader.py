"""A record gives back the states of its tree, and the environment it was played in."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

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


def test_every_field_of_a_step_comes_back_but_what_the_policy_had_to_read() -> None:
    first = Step(
        "<think>a</think>b",
        log_prob=-1.5,
        num_tokens=4,
        num_reasoning_tokens=3,
        reply="no",
        num_reply_tokens=2,
        token_ids=(5, 6),
        token_log_probs=(-0.5, None),
        context_ids=(1, 2),
    )
    last = Step("c", final=True, token_ids=(7,), token_log_probs=(-1.0,), context_ids=(3,))
    states = [
        State("p", public=((1, 2), "x")),
        State("p", (first,), public=((1,), "x")),
        State("p", (first, last), "c", End.ANSWERED, ((1,), "x")),
    ]
    tree = SearchTree(
        "p0",
        states,
        parent=[-1, 0, 1],
        children=[[1], [2], []],
        prior=[1.0] * 3,
        score=[None] * 3,
        visits=[0] * 3,
        value=[0.0] * 3,
        status=[NodeStatus.OPEN] * 3,
    )
    problem = load_env("stepgym/Countdown-v0").problems[0]
    record = make_record(tree, replace(problem, prompt="p"), best=2, verdict=None)
    back = states_of(from_disk(record))
    assert back == states
    for state, original in zip(back, states):
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

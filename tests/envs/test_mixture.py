"""Mixtures: items are pure, each goes to its member; schedules are data that follow weights and learning progress."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.conformance import check_environment
from stepgym.envs.mixture import MixedProblems, mixture
from stepgym.envs.mixture_schedule import Course, MixtureSchedule
from stepgym.envs.registry import load_env
from stepgym.plugins.errors import UserError

MEMBERS = {
    "Fractions-v0": {"weight": 1, "level": 2, "sandbox": None},
    "Countdown-v0": {"weight": 3, "level": 1},
}


def test_a_mixture_keeps_the_contract() -> None:
    env = mixture({"Hanoi-v0": 1, "Countdown-v0": {"weight": 2, "level": 1}})
    assert [finding for finding in check_environment(env) if finding.fault] == []


def test_members_are_drawn_by_weight_and_their_worked_solutions_are_correct() -> None:
    env = mixture(MEMBERS, seed=3)
    drawn = [env.problems[i] for i in range(400)]
    share = Counter(problem.public.member for problem in drawn)  # type: ignore[attr-defined]
    assert 0.68 < share[1] / 400 < 0.82
    for problem in drawn[:12]:
        env.reset(options={"problem": problem})
        for step in problem.solution:
            *_, info = env.step(step)
        assert info["verdict"] == "correct", problem
    assert env.step_verifier is not None


def test_a_schedule_draws_environments_and_levels() -> None:
    env = mixture(
        {"Fractions-v0": {"weight": 1, "level": 2, "end_weight": 9}, "Countdown-v0": {"level": 1}},
        seed=3,
        rule="annealed",
    )
    problems = env.problems
    assert isinstance(problems, MixedProblems) and problems.schedule is not None
    late = replace(problems.schedule, num_seen=10**6)
    for schedule, least, most in ((problems.schedule, 0.4, 0.6), (late, 0.82, 0.97)):
        drawn = [problems.scheduled(schedule, i) for i in range(300)]
        ids = [problems.env_id_of(problem.id) for problem in drawn]
        assert least < ids.count("stepgym/Fractions-v0") / 300 < most
        assert drawn == [problems.scheduled(schedule, i) for i in range(300)]
        levels = {problem.level for problem, id in zip(drawn, ids) if "Fractions" in id}
        assert levels == {2}
    for _ in range(40):
        late = late.observe("stepgym/Fractions-v0", True)
    harder = [problems.scheduled(late, i) for i in range(60)]
    assert {p.level for p in harder if "Fractions" in p.id} == {3}
    env.reset(options={"problem": harder[0]})
    assert env.verifier.verify(harder[:5], [p.reference for p in harder[:5]])[0].correct
    plain = mixture(MEMBERS).problems
    assert isinstance(plain, MixedProblems) and plain.schedule is None


def test_one_batch_holds_states_of_all_members() -> None:
    env = mixture(MEMBERS)
    problems = [env.problems[i] for i in range(10)]
    answers = [problem.reference for problem in problems]
    assert all(verdict.correct for verdict in env.verifier.verify(problems, answers))
    wrong = env.verifier.verify(problems, [*answers[1:], "7"])
    assert not all(verdict.correct for verdict in wrong)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({}, "at least one member"),
        ({"Fractions-v0": 0}, "a number above 0, not 0"),
        ({"Fractions-v0": True}, "a number above 0, not True"),
        ({"Fraction-v0": 1}, "did you mean 'stepgym/Fractions-v0'"),
        ({"Fractions-v0": {"lvel": 1}}, "did you mean 'level'"),
    ],
)
def test_mistakes_say_the_way_out(members: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_env("Mixture-v0", members=members) if members else mixture({})


def schedule(rule: str, **settings: object) -> MixtureSchedule:
    courses = (
        Course(env_id="a", weight=3, end_weight=1),
        Course(env_id="b", weight=1, end_weight=3),
    )
    return MixtureSchedule(courses=courses, rule=rule, **settings)  # type: ignore[arg-type]


@given(
    st.sampled_from(["fixed", "annealed", "progress"]),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([True, False, None])), max_size=60),
)
def test_weights_are_shares_and_a_schedule_is_json(
    rule: str, outcomes: list[tuple[str, bool | None]]
) -> None:
    now = schedule(rule, num_anneal=20)
    for env_id, success in outcomes:
        now = now.observe(env_id, success)
        assert sum(now.weights()) == pytest.approx(1) and min(now.weights()) > 0
    assert MixtureSchedule.from_json(json.loads(json.dumps(now.to_json()))) == now
    assert now.num_seen == sum(success is not None for _, success in outcomes)


def test_annealed_weights_go_from_the_first_to_the_last() -> None:
    now = schedule("annealed", num_anneal=10)
    assert now.weights() == [0.75, 0.25]
    for _ in range(10):
        now = now.observe("a", True)
    assert now.weights() == [0.25, 0.75]


def test_an_environment_that_is_being_learned_is_drawn_more_often() -> None:
    now = schedule("progress")
    for turn in range(200):
        now = now.observe("a", turn % 2 == 0)  # stays at one half
    for _ in range(8):
        now = now.observe("b", True)  # rises
    drawn = Counter(now.draw(random.Random(k)).env_id for k in range(300))
    assert drawn["b"] > 2 * drawn["a"] > 0


def test_each_environment_has_a_level_of_its_own() -> None:
    now = schedule("fixed")
    for _ in range(40):
        now = now.observe("a", True)
    levels = {course.env_id: course.curriculum.level for course in now.courses}
    assert levels == {"a": 2, "b": 1}

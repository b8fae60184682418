"""Countdown: the rules, the exact verifier, and the solver against brute force."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.expressions import evaluate
from stepgym.envs.families.countdown import (
    LEVELS,
    CountdownDomain,
    CountdownStepVerifier,
    CountdownVerifier,
    problems,
    prompt,
    random_solution,
)
from stepgym.envs.families.countdown_solver import moves, reachable
from stepgym.envs.illegal_steps import IllegalSteps
from stepgym.envs.types import End, Problem, State, Status, Step

DOMAIN, VERIFIER, STEPS = CountdownDomain(), CountdownVerifier(), CountdownStepVerifier()
POSITIONS = st.lists(st.integers(0, 12), min_size=1, max_size=4).map(lambda n: tuple(sorted(n)))


def problem(numbers: tuple[int, ...], target: int) -> Problem:
    return Problem("p", prompt(numbers, target), "", public=(tuple(sorted(numbers)), target))


def played(numbers: tuple[int, ...], target: int, *texts: str) -> State:
    state = DOMAIN.initial(problem(numbers, target))
    for text in texts:
        [state] = DOMAIN.advance([state], [Step(text)])
    return state


def everything(left: tuple[int, ...]) -> set[int]:
    return (
        set(left)
        if len(left) == 1
        else set().union(*(everything(move.left) for move in moves(left)))
    )


@settings(max_examples=60, deadline=None)
@given(POSITIONS, st.integers(0, 60))
def test_the_solver_agrees_with_brute_force(position: tuple[int, ...], target: int) -> None:
    assert reachable(position, target) == (target in everything(position))


@settings(deadline=None)
@given(st.lists(st.integers(1, 25), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_any_legal_play_ends_in_an_expression_of_its_own_value(
    numbers: list[int], chance: random.Random
) -> None:
    state = DOMAIN.initial(problem(tuple(numbers), 0))
    while not state.done:
        [state] = DOMAIN.advance([state], [Step(chance.choice(DOMAIN.legal_steps(state)))])
    (left,), _ = state.public  # type: ignore[misc]
    assert state.end is End.ANSWERED and state.answer is not None
    found = evaluate(state.answer)
    assert found is not None and found.value == left and sorted(found.numbers) == sorted(numbers)
    assert VERIFIER.verify([problem(tuple(numbers), left)], [state.answer])[0].correct


@settings(max_examples=40, deadline=None)
@given(st.integers(1, len(LEVELS)), st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_every_level_is_solvable_and_its_steps_verify(
    level: int, seed: int, chance: random.Random
) -> None:
    item = problems(level, seed)[0]
    position, target = item.public  # type: ignore[misc]
    shape = LEVELS[level - 1]
    assert (
        len(position) == shape.num_numbers
        and max(position) <= shape.largest
        and shape.low <= target <= shape.high
    )
    assert VERIFIER.verify([item], [item.reference])[0].correct
    texts = random_solution(position, target, chance)
    assert texts is not None
    state = played(position, target, *texts)
    assert state.answer is not None and VERIFIER.verify([item], [state.answer])[0].correct
    assert all(verdict.correct for verdict in STEPS.verify_steps([item], [state])[0])


def test_level_three_is_four_numbers_to_ten_and_a_target_from_ten_to_fifty() -> None:
    first = problems(3, seed=0)[0]
    assert LEVELS[2] == (4, 10, 10, 50)
    assert (first.id, first.public) == ("stepgym/Countdown-v0/level-3/seed-0/0", ((1, 6, 6, 9), 20))


@pytest.mark.parametrize(
    ("texts", "end", "public", "why"),
    [
        (["3 * 7"], None, ((2, 21), 42), "a step"),
        (["3*7"], None, ((2, 21), 42), "spaces are free"),
        (["3 * 7 = 21"], None, ((2, 21), 42), "a right result may be stated"),
        (["3 × 7"], None, ((2, 21), 42), "other spellings of the operation"),
        (
            ["<think>seven times three</think> 7 * 3"],
            None,
            ((2, 21), 42),
            "reasoning is not part of the move",
        ),
        (["3 * 7 = 20"], End.STUCK, ((2, 3, 7), 42), "a wrong one may not"),
        (["3 * 3"], End.STUCK, ((2, 3, 7), 42), "each number once"),
        (["2 - 3"], End.STUCK, ((2, 3, 7), 42), "no negative results"),
        (["7 / 2"], End.STUCK, ((2, 3, 7), 42), "no fractions"),
        (["7 - 7"], End.STUCK, ((2, 3, 7), 42), "there is one seven"),
        (["hello"], End.STUCK, ((2, 3, 7), 42), "not a step"),
        (["3 * 7", "21 * 2"], End.ANSWERED, ((42,), 42), "one number is left"),
        (["<answer>2 * 3 * 7</answer>"], End.ANSWERED, ((2, 3, 7), 42), "the whole at once"),
    ],
)
def test_rules(texts: list[str], end: End | None, public: object, why: str) -> None:
    state = played((3, 7, 2), 42, *texts)
    assert (state.end, state.public) == (end, public), why
    assert (state.end is End.STUCK) == bool(state.steps[-1].reply), why


def test_the_answer_is_an_expression_over_the_original_numbers() -> None:
    assert played((3, 4, 5), 35, "3 + 4", "7 * 5").answer == "(3 + 4) * 5"
    assert played((2, 2, 2, 2), 16, "2 * 2", "2 * 2", "4 * 4").answer == "(2 * 2) * (2 * 2)"


@pytest.mark.parametrize(
    ("answer", "correct", "why"),
    [
        ("(3 + 4) * 5", True, "exact"),
        ("5*(4+3)", True, "any order"),
        ("(3 + 4) * 5 = 35", True, "with its value"),
        ("(3 + 4) * 5 = 36", False, "with a wrong value"),
        ("5 \\times (3 + 4)", True, "as TeX"),
        ("35", False, "the target itself uses none of the numbers"),
        ("(3 + 4) * 5 * 1", False, "a number that is not there"),
        ("5 * 7", False, "a result is not a number that is there"),
        ("3 + 4 * 5", False, "23"),
        ("(3 + 4) * 5 + 0/0", False, "no value"),
        ("__import__('os').system('true')", False, "not arithmetic, and never run"),
        ("3 + 4) * 5", False, "unbalanced"),
        ("", False, "nothing"),
        ("(" * 900 + "1" + ")" * 900, False, "deep nesting is read, and uses other numbers"),
        ("9**9**9**9", False, "powers are not read"),
    ],
)
def test_verifier(answer: str, correct: bool, why: str) -> None:
    [verdict] = VERIFIER.verify([problem((3, 4, 5), 35)], [answer])
    assert verdict.correct == correct, (why, verdict)


@given(st.text(alphabet="0123456789+-*/() =", max_size=60) | st.text())
def test_reading_an_expression_never_raises(text: str) -> None:
    found = evaluate(text)
    assert found is None or isinstance(found.value, Fraction)
    [verdict] = VERIFIER.verify([problem((3, 4, 5), 35)], [text])
    assert verdict.status in (Status.CORRECT, Status.INCORRECT)


def test_votes_are_the_same_when_values_are() -> None:
    assert VERIFIER.same("(3 + 4) * 5", "5 * 7 = 35") and not VERIFIER.same("3 + 4", "3 * 4")
    assert VERIFIER.same("none", " none") and not VERIFIER.same("none", "some")


def test_step_verdicts_say_from_where_on_the_target_is_out_of_reach() -> None:
    item = problem((3, 4, 5), 35)
    state = played((3, 4, 5), 35, "3 * 4", "12 + 5")
    assert [verdict.status.value for verdict in STEPS.verify_steps([item], [state])[0]] == [
        "incorrect",
        "incorrect",
    ]
    state = played((3, 4, 5), 35, "4 + 3", "7 + 5")
    assert [verdict.status.value for verdict in STEPS.verify_steps([item], [state])[0]] == [
        "correct",
        "incorrect",
    ]


def test_an_illegal_step_ends_the_episode_or_is_retried() -> None:
    given = problem((1, 2, 3), 9)
    for domain, end in (
        (CountdownDomain(), End.STUCK),
        (CountdownDomain(IllegalSteps("retry")), None),
    ):
        [state] = domain.advance([domain.initial(given)], [Step("5 + 5")])
        assert state.end is end and "not both among" in state.steps[-1].reply
    states = [domain.initial(given)]
    for text in ("5 + 5", "1 + 2", "3 * 3"):
        states = domain.advance(states, [Step(text)])
    assert VERIFIER.verify([given], [states[0].answer or ""])[0].correct

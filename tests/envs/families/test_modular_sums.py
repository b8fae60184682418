"""ModularSums: the model writes the results, the domain believes them, the step verifier does not."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.families.modular_sums import (
    ModularSumsDomain,
    ModularSumsStepVerifier,
    ModularSumsVerifier,
    make,
    problems,
)
from stepgym.envs.types import End, Problem, State, Step

DOMAIN, VERIFIER, STEPS = ModularSumsDomain(), ModularSumsVerifier(), ModularSumsStepVerifier()
ITEM = Problem("p", "add", "3", public=((10, 25, 30), None, 31))


def played(*texts: str) -> State:
    state = DOMAIN.initial(ITEM)
    for text in texts:
        [state] = DOMAIN.advance([state], [Step(text)])
    return state


@given(st.integers(1, 10), st.integers(0, 10**9), st.randoms(use_true_random=False))
def test_right_steps_lead_to_the_reference_in_any_order(
    level: int, seed: int, chance: random.Random
) -> None:
    item = problems(level, seed)[0]
    state = DOMAIN.initial(item)
    while not state.done:
        [_, a, b] = chance.choice([(t, *_terms(t)) for t in DOMAIN.legal_steps(state)])
        [state] = DOMAIN.advance([state], [Step(f"{a} + {b} = {(a + b) % 31}")])
    assert len(state.steps) == level + 1 and state.answer == item.reference
    assert all(verdict.correct for verdict in STEPS.verify_steps([item], [state])[0])
    assert VERIFIER.verify([item], [state.answer])[0].correct


def _terms(text: str) -> tuple[int, int]:
    a, _, b = text.partition(" = ")[0].partition(" + ")
    return int(a), int(b)


@pytest.mark.parametrize(
    ("texts", "end", "public", "why"),
    [
        (["10 + 30 = 9"], None, ((25,), 9, 31), "40 is 9"),
        (["30+10=9"], None, ((25,), 9, 31), "either order, spaces free"),
        (["10 + 30 = 12"], None, ((25,), 12, 31), "wrong, and believed"),
        (
            ["10 + 30 = 9", "25 + 9 = 3"],
            End.ANSWERED,
            ((), 3, 31),
            "the running result may stand second",
        ),
        (["10 + 30"], End.STUCK, ((10, 25, 30), None, 31), "the result is the model's to write"),
        (["10 + 10 = 20"], End.STUCK, ((10, 25, 30), None, 31), "each number once"),
        (["10 + 30 = 9", "10 + 25 = 4"], End.STUCK, ((25,), 9, 31), "without the running result"),
        (["<answer>3</answer>"], End.ANSWERED, ((10, 25, 30), None, 31), "the whole at once"),
    ],
)
def test_rules(texts: list[str], end: End | None, public: object, why: str) -> None:
    state = played(*texts)
    assert (state.end, state.public) == (end, public), why


def test_a_wrong_step_is_blamed_and_no_other() -> None:
    state = played("10 + 30 = 12", "12 + 25 = 6")
    assert [verdict.correct for verdict in STEPS.verify_steps([ITEM], [state])[0]] == [False, True]
    assert state.answer == "6" and not VERIFIER.verify([ITEM], ["6"])[0].correct
    unreduced = played("10 + 30 = 40")
    assert [verdict.correct for verdict in STEPS.verify_steps([ITEM], [unreduced])[0]] == [False]


@pytest.mark.parametrize(
    ("answer", "correct"),
    [("3", True), (" 03 ", True), ("34", False), ("-28", False), ("three", False), ("", False)],
)
def test_verifier(answer: str, correct: bool) -> None:
    assert VERIFIER.verify([ITEM], [answer])[0].correct == correct


def test_another_modulus_makes_another_family() -> None:
    item = make(modulus=7).problems[0]
    assert (
        item.id == "stepgym/ModularSums-v0/modulus-7/level-3/seed-0/0" and int(item.reference) < 7
    )
    with pytest.raises(ValueError, match="not 1"):
        make(modulus=1)

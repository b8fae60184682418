"""Procedural mathematics: references and step verdicts against SymPy."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Rational, simplify, sympify

from stepgym.envs.maths import verify_answer
from stepgym.envs.maths.linear import read_linear, read_sides
from stepgym.envs.maths.problems import EquationStepVerifier, equations, problems
from stepgym.envs.types import Problem, State, Step


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 10), st.integers(0, 10**9))
def test_references_are_what_sympy_finds(level: int, seed: int) -> None:
    item = problems(level, seed)[0]
    assert verify_answer(item.reference, reference=item.reference).correct
    question = item.prompt.splitlines()[0]
    solution = {name: Rational(value) for name, value in item.task["solution"].items()}
    if question.startswith("Compute"):
        assert sympify(question.removeprefix("Compute ").rstrip("."), rational=True) == Rational(
            item.reference
        )
        return
    for equation in (
        question.removeprefix("Solve the system ").removeprefix("Solve ").split(" and ")
    ):
        left, right = equation.split(".")[0].split(" for ")[0].split("=")
        assert simplify(_sympy(left) - _sympy(right)).subs(solution) == 0
    assert sum(solution.values()) == Rational(item.reference)


def _sympy(text: str):  # type: ignore[no-untyped-def]
    from sympy.parsing.sympy_parser import (
        implicit_multiplication_application,
        parse_expr,
        standard_transformations,
    )

    return parse_expr(
        text, transformations=(*standard_transformations, implicit_multiplication_application)
    )


def test_golden_first_problems() -> None:
    drawn = [problems(level)[0] for level in (1, 5, 7, 9, 10)]
    assert [(item.prompt.splitlines()[0], item.reference) for item in drawn] == [
        ("Compute 8 - 6.", "2"),
        ("Compute (18 + 12) * (8 + 11) + 11.", "581"),
        ("Compute 2/8 + 5/12.", "2/3"),
        ("Solve 5(x - 1) = 7(x + 8) + 14 for x.", "-75/2"),
        ("Solve the system 9x - 4y = 18 and 3x - 3y = 21. What is x + y?", "-11"),
    ]


@pytest.mark.parametrize(
    ("text", "constant", "coefficients"),
    [
        ("2x + 3", 3, {"x": 2}),
        ("-(x - 4)/2", 2, {"x": Fraction(-1, 2)}),
        ("3(x + 2) - 2(y - 1)", 8, {"x": 3, "y": -2}),
        ("(1/2)x", 0, {"x": Fraction(1, 2)}),
        ("\\frac{x}{3} + 0.25", Fraction(1, 4), {"x": Fraction(1, 3)}),
        ("x - x", 0, {}),
        ("--3", 3, {}),
        ("2 * -3", -6, {}),
    ],
)
def test_reading_one_side(text: str, constant: Fraction, coefficients: dict[str, Fraction]) -> None:
    found = read_linear(text)
    assert found is not None and (found.constant, dict(found.coefficients)) == (
        constant,
        coefficients,
    )


@pytest.mark.parametrize(
    "text",
    ["", "x * y", "1/x", "x^2", "2 +", ") 2", "(2", "sin(x)", "1/0", "2 3 +", "=", "-", "()"],
)
def test_what_is_not_linear_is_not_read(text: str) -> None:
    assert read_linear(text) is None


@given(st.text(alphabet="xy0123456789+-*/()=. ", max_size=40) | st.text())
def test_reading_never_raises(text: str) -> None:
    read_linear(text), read_sides(text), equations(text)


ITEM = Problem("p", "Solve 2x + 3 = 7 for x.", "2", task={"solution": {"x": "2"}})


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        ("2x = 7 - 3", "correct", "the solution set is kept"),
        ("So 2x = 4, and x = 2.", "correct", "words around, two equations"),
        ("2x = 7 - 3 = 4", "correct", "a chain"),
        ("4/2 = 2", "correct", "a side calculation"),
        ("2x = 10", "incorrect", "another solution"),
        ("Subtract 3: 2x = 4\nx = 3", "incorrect", "one wrong line is a wrong step"),
        ("2 + 2 = 5", "incorrect", "a wrong side calculation"),
        ("x = x", "incorrect", "says nothing: the solution set is not kept"),
        ("let me think", "undecided", "states nothing"),
        ("x^2 = 4", "undecided", "not linear, not read"),
        ("<think>2x = 10</think>2x = 4", "correct", "reasoning is internal"),
        ("<answer>2</answer>", "correct", "an answer is the verifier's"),
        ("<answer>3</answer>", "incorrect", "an answer is the verifier's"),
    ],
)
def test_step_verdicts(text: str, status: str, why: str) -> None:
    [[verdict]] = EquationStepVerifier().verify_steps([ITEM], [State(ITEM.prompt, (Step(text),))])
    assert verdict.status.value == status, (why, verdict)

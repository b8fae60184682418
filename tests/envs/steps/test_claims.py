"""What the step verifier says of arithmetic in free text: a table of cases, and laws over generated ones."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.steps.claims import Kind
from stepgym.envs.steps.verifier import FreeTextStepVerifier, check_steps
from stepgym.envs.types import Problem, State, Status, Step

RIGHT = [
    ("So he has 3 + 4 = 7 apples left.", "prose before and after"),
    (r"\(1/3 \times 18 = 6\) flamingos", "LaTeX"),
    (r"\[ \frac{40}{5} = 8 \text{ dollars} \]", "a fraction and a unit in LaTeX"),
    ("Total cost = $3.5 * 4000 = $14,000.", "currency, thousands, a name first"),
    ("33 classes * 15 students/class = 495 students", "units with a slash"),
    ("20% of 50 is found as 20% of 50 = 10.", "a share of something"),
    ("15 / 60 = 25%", "a percentage as the result"),
    ("100 / 3 = 33.33", "rounded"),
    ("100 / 3 = 33.3 ~ 33", "rounded twice"),
    ("33.33 * 3 = 100", "rounded before and after"),
    ("7 / 2 = 4", "a half rounded up"),
    ("0.1 + 0.2 = 0.30000000000000004", "a floating-point number"),
    ("2 * (1 + 2)(3) = 18 and 3 < 5", "factors side by side"),
    (r"\frac{1}{2} + 1 = 1.5", "LaTeX without delimiters"),
    ("2 x 5 = 10", "a letter x as the sign of multiplication"),
    (r"$14{,}000 + 1 = 14{,}001$", "thousands in LaTeX"),
    ("$3.00 (dishwasher) + $1.50 (room) = $4.50", "remarks in parentheses"),
    ("2x + 3 = 13, so 2x = 10, so x = 5.", "the same solution"),
    ("2(x + 1) = 2x + 2 = x + x + 2", "an identity in a chain"),
    ("- 5 + 3 = 8", "a bullet is no minus"),
]
WRONG = [
    ("5 + 3 = 9", "5 + 3 is 8, not 9", "a sum"),
    ("7 < 5", "7 is not < 5", "an inequality"),
    ("7 * 70 - 40 = 470 - 40 = 430", "7 * 70 - 40 is 450, not 470 - 40", "the first false link"),
    ("$20 - $13.00 = $6.00", "20 - $13.00 is 7, not 6.00", "money"),
    ("Total = 3 + 3. Total = 8.", "total was 6 before", "one name, two values"),
    ("$4.20 + $9.45 + $1.35 = $14.99", "is 15, not 14.99", "exact, if the decimals are given"),
    ("x + 10 = 30, so x = 30 + 10", "solution", "another solution"),
    ("(x - 16 + 100) - 25 = x + 69 - 25 = x + 44", "differ", "no identity"),
    (r"\[ 50 + 70 + 140 = 400 \]", "is 260", "LaTeX"),
]
UNDECIDED = [
    ("Half of 20 + 4 = 14", "words change the value"),
    ("5 quarters = 5 * 25", "a change of units"),
    ("80 - 100 = 20 less", "a difference whose sign is in words"),
    ("7 + his 2 = 3 * 4", "an operand in words"),
    ("(" * 41 + "1" + ")" * 41 + " + 1 = 3 and 2^0.5 = 3", "too deep, no rational number"),
    ("x * x = x = 2x = 4", "equations, no identities"),
    ("2 hours = 120", "a change of units"),
    ("12 = 4x", "an equation"),
    ("100 - y = 20", "an unknown"),
    ("2 million + 1 = 3", "scales are not read"),
    ("1st - 5 = 6th", "ordinals are not read"),
    ("7 / 2 = 3", "cut off to a whole number"),
    ("33.33 * 300 = 10000", "rounded before"),
    ("A room of 12 x 8", "no claim"),
    ("", "nothing"),
]


def status(text: str, problem: str = "$4.20, $9.45 and $1.35") -> Status:
    (report,) = check_steps(problem, [text])
    return report.status


@pytest.mark.parametrize(("text", "why"), RIGHT)
def test_right_claims_are_correct(text: str, why: str) -> None:
    assert status(text) is Status.CORRECT, why


@pytest.mark.parametrize(("text", "reason", "why"), WRONG)
def test_wrong_claims_are_incorrect_with_the_proof(text: str, reason: str, why: str) -> None:
    (report,) = check_steps("$4.20, $9.45 and $1.35", [text])
    assert report.status is Status.INCORRECT, why
    assert reason in report.reason


@pytest.mark.parametrize(("text", "why"), UNDECIDED)
def test_what_is_no_plain_arithmetic_is_undecided(text: str, why: str) -> None:
    assert status(text) is Status.UNDECIDED, why


def test_letters_keep_their_values_over_steps() -> None:
    steps = [
        'This is "A - B", where A = (2 * 3) and B = (4 - 1).',
        "A = 2 * 3 = 6.",
        "A - B = 6 - 4 = 2",
    ]
    first, second, third = check_steps("", steps)
    assert (first.status, second.status) == (Status.CORRECT, Status.CORRECT) or not first.claims
    assert third.status is Status.INCORRECT and "A - B is 3" in third.reason


numbers = st.integers(0, 999)
operators = st.sampled_from(["+", "-", "*"])
units = st.sampled_from(["", " apples", " miles", " boxes of tea"])


@given(
    numbers,
    operators,
    numbers,
    units,
    st.sampled_from(["{} = {}{}.", "So there are {} = {}{} now.", r"\( {} = {}{} \)"]),
)
def test_true_equations_are_never_flagged_and_false_ones_always(
    a: int, operator: str, b: int, unit: str, frame: str
) -> None:
    expression = f"{a} {operator} {b}"
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    assert status(frame.format(expression, value, unit)) is Status.CORRECT
    (report,) = check_steps("", [frame.format(expression, value + 1, unit)])
    assert report.status is Status.INCORRECT
    (claim,) = (c for c in report.claims if c.status is Status.INCORRECT)
    assert expression in claim.text and claim.kind is Kind.ARITHMETIC


@given(numbers, st.integers(1, 99))
def test_rounded_quotients_are_right_and_others_are_not(a: int, b: int) -> None:
    rounded = Fraction(100 * a * 2 + b, 2 * b).__floor__() / Fraction(100)  # halves go up
    assert status(f"{a} / {b} = {float(rounded):.2f}") is Status.CORRECT
    assert status(f"{a} / {b} = {float(rounded) + 0.05:.2f}") is Status.INCORRECT


@given(
    st.lists(
        st.text(st.sampled_from("0123456789+-*/=()[]{}.%$\\ xyAof\n,~<>^"), max_size=60), max_size=4
    )
)
def test_any_text_is_read_and_spans_lie_in_it(steps: list[str]) -> None:
    for step, report in zip(steps, check_steps("", steps), strict=True):
        for claim in report.claims:
            assert 0 <= claim.start <= claim.end <= len(step)
            assert step[claim.start : claim.end] == claim.text


@pytest.mark.parametrize(
    "piece", ["1 + ", "(", "= 1 ", "\\frac{", "{", "** ", "a ", "$", "1, ", "x = ", "2x + 1 = "]
)
def test_time_grows_with_the_length_alone(piece: str) -> None:
    def seconds(length: int) -> float:
        text = (piece * length)[:length]
        return min(_timed(text) for _ in range(3))

    assert seconds(16_000) < 0.2 + 8 * seconds(4_000)


def _timed(text: str) -> float:
    started = time.process_time()
    check_steps("", [text])
    return time.process_time() - started


def test_the_step_verifier_gives_one_verdict_per_step_with_its_claims() -> None:
    state = State("q", (Step("1 + 1 = 2."), Step("It is raining."), Step("2 + 2 = 5.")))
    ((first, second, third),) = FreeTextStepVerifier().verify_steps(
        [Problem("p", "q", "5")], [state]
    )
    assert [v.status for v in (first, second, third)] == [
        Status.CORRECT,
        Status.UNDECIDED,
        Status.INCORRECT,
    ]
    assert third.details["claims"][0]["reason"] == "2 + 2 is 4, not 5"

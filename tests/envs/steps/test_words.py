"""What the step verifier says of arithmetic in words, of quoted rates, and of results of tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.steps.verifier import FreeTextStepVerifier, check_steps
from stepgym.envs.types import Problem, State, Status, Step

PAIRS = [
    ("Half of 20 is 10.", "Half of 20 is 12."),
    ("So twice 6 apples is 12.", "So twice 6 apples is 13."),
    ("20% of 50 is 10.", "20% of 50 is 15."),
    ("So 3 more than 5 is 8.", "So 3 more than 5 is 9."),
    ("The difference between 9 and 4 is 5.", "The difference between 9 and 4 is 6."),
    ("The sum of 3, 4 and 5 is 12.", "The sum of 3, 4 and 5 is 13."),
    ("The average of 3 and 5 is 4.", "The average of 3 and 5 is 5."),
    ("750 minus 500 equals 250.", "750 minus 500 equals 150."),
    ("The remainder when 17 is divided by 5 is 2.", "The remainder when 17 is divided by 5 is 3."),
    ("So 12 divided by 4 is 3.", "So 12 divided by 4 is 5."),
    ("The product of 3, 4 and 5 is 60.", "The product of 3, 4 and 5 is 70."),
    ("There are 60 minutes in an hour.", "There are 50 minutes in an hour."),
    ("There are 31 days in March.", "There are 30 days in March."),
    ("2 hours is 120 minutes.", "2 hours is 90 minutes."),
    ("Half a dozen plates means 6 plates.", "Half a dozen plates means 3 plates."),
    (
        "From January 1 to July 18, there are 198 days.",
        "From January 1 to July 18, there are 203 days.",
    ),
]
NO_PROOF = [
    "So 12 divided by 0 is 5.",
    "Half of 7 is 3.4.",
    "From February 30 to March 3 there are 9 days.",
    "From December 20 to January 5 there are 16 days.",
    "10 plus 9 plus 1 equals 20.",
    "72 months / 12 months = 6 years",
    "The multiples of 12 less than 75 are 12, 24 and 36.",
    "There are 9 days in July in which she is away.",
    "One divisor pair with a sum of 296 is 7 and 289.",
    "If half of 20 is 12, something is wrong.",
    "40 hours is 5 days of work.",
]


@pytest.mark.parametrize(("right", "wrong"), PAIRS)
def test_arithmetic_in_words_is_decided(right: str, wrong: str) -> None:
    assert check_steps("", [right])[0].status is Status.CORRECT
    (report,) = check_steps("", [wrong])
    assert report.status is Status.INCORRECT
    assert report.reason


@pytest.mark.parametrize("text", NO_PROOF)
def test_words_that_mean_something_else_are_no_proof(text: str) -> None:
    assert check_steps("", [text])[0].status is not Status.INCORRECT


@given(st.integers(0, 99), st.integers(1, 99), st.sampled_from(["plus", "minus", "times"]))
def test_operations_in_words(a: int, b: int, verb: str) -> None:
    value = {"plus": a + b, "minus": a - b, "times": a * b}[verb]
    if value >= 0:
        text = "We see that {} {} {} is {}."
        assert check_steps("", [text.format(a, verb, b, value)])[0].status is Status.CORRECT
        wrong = check_steps("", [text.format(a, verb, b, value * 2 + 5)])[0]
        assert wrong.status is Status.INCORRECT


@pytest.mark.parametrize(
    "text",
    [
        "Half of {} is 5.",
        "There are {} minutes in an hour.",
        "From May 3 to May 9 there are {} days.",
        "{} + 1 = 5, modulo {}",
        "It costs ${} per skirt, and the output is {}.",
    ],
)
@pytest.mark.parametrize("number", ["9" * 5000, "999," * 1500 + "999", "1e99999999"])
def test_long_numbers_are_left_alone(text: str, number: str) -> None:
    long = text.replace("{}", number)
    reports = check_steps(long, [long, "The output is 4321.", long], [long, "", ""])
    assert reports[1].status is not Status.CORRECT


def test_a_rate_of_the_problem_is_quoted_as_it_stands() -> None:
    problem = "It costs $6.00 per skirt and $8.00 per blouse."
    right, wrong, computed = check_steps(
        problem, ["1 skirt x $6.00/skirt = $6.00", "1 skirt x $8.00/skirt = $8.00", "$7/skirt"]
    )
    assert right.status is Status.CORRECT
    assert wrong.status is Status.INCORRECT and "$6 per skirt" in wrong.reason
    assert computed.status is Status.UNDECIDED, "a rate of its own may be computed"


@pytest.mark.parametrize(
    ("report", "status"),
    [
        ("The output is 42, so that is it.", Status.CORRECT),
        ("The code returned 41.", Status.INCORRECT),
        ("The program prints 3.14.", Status.CORRECT),
        ("The answer follows.", Status.UNDECIDED),
    ],
)
def test_results_of_tools_are_quoted_rightly(report: str, status: Status) -> None:
    state = State("q", (Step("Run it.", reply="42\n3.14159"), Step(report)))
    ((_, verdict),) = FreeTextStepVerifier().verify_steps([Problem("p", "q", "42")], [state])
    assert verdict.status is status

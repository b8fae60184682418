"""Each option by an example either way: with it and without."""

from __future__ import annotations

import pytest

from stepgym.envs.maths import MathOptions, MathVerifier, Percent, verify_answer
from stepgym.envs.types import Problem

EXAMPLES = [
    (
        MathOptions(float_tolerance=0.01),
        "3.14",
        "3.15",
        True,
        "within one percent of a decimal reference",
    ),
    (MathOptions(), "3.14", "3.15", False, "decimals are compared as they are"),
    (
        MathOptions(float_tolerance=0.01),
        "\\pi",
        "3.14",
        False,
        "an exact reference asks for an exact answer",
    ),
    (MathOptions(float_tolerance=0.01), "100", "100.5", False, "so does a whole number"),
    (MathOptions(simplified=True), "\\frac12", "\\frac24", False, "not in lowest terms"),
    (MathOptions(), "\\frac12", "\\frac24", True, "forms are not looked at"),
    (MathOptions(simplified=True), "\\frac12", "\\frac12", True, "in lowest terms"),
    (MathOptions(simplified=True), "2\\sqrt2", "\\sqrt8", False, "a square factor under the root"),
    (MathOptions(simplified=True), "5", "2+3", False, "arithmetic left to do"),
    (MathOptions(simplified=True), "\\frac{x}{2}", "\\frac{x}{2}", True, "a letter over a number"),
    (MathOptions(simplified=True), "\\frac{2}{x}", "\\frac{2}{x}", True, "a number over a letter"),
    (
        MathOptions(simplified=True),
        "\\frac{x}{2}",
        "\\frac{2x}{4}",
        False,
        "a common factor of a product",
    ),
    (
        MathOptions(simplified=True),
        "\\frac{x+2}{2}",
        "\\frac{2x+4}{4}",
        False,
        "a common factor of a sum",
    ),
    (
        MathOptions(simplified=True),
        "\\frac{1-\\sqrt5}{2}",
        "\\frac{1-\\sqrt5}{2}",
        True,
        "no common factor",
    ),
    (MathOptions(order_matters=True), "1, 2", "2, 1", False, "another order"),
    (MathOptions(), "1, 2", "2, 1", True, "solutions come in any order"),
    (MathOptions(units_required=True), "5\\text{ cm}", "5", False, "no unit"),
    (
        MathOptions(units_required=True),
        "5\\text{ cm}",
        "50\\text{ mm}",
        True,
        "the unit may be another",
    ),
    (MathOptions(), "5\\text{ cm}", "5", True, "the question may have named the unit"),
    (MathOptions(), "28\\%", "28", True, "the question asked for percent"),
    (MathOptions(percent=Percent.EXACT), "28\\%", "28", False, "28 percent is 0.28"),
    (MathOptions(percent=Percent.EXACT), "28\\%", "0.28", True, "28 percent is 0.28"),
    (MathOptions(), "28", "28\\%", False, "nothing asked for percent"),
    (MathOptions(percent=Percent.EITHER), "28", "28\\%", True, "either may leave the sign away"),
    (MathOptions(percent=Percent.EITHER), "0.28", "28", False, "but never both"),
]


@pytest.mark.parametrize(("options", "reference", "answer", "correct", "why"), EXAMPLES)
def test_an_option_does_what_its_example_says(
    options: MathOptions, reference: str, answer: str, correct: bool, why: str
) -> None:
    assert verify_answer(answer, reference=reference, options=options).correct is correct, why


def test_what_is_no_text_is_the_callers_fault() -> None:
    with pytest.raises(TypeError, match=r"answer must be a str, not None"):
        verify_answer(None, reference="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"reference must be a str, not 1 \(int\)"):
        verify_answer("1", reference=1)  # type: ignore[arg-type]


def test_a_wrong_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"float_tolerance 2.*\[0, 1\)"):
        MathOptions(float_tolerance=2)
    with pytest.raises(ValueError, match="limit_s 0"):
        MathOptions(limit_s=0)


def test_a_problem_may_bring_its_own_options() -> None:
    strict = Problem("a", "?", "1, 2", task={"options": {"order_matters": True}})
    loose = Problem("b", "?", "1, 2")
    verdicts = MathVerifier().verify([strict, loose], ["2, 1", "2, 1"])
    assert [v.correct for v in verdicts] == [False, True]

"""Whose fault an undecided pair is: the answer's if the reference alone is within reach."""

from __future__ import annotations

import pytest

from stepgym.envs.maths import MathOptions, verify_answer
from stepgym.envs.types import Fault, Status

SHORT = MathOptions(limit_s=0.5)


@pytest.mark.parametrize(
    ("answer", "reference", "fault"),
    [
        ("1+" * 130_000 + "1", "5", Fault.ANSWER),
        ("((" * 200 + "x" + "+1)^2)" * 200, "5", Fault.ANSWER),
        ("\\sum_{k=1}^{10^{12}} \\sin k", "5", Fault.ANSWER),
        ("0x" + "f" * 5000, "5", Fault.ANSWER),
        ("\\boxed{4", "4", Fault.ANSWER),
        ("5", "\\frac{", Fault.OURS),
        ("5", "\\sum_{k=1}^{10^{12}} \\sin k", Fault.OURS),
        ("5", "1+" * 130_000 + "1", Fault.OURS),
    ],
    ids=lambda v: str(v)[:24],
)
def test_an_undecided_pair_says_whose_fault_it_is(
    answer: str, reference: str, fault: Fault
) -> None:
    verdict = verify_answer(answer, reference=reference, options=SHORT)
    assert verdict.status is Status.UNDECIDED
    assert verdict.fault is fault


def test_a_decided_pair_has_no_fault() -> None:
    assert verify_answer("5", reference="5").fault is None
    assert verify_answer("4", reference="5").fault is None


def test_questions_are_texts_one_for_each_answer() -> None:
    verify_answer("5", reference="5", question="What is 2 + 3?")
    with pytest.raises(TypeError, match="question must be a str"):
        verify_answer("5", reference="5", question=5)  # type: ignore[arg-type]

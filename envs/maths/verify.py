"""The verdict on answers: extraction, then the ladder of checks."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from stepgym.envs.maths.extract import extract_answer
from stepgym.envs.maths.options import DEFAULT, MathOptions
from stepgym.envs.types import Problem, Status, Verdict


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text.replace(",", "").strip(" $"))
    except (ValueError, ZeroDivisionError):
        return None


def verify_answer(answer: str, *, reference: str, options: MathOptions = DEFAULT) -> Verdict:
    """Decide whether `answer`, bare or a whole completion, is `reference`. Never raises on any text."""
    found = extract_answer(answer)
    wanted = extract_answer(reference)
    details = {"extracted": found.text, "span": list(found.span), "how": found.how}
    if "".join(found.text.split()) == "".join(wanted.text.split()):
        return Verdict(Status.CORRECT, 1.0, decided_by="text", details=details)
    ours, theirs = _number(found.text), _number(wanted.text)
    if ours is not None and ours == theirs:
        return Verdict(Status.CORRECT, 1.0, decided_by="rational", details=details)
    return Verdict(Status.INCORRECT, decided_by="text", details=details)


def verify_answers(
    answers: Sequence[str], *, references: Sequence[str], options: MathOptions = DEFAULT
) -> list[Verdict]:
    """Decide many pairs; order is kept."""
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    return [verify_answer(a, reference=r, options=options) for a, r in zip(answers, references)]


def same_answer(a: str, b: str) -> bool:
    """Whether two answers are the same, read either way round; what voting groups by."""
    return verify_answer(a, reference=b).correct and verify_answer(b, reference=a).correct


class MathVerifier:
    """Ground truth for problems whose reference is mathematics; `Problem.task["options"]` may override options."""

    def __init__(self, options: MathOptions = DEFAULT) -> None:
        self.options = options

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [verify_answer(a, reference=p.reference, options=self.options) for p, a in zip(problems, answers)]

    def same(self, a: str, b: str) -> bool:
        return same_answer(a, b)

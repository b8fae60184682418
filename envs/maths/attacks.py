"""A corpus of answers that must not be CORRECT, and any verifier run over it.

Each row of `attacks.jsonl` is an answer that mentions, surrounds or imitates the reference without being it. Honest
rows are between them: right answers in ordinary forms, so that a verifier which accepts nothing shows as well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from stepgym.envs.maths.judge import Ask, Judge
from stepgym.envs.maths.verify import verify_answers
from stepgym.envs.types import Problem, Status, Verdict
from stepgym.plugins.names import resolve


@dataclass(frozen=True, slots=True)
class Attack:
    """One answer that must not be CORRECT, or an honest one that must be."""

    id: str
    category: str
    reference: str
    answer: str
    question: str | None = None
    honest: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What a verifier said of one row."""

    attack: Attack
    status: Status
    reason: str = ""

    @property
    def won(self) -> bool:
        """Whether an attack passed as CORRECT."""
        return not self.attack.honest and self.status is Status.CORRECT

    @property
    def missed(self) -> bool:
        """Whether an honest answer did not."""
        return self.attack.honest and self.status is not Status.CORRECT

    def row(self) -> dict[str, Any]:
        """Return the result as a JSON-able row."""
        return {
            "id": self.attack.id,
            "category": self.attack.category,
            "reference": self.attack.reference,
            "answer": self.attack.answer,
            "verdict": self.status.value,
            "reason": self.reason,
            "won": self.won,
            "missed": self.missed,
        }


VERIFIERS = {
    "stepgym": "stepgym.envs.maths.verify:MathVerifier",
    "math_verify": "stepgym.envs.maths.attacks:with_math_verify",
    "exact_match": "stepgym.envs.maths.attacks:with_exact_match",
}


def load_attacks() -> list[Attack]:
    """Return the corpus that ships with the package."""
    text = (files("stepgym.envs.maths") / "attacks.jsonl").read_text("utf-8")
    return [Attack(**json.loads(line)) for line in text.splitlines()]


def run_attacks(
    verifier: str | Any = "stepgym",
    *,
    attacks: Sequence[Attack] | None = None,
    judge: str | Judge | Ask | None = None,
) -> list[AttackResult]:
    """Run the corpus over a verifier: a name, a dotted path, or the verifier itself.

    A verifier is an object (or a class of objects) with `verify(problems, answers)`, or a function of an answer and
    a reference that returns whether they agree. An exception of the verifier is UNDECIDED for that row. `judge` is
    for the verifier `stepgym` alone.
    """
    corpus = load_attacks() if attacks is None else list(attacks)
    if judge is not None:
        if verifier != "stepgym":
            raise ValueError(f"a judge belongs to the verifier 'stepgym', not to {verifier!r}")
        verdicts = verify_answers(
            [attack.answer for attack in corpus],
            references=[attack.reference for attack in corpus],
            questions=[attack.question for attack in corpus],
            judge=judge,
        )
        return [AttackResult(a, v.status, v.reason) for a, v in zip(corpus, verdicts)]
    if isinstance(verifier, str):
        verifier = resolve(verifier, kind="verifier", known=VERIFIERS)
    if isinstance(verifier, type):
        verifier = verifier()
    return [_result(verifier, attack) for attack in corpus]


def _result(verifier: Any, attack: Attack) -> AttackResult:
    try:
        if hasattr(verifier, "verify"):
            problem = Problem(attack.id, attack.question or "", attack.reference)
            [said] = verifier.verify([problem], [attack.answer])
        else:
            said = verifier(attack.answer, attack.reference)
    except Exception as error:  # noqa: BLE001 - a foreign verifier: what it raises is a result
        return AttackResult(attack, Status.UNDECIDED, f"raised {type(error).__name__}: {error}")
    if isinstance(said, Verdict):
        return AttackResult(attack, said.status, said.reason)
    if said is None:
        return AttackResult(attack, Status.UNDECIDED)
    return AttackResult(attack, Status.CORRECT if said else Status.INCORRECT)


def with_math_verify(answer: str, reference: str) -> bool:
    """Compare by the package Math-Verify, which must be installed."""
    from math_verify import parse, verify

    wanted = parse(f"${reference}$")
    return bool(verify(wanted, parse(answer)) or verify(wanted, parse(f"${answer}$")))


def with_exact_match(answer: str, reference: str) -> bool:
    """Compare the texts, blanks at the ends left out: the least that a verifier can do."""
    return answer.strip() == reference.strip()

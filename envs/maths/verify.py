"""The verdict on answers: extraction, then the ladder of checks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from stepgym.envs.maths import workers
from stepgym.envs.maths.extract import (
    ANSWER,
    CHOICE,
    CUT_OFF,
    HEDGED,
    REFERENCE,
    Extraction,
    extract_answer,
)
from stepgym.envs.maths.ladder import Decision, decide
from stepgym.envs.maths.options import DEFAULT, MathOptions, Percent
from stepgym.envs.maths.textual import is_plain_choice
from stepgym.envs.types import Fault, Problem, Status, Verdict

FAILURE = "failure"
"""`Verdict.decided_by` of a pair on which the verifier itself failed."""
_log = logging.getLogger(__name__)


def verify_answer(
    answer: str, *, reference: str, question: str | None = None, options: MathOptions = DEFAULT
) -> Verdict:
    """Decide whether `answer`, bare or a whole completion, is `reference`. Never raises on any text.

    `question` is the problem's text, if there is one; it settles what the two texts leave open.
    """
    return verify_answers([answer], references=[reference], questions=[question], options=options)[
        0
    ]


def verify_answers(
    answers: Sequence[str],
    *,
    references: Sequence[str],
    questions: Sequence[str | None] | None = None,
    options: MathOptions = DEFAULT,
) -> list[Verdict]:
    """Decide many pairs; order is kept. The worker processes share what the cheap rungs leave undecided."""
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    if questions is not None and len(questions) != len(answers):
        raise ValueError(f"{len(questions)} questions for {len(answers)} answers")
    _require_text("answer", answers)
    _require_text("reference", references)
    _require_text("question", [q for q in questions or () if q is not None])
    pairs = [_Pair(reference, answer, options) for reference, answer in zip(references, answers)]
    hard = [pair for pair in pairs if pair.decision.again]
    if hard:
        texts = [(pair.wanted.text, pair.given.text) for pair in hard]
        for pair, decision in zip(hard, workers.decide_all(texts, options)):
            pair.decision = decision
    return [_verdict(pair.decision, pair.given) for pair in pairs]


class _Pair:
    """One pair on its way: what was extracted, and the decision so far.

    This is the boundary: an exception, which is a fault of the verifier, makes this pair UNDECIDED and is logged.
    """

    def __init__(self, reference: str, answer: str, options: MathOptions) -> None:
        self.wanted = self.given = Extraction("", (0, 0), "failure")
        try:
            self.wanted = extract_answer(reference, kind=REFERENCE)
            kind = CHOICE if is_plain_choice(self.wanted.text) else ANSWER
            self.given = extract_answer(answer, kind=kind)
            self.decision = decide(self.wanted.text, self.given.text, options)
        except Exception as error:  # noqa: BLE001 - the boundary
            _log.exception("undecided: %.200r against the reference %.200r", answer, reference)
            reason = f"{type(error).__name__}: {error}"[:300]
            self.decision = Decision(Status.UNDECIDED, FAILURE, reason, fault=Fault.OURS)


def _require_text(name: str, values: Sequence[object]) -> None:
    """Raise `TypeError` for a value that is no text: a mistake in the caller's code, not in an answer."""
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {value!r} ({type(value).__name__})")


def _verdict(decision: Decision, found: Extraction) -> Verdict:
    details = {"extracted": found.text, "span": found.span, "how": found.how}
    if found.how == CUT_OFF and decision.status is Status.CORRECT:
        return Verdict(
            Status.UNDECIDED,
            reason="the text ends inside its box",
            decided_by="extraction",
            details=details,
            fault=Fault.ANSWER,
        )
    if found.how == HEDGED and decision.status is Status.CORRECT and decision.rung != "text":
        return Verdict(Status.INCORRECT, reason=found.how, decided_by="extraction", details=details)
    fault = decision.fault or Fault.OURS if decision.status is Status.UNDECIDED else None
    score = 1.0 if decision.status is Status.CORRECT else 0.0
    return Verdict(decision.status, score, decision.reason, decision.rung, details, fault)


def same_answer(a: str, b: str) -> bool:
    """Whether two answers are the same with either one as the reference; votes group answers by it."""
    return verify_answer(a, reference=b).correct and verify_answer(b, reference=a).correct


class MathVerifier:
    """Ground truth for problems whose reference is mathematics.

    A problem may carry its own options, by their names in `MathOptions`: `task={"options": {"order_matters": True}}`.
    """

    def __init__(self, options: MathOptions = DEFAULT) -> None:
        self.options = options

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Return one verdict per problem, in order."""
        groups: dict[MathOptions, list[int]] = {}
        for i, problem in enumerate(problems):
            groups.setdefault(self._options_for(problem), []).append(i)
        found: dict[int, Verdict] = {}
        for options, places in groups.items():
            verdicts = verify_answers(
                [answers[i] for i in places],
                references=[problems[i].reference for i in places],
                questions=[problems[i].prompt for i in places],
                options=options,
            )
            found.update(zip(places, verdicts))
        return [found[i] for i in range(len(problems))]

    def same(self, a: str, b: str) -> bool:
        """Whether two answers are the same."""
        return same_answer(a, b)

    def _options_for(self, problem: Problem) -> MathOptions:
        own = problem.task.get("options")
        if not own:
            return self.options
        named = {**own, "percent": Percent(own["percent"])} if "percent" in own else dict(own)
        return replace(self.options, **named)

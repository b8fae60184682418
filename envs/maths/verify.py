"""The verdict on answers: extraction, then the ladder of checks."""

from __future__ import annotations

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
from stepgym.envs.maths.question import VETO_REASONS, Adjusted, Case, adjust, veto
from stepgym.envs.maths.textual import is_plain_choice
from stepgym.envs.types import Fault, Problem, Status, Verdict


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
    wanted = [extract_answer(reference, kind=REFERENCE).text for reference in references]
    found = [
        extract_answer(answer, kind=CHOICE if is_plain_choice(reference) else ANSWER)
        for answer, reference in zip(answers, wanted)
    ]
    asked = [
        adjust(Case(question, reference, given.text, options))
        if question
        else Adjusted(Case("", reference, given.text, options))
        for question, reference, given in zip(
            questions or [None] * len(answers), wanted, found, strict=True
        )
    ]
    decisions = _decide([pair.case for pair in asked])
    return [
        _verdict(_with_question(pair, decision), given)
        for pair, given, decision in zip(asked, found, decisions)
    ]


def _decide(cases: Sequence[Case]) -> list[Decision]:
    decisions = [decide(case.reference, case.answer, case.options) for case in cases]
    hard: dict[MathOptions, list[int]] = {}
    for i, decision in enumerate(decisions):
        if decision.again:
            hard.setdefault(cases[i].options, []).append(i)
    for options, places in hard.items():
        pairs = [(cases[i].reference, cases[i].answer) for i in places]
        for i, decision in zip(places, workers.decide_all(pairs, options)):
            decisions[i] = decision
    return decisions


def _with_question(pair: Adjusted, decision: Decision) -> Decision:
    """Return a decision after the vetoes, with the rule that made the difference as its rung."""
    if not pair.case.question:
        return decision
    if decision.status is Status.CORRECT:
        name = veto(pair.case)
        if name is not None:
            return Decision(Status.INCORRECT, f"question: {name}", VETO_REASONS[name])
    if pair.original is not None:
        without = decide(pair.original.reference, pair.original.answer, pair.original.options)
        if without.status is not decision.status:
            return decision._replace(rung=f"question: {pair.rules[-1]}")
    return decision


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

"""The verdict on answers: extraction, then the ladder of checks."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace

from stepgym.envs.maths import workers
from stepgym.envs.maths.extract import (
    CUT_OFF,
    HEDGED,
    MIN_ECHO_CHARS,
    REFERENCE,
    Extraction,
    echoes,
    extract_answer,
    kind_for,
)
from stepgym.envs.maths.judge import Ask, Judge, open_judge
from stepgym.envs.maths.ladder import Decision, decide
from stepgym.envs.maths.options import DEFAULT, MathOptions, Percent
from stepgym.envs.maths.question import VETO_REASONS, Adjusted, Case, adjust, veto
from stepgym.envs.types import Fault, Problem, Status, Verdict

_PLAIN_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")

FAILURE = "failure"
"""`Verdict.decided_by` of a pair on which the verifier itself failed."""
NOT_EXTRACTED = Extraction("", (0, 0), FAILURE)
_log = logging.getLogger(__name__)


def verify_answer(
    answer: str,
    *,
    reference: str,
    question: str | None = None,
    options: MathOptions = DEFAULT,
    judge: str | Judge | Ask | None = None,
) -> Verdict:
    """Decide whether `answer`, bare or a whole completion, equals `reference`.

    Never raises on any text.

    `question` is the problem's text, if there is one; it settles what the two texts leave open. `judge` is a model
    that is asked if the pair stays UNDECIDED: `chat:URL#MODEL`, or a function from prompts to replies.
    """
    if not (isinstance(answer, str) and isinstance(reference, str)):
        _require_text("answer", [answer])
        _require_text("reference", [reference])
    if question is not None:
        _require_text("question", [question])
    pair = _Pair(reference, answer, question, options)
    if judge is None and not pair.decision.again:
        return pair.verdict()
    return _verdicts([pair], judge)[0]


def verify_answers(
    answers: Sequence[str],
    *,
    references: Sequence[str],
    questions: Sequence[str | None] | None = None,
    options: MathOptions = DEFAULT,
    judge: str | Judge | Ask | None = None,
) -> list[Verdict]:
    """Decide many pairs at once; return one verdict per pair, in order.

    Arguments are those of `verify_answer`, one list each. Worker processes share the pairs that the cheap checks
    leave undecided.
    """
    if len(answers) != len(references):
        raise ValueError(f"{len(answers)} answers for {len(references)} references")
    if questions is not None and len(questions) != len(answers):
        raise ValueError(f"{len(questions)} questions for {len(answers)} answers")
    _require_text("answer", answers)
    _require_text("reference", references)
    _require_text("question", [q for q in questions or () if q is not None])
    pairs = [
        _Pair(reference, answer, question, options)
        for reference, answer, question in zip(
            references, answers, questions or [None] * len(answers), strict=True
        )
    ]
    return _verdicts(pairs, judge)


def _verdicts(pairs: list[_Pair], judge: str | Judge | Ask | None) -> list[Verdict]:
    """Decide on the workers what the cheap rungs left undecided, as one batch, and return all verdicts."""
    hard: dict[tuple[str, str, MathOptions], list[_Pair]] = {}
    for pair in pairs:
        if pair.decision.again:
            hard.setdefault(pair.case[1:], []).append(pair)
    for equal, decision in zip(hard.values(), workers.decide_all(list(hard))):
        for pair in equal:
            pair.decision = decision
    verdicts = [pair.verdict() for pair in pairs]
    if judge is not None:
        _ask_judge(open_judge(judge), pairs, verdicts)
    return verdicts


class _Pair:
    """One pair on its way: what was extracted and asked, and the decision so far.

    This is the boundary: an exception, which is a fault of the verifier, makes this pair UNDECIDED and is logged.
    """

    __slots__ = ("asked", "case", "decision", "given")

    def __init__(
        self, reference: str, answer: str, question: str | None, options: MathOptions
    ) -> None:
        self.given = NOT_EXTRACTED
        self.asked: Adjusted | None = None
        self.case = Case("", reference, answer, options)
        """The pair as the question's rules left it."""
        try:
            wanted = extract_answer(reference, kind=REFERENCE).text
            self.given = extract_answer(answer, kind=kind_for(wanted))
            self.case = Case(question or "", wanted, self.given.text, options)
            if question:
                self.asked = adjust(self.case)
                self.case = self.asked.case
            self.decision = decide(self.case.reference, self.case.answer, self.case.options)
            if (
                self.decision.status is not Status.CORRECT
                and len(reference) >= MIN_ECHO_CHARS
                and echoes(answer, reference)
            ):
                self.given = Extraction(reference, self.given.span, "the reference's words")
                self.decision = Decision(Status.CORRECT, "text")
        except Exception as error:  # noqa: BLE001 - the boundary
            self.asked, self.case = None, Case("", reference, answer, options)
            self.decision = self._failed(error)

    def verdict(self) -> Verdict:
        """Return the verdict, after the question's vetoes."""
        if self.asked is None:
            return _verdict(self.decision, self.given)
        try:
            return _verdict(_with_question(self.asked, self.decision), self.given)
        except Exception as error:  # noqa: BLE001 - the boundary
            return _verdict(self._failed(error), self.given)

    def _failed(self, error: Exception) -> Decision:
        case = self.case
        _log.exception("undecided: %.200r, reference %.200r", case.answer, case.reference)
        reason = f"{type(error).__name__}: {error}"[:300]
        return Decision(Status.UNDECIDED, FAILURE, reason, fault=Fault.OURS)


def _with_question(asked: Adjusted, decision: Decision) -> Decision:
    """Return a decision after the vetoes, with the rule that made the difference as its rung."""
    if not asked.case.question:
        return decision
    if decision.status is Status.CORRECT:
        name = veto(asked.case)
        if name is not None:
            return Decision(Status.INCORRECT, f"question: {name}", VETO_REASONS[name])
    if asked.original is not None:
        before = asked.original
        without = decide(before.reference, before.answer, before.options)
        if without.status is not decision.status:
            return decision._replace(rung=f"question: {asked.rules[-1]}")
    return decision


def _ask_judge(judge: Judge, pairs: Sequence[_Pair], verdicts: list[Verdict]) -> None:
    """Replace UNDECIDED verdicts that are not the answer's fault by the judge's, if it gives one."""
    places = [
        i
        for i, verdict in enumerate(verdicts)
        if verdict.status is Status.UNDECIDED and verdict.fault is not Fault.ANSWER
    ]
    cases = [pairs[i].case for i in places]
    opinions = judge.compare([(c.reference, c.answer, c.question or None) for c in cases])
    for i, opinion in zip(places, opinions):
        if opinion.same is None:
            reason = f"{verdicts[i].reason}; {opinion.reason}"
            verdicts[i] = replace(verdicts[i], reason=reason)
            continue
        status = Status.CORRECT if opinion.same else Status.INCORRECT
        score = float(opinion.same)
        verdicts[i] = Verdict(status, score, opinion.reason, "judge", verdicts[i].details)


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


def same_answers(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Return for each pair whether its answers are the same with either one as the reference; votes group by it."""
    same = [
        verdict.correct
        for verdict in verify_answers([a for a, _ in pairs], references=[b for _, b in pairs])
    ]
    left = [pair for pair, found in zip(pairs, same) if found]
    reverse = iter(verify_answers([b for _, b in left], references=[a for a, _ in left]))
    return [found and next(reverse).correct for found in same]


def same_answer(a: str, b: str) -> bool:
    """Return whether two answers are the same with either one as the reference."""
    return same_answers([(a, b)])[0]


def answer_key(answer: str) -> int | None:
    """Return the value of a plain integer, by which votes group answers without comparing them; `None` for the rest."""
    return int(answer) if _PLAIN_INTEGER.fullmatch(answer) else None


class MathVerifier:
    """Ground truth for problems whose reference is mathematics.

    A problem may carry its own options, by their names in `MathOptions`: `task={"options": {"order_matters": True}}`.
    """

    def __init__(
        self, options: MathOptions = DEFAULT, *, judge: str | Judge | Ask | None = None
    ) -> None:
        self.options = options
        self.judge = None if judge is None else open_judge(judge)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Return one verdict per problem, in order."""
        if len(answers) != len(problems):
            raise ValueError(f"{len(answers)} answers for {len(problems)} problems")
        _require_text("answer", answers)
        _require_text("reference", [problem.reference for problem in problems])
        pairs = [
            _Pair(problem.reference, answer, problem.prompt, self._options_for(problem))
            for problem, answer in zip(problems, answers)
        ]
        return _verdicts(pairs, self.judge)

    def same(self, a: str, b: str) -> bool:
        """Return whether two answers are the same."""
        return same_answer(a, b)

    def same_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Return for each pair of answers whether they are the same, in one call."""
        return same_answers(pairs)

    def answer_key(self, answer: str) -> int | None:
        """Return the value of a plain integer, `None` for any other answer."""
        return answer_key(answer)

    def _options_for(self, problem: Problem) -> MathOptions:
        own = problem.task.get("options")
        if not own:
            return self.options
        named = {**own, "percent": Percent(own["percent"])} if "percent" in own else dict(own)
        return replace(self.options, **named)

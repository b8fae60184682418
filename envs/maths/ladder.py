"""The ladder: text, rational, structural, modular, numeric; the symbolic rung is asked for by `UNKNOWN`.

`decide` is pure and cheap: no process, no clock. `verify.py` hands what it cannot decide to the worker processes, which
run the same `decide` with the last rung filled in.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NamedTuple

from stepgym.envs.maths.bounds import whose_fault
from stepgym.envs.maths.compare import Judge
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import STEPS, TooMuchWork, limited_to
from stepgym.envs.maths.labels import contradictory, labelled
from stepgym.envs.maths.measures import LastRung
from stepgym.envs.maths.options import MathOptions
from stepgym.envs.maths.quantities import written
from stepgym.envs.maths.reading import Reading, quick_decimal, quick_number, read
from stepgym.envs.maths.simplified import fault
from stepgym.envs.maths.textual import compare_texts
from stepgym.envs.types import Fault, Status


class Decision(NamedTuple):
    """`status` UNDECIDED with `again` asks for the symbolic rung; without it, it is final."""

    status: Status
    rung: str
    reason: str = ""
    again: bool = False
    fault: Fault | None = None
    """Whose limit was met; read only if the status is UNDECIDED."""


_YES_TEXT = Decision(Status.CORRECT, "text")
_SIZING = re.compile(r"\\(?:left|right|displaystyle)(?![A-Za-z])")
_SPACING = re.compile(r"(?:\\[,;:!]|[\s$])+")
_BLANK = re.compile(r"[\s$]|\\[,;:!]")
_LOOSE = re.compile(r" (?![\w.])|(?<![\w.]) ")
_THOUSANDS = re.compile(r"\d,[1-9]\d{2}(?!\d)")
"""What may be a list as well as one number; no list is written `1,000`."""
_DECIMAL_COMMA = re.compile(r"[\s$]*-?(?:\d{4,},\d{1,2}|0,\d{3,}|\d{1,3},0[1-9])[\s$]*\Z")
"""A decimal comma that can be nothing else: not `0,5` or `3,14`, which are lists as well."""
_SHORT_COMMA = re.compile(r"[\s$]*-?\d{1,3},(?:\d{1,2}|\d{4,9})[\s$]*\Z")
"""What is a decimal comma if the reference is a decimal."""
MAX_TEXT = 250_000


def decide(
    reference: str, answer: str, options: MathOptions, last_rung: LastRung | None = None
) -> Decision:
    """Decide one pair of extracted texts."""
    if not options.simplified and not options.units_required:
        a = quick_number(reference)
        if a is not None:
            b = quick_number(answer)
            if b is not None:
                return Decision(Status.CORRECT if a == b else Status.INCORRECT, "rational")
        x, y = quick_decimal(reference), quick_decimal(answer)
        if x is not None and y is not None:
            if x[0] == y[0]:
                return Decision(Status.CORRECT, "rational")
            if options.float_tolerance == 0 and (x[1] == y[1] or min(x[1], y[1]) < 2):
                return Decision(Status.INCORRECT, "rational")
    if len(reference) > MAX_TEXT or len(answer) > MAX_TEXT:
        return (
            Decision(Status.CORRECT, "text")
            if reference == answer
            else Decision(
                Status.UNDECIDED,
                "text",
                "a text too large to read",
                fault=Fault.OURS if len(reference) > MAX_TEXT else Fault.ANSWER,
            )
        )
    if squash(reference) == squash(answer) and answer.strip():
        return _simplified_or(_YES_TEXT, reference, answer, options)
    if (":" in answer or "=" in answer or ":" in reference or "=" in reference) and (
        found := _by_labels(reference, answer, options, last_rung)
    ) is not None:
        return found
    texts = compare_texts(reference, answer)
    if texts is not None:
        return Decision(Status.CORRECT if texts else Status.INCORRECT, "text")
    wanted, given = read(reference), read(answer)
    if wanted.node is None and (cut := reference.rstrip()).endswith("^"):
        wanted = read(cut.rstrip("^"))  # its exponent, a degree sign, was lost
    if wanted.node is None or given.node is None:
        return _unreadable(wanted, given)
    return _simplified_or(
        _compare(reference, answer, wanted, given, options, last_rung), reference, answer, options
    )


def _by_labels(
    reference: str, answer: str, options: MathOptions, last_rung: LastRung | None
) -> Decision | None:
    """Compare values that have labels in words; `None` if neither text consists of such values."""
    wanted, given = labelled(reference), labelled(answer)
    if wanted is None and given is None:
        return None
    if given is not None and contradictory(given):
        return Decision(Status.INCORRECT, "structural", "its greatest value is below its least")
    if wanted is None or given is None:
        if wanted is not None:
            options = replace(options, order_matters=True)
        texts = [
            text if items is None else ", ".join(value for _, value in items)
            for text, items in ((reference, wanted), (answer, given))
        ]
        return decide(texts[0], texts[1], options, last_rung)
    by_label = dict(given)
    if set(by_label) != {label for label, _ in wanted}:
        if len(wanted) != len(given):
            return Decision(Status.INCORRECT, "structural", "other labels")
        by_label = {label: value for (label, _), (_, value) in zip(wanted, given)}
    found = [decide(value, by_label[label], options, last_rung) for label, value in wanted]
    for status in (Status.INCORRECT, Status.UNDECIDED):
        for decision in found:
            if decision.status is status:
                return decision
    return found[0]


def squash(text: str) -> str:
    """A text without spacing and sizing that change nothing; a blank between letters or digits stays."""
    squashed = text
    if "\\" in text:
        squashed = _SIZING.sub("", squashed)
    if _BLANK.search(squashed):
        squashed = _LOOSE.sub("", _SPACING.sub(" ", squashed))
    return squashed if squashed.endswith("..") else squashed.rstrip(".")


def _unreadable(wanted: Reading, given: Reading) -> Decision:
    if wanted.node is None:
        reason = f"the reference cannot be read: {wanted.problem}"
        return Decision(Status.UNDECIDED, "structural", reason, fault=Fault.OURS)
    if given.too_large:
        return Decision(
            Status.UNDECIDED, "structural", f"too large: {given.problem}", fault=Fault.ANSWER
        )
    return Decision(Status.INCORRECT, "structural", f"the answer cannot be read: {given.problem}")


def _compare(
    reference: str,
    answer: str,
    wanted: Reading,
    given: Reading,
    options: MathOptions,
    last_rung: LastRung | None,
) -> Decision:
    assert wanted.node is not None and given.node is not None
    judge = Judge(options, Draws(reference, answer), last_rung)
    try:
        with limited_to(STEPS if last_rung is None else None):
            found = judge.same(wanted.node, given.node)
            if found is False and (_THOUSANDS.search(reference) or _THOUSANDS.search(answer)):
                x, y = read(reference, thousands=False).node, read(answer, thousands=False).node
                if (
                    x is not None
                    and y is not None
                    and (x, y) != (wanted.node, given.node)
                    and judge.same(x, y)
                ):
                    found = True
            if found is False and (
                _DECIMAL_COMMA.match(reference)
                or _DECIMAL_COMMA.match(answer)
                or (written(wanted.node) is not None and _SHORT_COMMA.match(answer))
            ):
                x, y = read(reference.replace(",", ".")).node, read(answer.replace(",", ".")).node
                found = x is not None and y is not None and judge.same(x, y)
    except RecursionError:
        return Decision(Status.UNDECIDED, judge.rung, "nested too deeply", fault=Fault.ANSWER)
    except TooMuchWork:
        return Decision(
            Status.UNDECIDED,
            judge.rung,
            "too much work for the calling process",
            again=last_rung is None,
            fault=whose_fault(wanted.node, given.node),
        )
    if found is None:
        return Decision(
            Status.UNDECIDED,
            judge.rung,
            "no rung could decide",
            again=last_rung is None and not judge.hopeless,
            fault=whose_fault(wanted.node, given.node),
        )
    return Decision(Status.CORRECT if found else Status.INCORRECT, judge.rung)


def _simplified_or(
    decision: Decision, reference: str, answer: str, options: MathOptions
) -> Decision:
    if not options.simplified or decision.status is not Status.CORRECT:
        return decision
    node = read(answer).node
    found = fault(node) if node is not None else None
    return (
        Decision(Status.INCORRECT, "structural", f"not simplified: {found}") if found else decision
    )

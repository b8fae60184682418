"""Decides what a step quotes: rates of the problem, results of tools.

A rate (`$8 per skirt`) is misquoted if the problem states another one for the same thing, and this one for another
thing; a result of a tool if the step reports a number that no tool printed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.types import Status

_RATE = re.compile(
    r"\$\s?(\d[\d,]*(?:\.\d+)?)\s*(?:per|/|for each|for every|for a|an?|each)\s*([A-Za-z]{3,})(?:\s+(?:per|each|an?|every)\s+([A-Za-z]{3,}))?"
)
_QUOTED_RATE = re.compile(r"\$\s?(\d[\d,]*(?:\.\d+)?)\s*/\s*([A-Za-z]{3,})")
_RESULT = re.compile(
    r"\b(?:the\s+)?(?:output|tool|code|program|script|interpreter|calculator|execution|python)(?:'s)?\b[^.\n=:]{0,40}?"
    r"(?:\b(?:is|was|gives?|gave|shows?|showed|returns?|returned|prints?|printed|says?|outputs?|yields?)|:|=)\s*(?:that\s+[^.\n]{0,30}?\bis\s+)?"
    r"[`$]?(-?\d[\d,]*(?:\.\d+)?)(?![\d/%^*+]|\.\d)"
)
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:[eE][-+]?\d{1,3}(?!\d))?")


def rate_claims(step: str, problem: str) -> Iterator[Claim]:
    """Yield a claim for each rate that the problem states with another value."""
    rates: dict[str, set[Fraction]] = {}
    for match in _RATE.finditer(problem):
        for noun in filter(None, match.groups()[1:]):  # `$1.50 per student per session`
            rates.setdefault(_singular(noun), set()).add(_value(match.group(1)))
    for match in _QUOTED_RATE.finditer(step):
        stated = rates.get(_singular(match.group(2)), set())
        value = _value(match.group(1))
        if len(stated) != 1:
            continue
        elsewhere = any(
            value in other for name, other in rates.items() if name != _singular(match.group(2))
        )
        if value in stated or elsewhere:
            (right,) = stated
            reason = f"the problem says ${float(right):g} per {match.group(2)}"
            yield _claim(step, match.span(), value in stated, reason)


def result_claims(step: str, results: Sequence[str]) -> Iterator[Claim]:
    """Yield a claim for each number that a step reports as a tool's result; `results` are all printed so far."""
    printed = [_value(number) for text in results for number in _NUMBER.findall(text)]
    if not printed:
        return
    for match in _RESULT.finditer(step):
        value = _value(match.group(1))
        grain = Fraction(1, 10 ** len(match.group(1).partition(".")[2]))
        holds = any(abs(value - number) < grain for number in printed)
        yield _claim(step, match.span(), holds, f"no tool printed {match.group(1)}")


def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", "").rstrip("."))


def _singular(word: str) -> str:
    return word.lower().removesuffix("s")


def _claim(step: str, span: tuple[int, int], holds: bool, reason: str) -> Claim:
    return Claim(
        kind=Kind.QUOTE,
        start=span[0],
        end=span[1],
        text=step[span[0] : span[1]],
        status=Status.CORRECT if holds else Status.INCORRECT,
        reason="" if holds else reason,
    )

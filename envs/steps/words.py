"""Decides arithmetic that is said in words: `half of 20 is 10`, `3 more than 5 is 8`, `there are 60 minutes in an hour`.

Only closed sentences are read: each operand is a number, and the result is the last number of its clause. A result may
be rounded as its decimals show.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from fractions import Fraction

from stepgym.envs.steps.arithmetic import shown
from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.setting import HYPOTHESIS, denied
from stepgym.envs.types import Status

_FACTORS = {
    "half": Fraction(1, 2),
    "one-half": Fraction(1, 2),
    "one half": Fraction(1, 2),
    "a third": Fraction(1, 3),
    "one third": Fraction(1, 3),
    "one-third": Fraction(1, 3),
    "two thirds": Fraction(2, 3),
    "two-thirds": Fraction(2, 3),
    "a quarter": Fraction(1, 4),
    "one quarter": Fraction(1, 4),
    "one-quarter": Fraction(1, 4),
    "one fourth": Fraction(1, 4),
    "one-fourth": Fraction(1, 4),
    "three quarters": Fraction(3, 4),
    "three-quarters": Fraction(3, 4),
    "three-fourths": Fraction(3, 4),
    "one fifth": Fraction(1, 5),
    "one-fifth": Fraction(1, 5),
    "one-tenth": Fraction(1, 10),
    "twice": Fraction(2),
    "double": Fraction(2),
    "triple": Fraction(3),
    "thrice": Fraction(3),
    "three times": Fraction(3),
    "four times": Fraction(4),
    "five times": Fraction(5),
}
_SIZES = (
    {"second": 1, "minute": 60, "hour": 3600},
    {"month": 1, "year": 12, "decade": 120, "century": 1200},
    {"cent": 1, "nickel": 5, "dime": 10, "dollar": 100},
    {"inch": 1, "foot": 12, "yard": 36},
    {"millimeter": 1, "centimeter": 10, "meter": 1000, "kilometer": 1_000_000},
    {"milligram": 1, "gram": 1000, "kilogram": 1_000_000},
    {"ounce": 1, "pound": 16, "ton": 32_000},
    {"milliliter": 1, "liter": 1000},
)
"""Units of one kind, in their smallest. Hours and days are left out: a day may be a working day."""
_SPELLINGS = {
    "feet": "foot",
    "inches": "inch",
    "centuries": "century",
    "mins": "minute",
    "hrs": "hour",
    "metre": "meter",
    "litre": "liter",
    "cm": "centimeter",
    "mm": "millimeter",
    "km": "kilometer",
    "kg": "kilogram",
    "ml": "milliliter",
}
_NUMBERS_IN = {
    ("minute", "hour"): 60,
    ("second", "minute"): 60,
    ("month", "year"): 12,
    ("year", "decade"): 10,
    ("cent", "dollar"): 100,
    ("inch", "foot"): 12,
    ("foot", "yard"): 3,
    **{("day", month): 31 for month in "January March May July August October December".split()},
    **{("day", month): 30 for month in "April June September November".split()},
}
_MONTHS = (
    "January February March April May June July August September October November December".split()
)
_N = r"\$?\s?((?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?)"
_UNIT = r"(?:\s+(?!is\b|are\b|more\b|less\b|equals\b|of\b|and\b|plus\b)[A-Za-z-]{2,}){0,3}"
_IS = r"\s*(?:is|are|equals|is equal to|makes|gives|would be|will be|comes to|=)\s+"
_END = r"(?![\d/%])(?![.,]\d)(?!\s*(?:[-+*/x^]|of\b|more\b|less\b|times\b|percent|plus\b|minus\b|divided|to\b|or\b|million|hundred|thousand|billion|dozen))"
_FACTOR = "|".join(sorted(_FACTORS, key=len, reverse=True))


def _number(text: str) -> Fraction:
    top, _, bottom = text.replace(",", "").partition("/")
    return Fraction(top) / (Fraction(bottom) if bottom else 1)


def _times(match: re.Match[str]) -> Fraction:
    return _FACTORS[match.group(1).lower()] * _number(match.group(2))


def _percent(match: re.Match[str]) -> Fraction:
    return _number(match.group(1)) * _number(match.group(2)) / 100


def _more(match: re.Match[str]) -> Fraction:
    sign = 1 if match.group(2) == "more" else -1
    return _number(match.group(3)) + sign * _number(match.group(1))


def _difference(match: re.Match[str]) -> Fraction:
    return abs(_number(match.group(1)) - _number(match.group(2)))


def _verb(match: re.Match[str]) -> Fraction:
    a, b = _number(match.group(1)), _number(match.group(3))
    operation = match.group(2)
    if operation == "divided by":
        return a / b
    return (
        a * b
        if operation in ("times", "multiplied by")
        else a + b
        if operation == "plus"
        else a - b
    )


def _listed(match: re.Match[str]) -> Fraction:
    numbers = [_number(found) for found in re.findall(_N, match.group(2))]
    if match.group(1) == "product":
        total = Fraction(1)
        for each in numbers:
            total *= each
        return total
    total = sum(numbers, Fraction(0))
    return total if match.group(1) == "sum" else total / len(numbers)


def _remainder(match: re.Match[str]) -> Fraction:
    return _number(match.group(1)) % _number(match.group(2))


_NO_OPERATOR = r"(?<![\d$.,+*/^=-])(?<![-+*/=x] )\b"
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Fraction]], ...] = (
    (
        re.compile(rf"{_NO_OPERATOR}({_FACTOR})\s+(?:of\s+)?{_N}{_UNIT}{_IS}{_N}{_END}", re.I),
        _times,
    ),
    (re.compile(rf"(?<![\d.,]){_N}(?:%|\s+percent)\s+of\s+{_N}{_UNIT}{_IS}{_N}{_END}"), _percent),
    (
        re.compile(
            rf"(?:^|(?<=[.,;:(\0]\s)|(?<=\b[sS]o\s)|(?<=\b[tT]hen\s)|(?<=\bthat\s)|(?<=[\0\n])){_N}{_UNIT}\s+(more|less|fewer)\s+than\s+{_N}{_UNIT}(?:\s+is|\s+equals|\s*=)\s+{_N}{_END}"
        ),
        _more,
    ),
    (
        re.compile(rf"\bdifference\s+between\s+{_N}{_UNIT}\s+and\s+{_N}{_UNIT}{_IS}{_N}{_END}"),
        _difference,
    ),
    (
        re.compile(
            rf"\bremainder\s+(?:when|of)\s+{_N}\s+(?:is\s+)?divided\s+by\s+{_N}{_IS}{_N}{_END}"
        ),
        _remainder,
    ),
    (
        re.compile(
            rf"(?<![\d.,%+*/=-]){_NO_OPERATOR}{_N}{_UNIT}\s+(times|multiplied by|plus|minus|divided by)\s+{_N}{_UNIT}{_IS}{_N}{_END}"
        ),
        _verb,
    ),
    (
        re.compile(
            rf"\b(sum|product|average|mean)\s+of\s+({_N}{_UNIT}(?:(?:\s*[,\0]+\s*(?:and\s+)?|\s+and\s+){_N}{_UNIT}){{1,8}}){_IS}{_N}{_END}"
        ),
        _listed,
    ),
)
_GOES_BEFORE = re.compile(r"(?:[-+*/^=x<>]|\b(?:plus|minus|times|by|over|than|of))\s*\$?\s*$")
"""An expression whose last number is the first one of the claim."""
_IN_A = re.compile(
    rf"\b[Tt]here\s+are\s+(?:only\s+|exactly\s+)?{_N}\s+([A-Za-z]+)\s+in\s+(?:(?:a|an|one|each|every|1)\s+|(?:the\s+month\s+of\s+)?(?=[A-Z]))([A-Za-z]+)(?=\s*(?:[.,;:)\0]|$)|\s+(?:and|so)\b)"
)
_CONVERTED = re.compile(
    rf"(?<![\d.,/*+-]){_N}\s+([A-Za-z]+)\s*(?:is|are|equals|is equal to|=)\s+{_N}\s+([A-Za-z]+)\b(?!\s*(?:[-+*/]|per\b|and\b|\d))"
)
_DOZEN = re.compile(
    rf"\b(half a|a|one)\s+dozen{_UNIT}\s+(?:is|are|means|equals|=)\s+(?:\d+\s*[-+*/]\s*\d+\s*=\s*)?{_N}{_END}",
    re.I,
)
_DATES = re.compile(
    rf"\b[Ff]rom\s+({'|'.join(_MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?\s+(?:to|until|through)\s+({'|'.join(_MONTHS)})\s+(\d{{1,2}})(?:st|nd|rd|th)?[,\0]*\s*(?:there\s+are|is|are)\s+(\d+)\s+days"
)


def word_claims(step: str, prose: str) -> Iterator[Claim]:
    """Yield the claims in words; `prose` is the step in plain characters, equally long, without formulas."""
    for claim in _claims(step, prose):
        before = prose[max(0, claim.start - 12) : claim.start]
        if _GOES_BEFORE.search(before) is None:
            yield claim


def _claims(step: str, prose: str) -> Iterator[Claim]:
    for pattern, value_of in _RULES:
        for match in pattern.finditer(prose):
            try:
                value = value_of(match)
                claimed = match.group(match.lastindex or 1)
                yield from _decided(step, match, value, claimed)
            except ZeroDivisionError:
                continue
    for match in _IN_A.finditer(prose):
        unit, whole = _unit(match.group(2)), match.group(3)
        number = _NUMBERS_IN.get((unit, whole if whole in _MONTHS else _unit(whole)))
        if number is not None:
            yield from _decided(step, match, Fraction(number), match.group(1))
    for match in _CONVERTED.finditer(prose):
        ratio = _ratio(_unit(match.group(2)), _unit(match.group(4)))
        if ratio is not None:
            yield from _decided(step, match, _number(match.group(1)) * ratio, match.group(3))
    for match in _DOZEN.finditer(prose):
        value = Fraction(6 if match.group(1).lower() == "half a" else 12)
        yield from _decided(step, match, value, match.group(2))
    for match in _DATES.finditer(prose):
        yield from _days(step, match)


def _days(step: str, match: re.Match[str]) -> Iterator[Claim]:
    """Decide the number of days between two dates, in any year, with or without the first or last one."""
    try:
        spans = {
            (
                date(year, _MONTHS.index(match.group(3)) + 1, int(match.group(4)))
                - date(year, _MONTHS.index(match.group(1)) + 1, int(match.group(2)))
            ).days
            for year in (2023, 2024)
        }
    except ValueError:
        return
    claimed = int(match.group(5))
    if min(spans) < 0:
        return
    holds = min(spans) - 1 <= claimed <= max(spans) + 1
    yield _claim(
        step,
        match,
        holds,
        f"from {match.group(1)} {match.group(2)} to {match.group(3)} {match.group(4)} it is {min(spans)} days",
    )


def _decided(step: str, match: re.Match[str], value: Fraction, claimed: str) -> Iterator[Claim]:
    given = _number(claimed)
    grain = Fraction(1, 10 ** len(claimed.partition(".")[2])) if "/" not in claimed else Fraction(0)
    whole = value.denominator == given.denominator == 1
    if given == value or (not whole and abs(given - value) * 2 <= grain):
        holds: bool | None = True
    elif (not whole and abs(given - value) <= grain) or abs(given - value) * 50 <= abs(value):
        holds = None
    else:
        holds = False
    yield _claim(step, match, holds, f"it is {shown(value)}, not {claimed}")


def _claim(step: str, match: re.Match[str], holds: bool | None, reason: str) -> Claim:
    start, end = match.span()
    before = re.split(r"[.!?\n]", step[max(0, start - 80) : start])[-1]
    if holds is False and (denied(step, start, end) or HYPOTHESIS.search(before)):
        holds = None
    status = {True: Status.CORRECT, False: Status.INCORRECT, None: Status.UNDECIDED}[holds]
    return Claim(
        kind=Kind.WORDS,
        start=start,
        end=end,
        text=step[start:end],
        status=status,
        reason=f"{step[start:end]}: {reason}" if holds is False else "",
    )


def _unit(word: str) -> str:
    lower = word.lower()
    return (
        _SPELLINGS.get(lower) or _SPELLINGS.get(lower.removesuffix("s")) or lower.removesuffix("s")
    )


def _ratio(a: str, b: str) -> Fraction | None:
    """Return how many of unit `b` one of unit `a` is; `None` for one unit, or units of different kinds."""
    for sizes in _SIZES:
        if a in sizes and b in sizes and a != b:
            return Fraction(sizes[a], sizes[b])
    return None

"""Digits to numbers: separators, repeating decimals, exponents, and integers of any length.

CPython refuses to read more than 4,300 digits at once and reads them in quadratic time; here they are read in halves.
"""

from __future__ import annotations

import re
from fractions import Fraction

from stepgym.envs.maths.tree import Node

MAX_DIGITS = 200_000
MAX_EXPONENT = 20_000

_MIXED = re.compile(r"(\d+)\s+(\d+)\s*/\s*(\d+)\Z")
_REPEATING = re.compile(
    r"(\d*)\.(\d*)(?:\\(?:over|under)line\s*\{(\d+)\}|\\dot\s*\{?(\d)\}?|\((\d+)\))\Z"
)
_DOTTED = re.compile(r"(\d*)\.(\d*)\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?\Z")
r"""`0.\dot{1}42\dot{5}`: the cycle from one dotted digit to the other."""
_CONTINUED = re.compile(
    r"(\d*+)\.(?:(\d*?)(\d)\3{2,}|(\d*?)(\d{2,6})\5{2,}|()(\d{2,6})\7)(?:\\[a-z]+|\.\.\.)\Z"
)
"""`0.777...` and `0.1212...`: a cycle written often enough to know how the digits go on."""
_MAX_CONTINUED = 120
"""Longer texts with an ellipsis are not searched for a cycle, which takes quadratic time."""
_DECIMAL_COMMA = re.compile(r"\d+\{,\}(?:\d{1,2}|\d{4,9})\Z")
"""`1{,}5` is one and a half; three digits after the comma are a thousand."""
_SEPARATORS = re.compile(r"[\s,{}\\!]")
_SCIENTIFIC = re.compile(r"([\d.]+)[eE]([+-]?\d+)\Z")


def read_int(digits: str) -> int:
    """The integer that `digits` (only digits, at most `MAX_DIGITS`) spell."""
    if len(digits) <= 4000:
        return int(digits)
    half = len(digits) // 2
    scale: int = 10 ** (len(digits) - half)
    return read_int(digits[:half]) * scale + read_int(digits[half:])


def _continued(text: str) -> re.Match[str] | None:
    return _CONTINUED.match(text) if len(text) <= _MAX_CONTINUED else None


def goes_on(text: str) -> bool:
    """Whether the ellipsis after a decimal tells how its digits go on."""
    return _continued(text) is not None


def number_node(text: str) -> Node | None:
    """Return the node of a number as written; `None` if it is too large."""
    if text.isdigit() and text.isascii():
        return read_int(text) if len(text) <= MAX_DIGITS else None
    if "{,}" in text and _DECIMAL_COMMA.match(text):
        text = text.replace("{,}", ".")
    if text[:2] in ("0x", "0b"):
        return int(text, 0) if len(text) < 4000 else None
    mixed = _MIXED.match(text)
    if mixed:
        whole, top, bottom = (read_int(part) for part in mixed.groups())
        return ("+", whole, ("/", top, bottom)) if bottom else ("/", 1, 0)
    repeating = _REPEATING.match(text)
    if repeating:
        return _repeating(
            repeating.group(1), repeating.group(2), next(g for g in repeating.groups()[2:] if g)
        )
    dotted = _DOTTED.match(text)
    if dotted:
        return _repeating(dotted.group(1), dotted.group(2), "".join(dotted.groups()[2:]))
    continued = _continued(text)
    if continued:
        fixed, cycle = [g for g in continued.groups()[1:] if g is not None]
        return _repeating(continued.group(1), fixed, cycle)
    scientific = _SCIENTIFIC.match(text)
    exponent = 0
    if scientific:
        text = scientific.group(1)
        if len(scientific.group(2)) > 6 or abs(int(scientific.group(2))) > MAX_EXPONENT:
            return ("*", number_node(text) or 0, ("^", 10, int(scientific.group(2)[:18])))
        exponent = int(scientific.group(2))
    text = _SEPARATORS.sub("", text)
    if text.count(".") > 1:  # 1.234.567
        text = text.replace(".", "")
    whole_part, point, fraction_part = text.partition(".")
    if len(text) > MAX_DIGITS:
        return None
    if not point and exponent >= 0:
        scaled: int = read_int(whole_part) * 10**exponent
        return scaled
    value = Fraction(read_int((whole_part + fraction_part) or "0"))
    value = value * Fraction(10) ** (exponent - len(fraction_part))
    return ("dec", value, text if not scientific else f"{text}e{exponent}")


def _repeating(whole: str, fixed: str, cycle: str) -> Node:
    scale = 10 ** len(fixed)
    base = Fraction(read_int((whole + fixed) or "0"), scale)
    return base + Fraction(read_int(cycle), scale * (10 ** len(cycle) - 1))


def significant_digits(text: str) -> int:
    """How many digits a written decimal gives: `0.050` gives two, `1.50` three."""
    return len(text.partition("e")[0].replace(".", "").lstrip("0"))


def last_place(text: str) -> Fraction:
    """The value of one unit in the last written place: 1/100 for `3.14`."""
    mantissa, _, exponent = text.partition("e")
    places = len(mantissa.partition(".")[2])
    return Fraction(10) ** (int(exponent or 0) - places)

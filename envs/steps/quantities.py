"""Values of arithmetic as people write it in prose: `3.50 * 4 boxes`, `20% of 50`, `(2 + 3) / 4`.

Words after a number are its unit and do not count. What is not plainly arithmetic has no value: unknown letters, words
in place of a number, scales (`2 million`), mixed units (`5 ft 3 in`). All arithmetic is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

MAX_TOKENS = 120
"""Tokens of one expression; longer ones have no value."""
MAX_DIGITS = 30
MAX_EXPONENT = 64
MAX_DEPTH = 40

_SCALES = frozenset(
    "hundred thousand million billion trillion dozen dozens half quarter third twice double triple k".split()
)
_NOT_UNITS = frozenset(
    """a about additional after all altogether an and apart approximately are as at because before but by each
    either else equals every extra fewer first for from gives given had has have he her his however if in is it
    its left less making means minus more next not now or other out over plus remaining she since so still than
    that the their then there therefore they this thus times to total was we were when where which while who will
    with you""".split()
)
"""Words that end a unit, because they begin something else."""
_CLOSE_UNITS = frozenset(
    "g kg mg lb lbs oz cm mm km m ft in ml mL L l s h hr hrs min mph kph \u00b0 \u00b0C \u00b0F C F".split()
)
"""Units that may be written right after the number; other letters there are unknowns (`4x`)."""
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?|\.\d+)
    | (?P<op>\*\*|[-+*/^()\[\]%\u27cb\u27ef])
    | (?P<word>[^\W\d_](?:[\w'\u2019]|[.-](?=[^\W\d_]{2}))*|_+|\u00b0)
    )""",
    re.X,
)
_PARTS = {"\u27cb": "/(", "\u27ef": "))", "[": "(", "]": ")"}
"""The middle and the end of a prepared fraction, and brackets, as operators."""


class Token(NamedTuple):
    """One token of arithmetic and its position in the text."""

    kind: str
    text: str
    start: int
    end: int


class Quantity(NamedTuple):
    """The value of one side of an equation."""

    values: frozenset[Fraction]
    """What it may be: `20%` is both 1/5 and 20, because people write either."""
    decimals: int | None
    """Digits after the point if it is a single number, else `None`."""
    unit: str
    """The words after the last number."""
    operations: int
    """How many operations were carried out; 0 for a single number."""
    rounded: frozenset[Fraction]
    """Its numbers with two or more decimals, which may have been rounded before."""
    units: frozenset[str]
    """All words of units, in the singular."""
    percent: bool
    """It holds a percentage."""


class Unreadable(Exception):
    """The text is not plain arithmetic."""


def tokens_of(text: str) -> list[Token]:
    """Return the tokens of prepared text; raises `Unreadable` at a character that is none."""
    found: list[Token] = []
    at, size = 0, len(text.rstrip())
    while at < size:
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(text[at])
        kind = str(match.lastgroup)
        start, end = match.span(kind)
        word = match.group(kind)
        if word in _PARTS:
            found += [Token(kind, part, start, end) for part in _PARTS[word]]
        else:
            found.append(Token("of" if word.lower() == "of" else kind, word, start, end))
        at = match.end()
    return found


def quantity(tokens: Sequence[Token], known: Mapping[str, Fraction]) -> Quantity | None:
    """Return the value of all `tokens` together, `None` if they are not plain arithmetic.

    `known` gives values to single letters (`A + B`, after A and B were defined).
    """
    if not tokens or len(tokens) > MAX_TOKENS:
        return None
    try:
        reader = _Reader(tokens, known, Fraction(1, 100))
        value = reader.whole()
        values = {value.exact}
        if reader.percents:
            values.add(_Reader(tokens, known, Fraction(1)).whole().exact)
            if value.percent:
                values.add(value.exact * 100)
    except (Unreadable, ZeroDivisionError):
        return None
    return Quantity(
        frozenset(values),
        reader.decimals if reader.operations == 0 else None,
        " ".join(reader.unit).lower(),
        reader.operations,
        frozenset(reader.rounded),
        frozenset(reader.units_seen),
        reader.percents > 0,
    )


def _is_word(text: str) -> bool:
    """Say whether letters right after a number may be a word (`40miles`) instead of unknowns (`4x`, `3xy`)."""
    return len(text) > 3


class _Value(NamedTuple):
    exact: Fraction
    percent: bool = False
    """It carries `%`."""


class _Reader:
    """Reads tokens by recursive descent and counts what it does."""

    def __init__(
        self, tokens: Sequence[Token], known: Mapping[str, Fraction], percent: Fraction
    ) -> None:
        self.tokens = tokens
        self.at = 0
        self.known = known
        self.percent = percent
        self.operations = 0
        self.percents = 0
        self.depth = 0
        self.decimals: int | None = None
        self.rounded: set[Fraction] = set()
        self.unit: list[str] = []
        self.units_seen: set[str] = set()
        self.numbers = 0
        self.letter_units = 0
        """Numbers whose unit is one letter, which may be an unknown: `2s + 30`."""

    def whole(self) -> _Value:
        value = self.sum()
        if self.at < len(self.tokens):
            raise Unreadable(self.tokens[self.at].text)
        mixed = self.letter_units < self.numbers or len(self.units_seen) > 1
        if self.letter_units and self.operations and mixed:
            raise Unreadable("a letter that may be a unit or an unknown")
        return value

    def kind(self, ahead: int = 0) -> str:
        at = self.at + ahead
        return self.tokens[at].kind if at < len(self.tokens) else "end"

    def text(self) -> str:
        return self.tokens[self.at].text if self.at < len(self.tokens) else ""

    def is_close(self) -> bool:
        """Say whether the next token begins where a number ends."""
        if self.at >= len(self.tokens):
            return False
        before, now = self.tokens[self.at - 1 : self.at + 1]
        return before.end == now.start and (before.kind == "number" or before.text == ")")

    def take(self) -> str:
        text = self.text()
        self.at += 1
        return text

    def sum(self) -> _Value:
        value = self.product()
        while self.text() in ("+", "-"):
            sign = self.take()
            other = self.product()
            self.operations += 1
            exact = value.exact + other.exact if sign == "+" else value.exact - other.exact
            value = _Value(exact, value.percent and other.percent)
        return value

    def product(self) -> _Value:
        value = self.signed()
        while True:
            text = self.text()
            if text in ("*", "/"):
                self.take()
                other = self.signed()
                exact = value.exact * other.exact if text == "*" else value.exact / other.exact
            elif self.kind() == "of" and (value.percent or value.exact.denominator > 1):
                self.take()
                exact = value.exact * self.signed().exact
            elif text == "(" and self.at and self.tokens[self.at - 1].text == ")":
                exact = value.exact * self.signed().exact
            else:
                return value
            self.operations += 1
            value = _Value(exact)

    def signed(self) -> _Value:
        sign = 1
        while self.text() == "-":
            self.take()
            sign = -sign
        value = self.power()
        return value if sign > 0 else _Value(-value.exact, value.percent)

    def power(self) -> _Value:
        value = self.atom()
        if self.text() in ("^", "**"):
            self.take()
            exponent = self.signed().exact
            self.operations += 1
            small = max(abs(value.exact.numerator), value.exact.denominator) < 10**9
            zero = not value.exact and exponent < 0
            if exponent.denominator != 1 or abs(exponent) > MAX_EXPONENT or not small or zero:
                raise Unreadable("^")
            value = _Value(value.exact ** int(exponent))
        return value

    def atom(self) -> _Value:
        kind, text = self.kind(), self.take()
        if text == "(":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise Unreadable(text)
            value = self.sum()
            if self.take() != ")":
                raise Unreadable("(")
            self.depth -= 1
        elif kind == "word" and text in self.known:
            self.operations += 1
            return _Value(self.known[text])
        elif kind == "number":
            digits = text.replace(",", "")
            self.numbers += 1
            if len(digits) > MAX_DIGITS:
                raise Unreadable(text)
            self.decimals = len(digits.partition(".")[2])
            if self.decimals >= 2:
                self.rounded.add(Fraction(digits))
            value = _Value(Fraction(digits))
        else:
            raise Unreadable(text)
        if self.text() == "%":
            self.take()
            self.percents += 1
            value = _Value(value.exact * self.percent, True)
        elif self.is_close() and (self.text() == "(" or self.text() in self.known):
            self.operations += 1
            return _Value(value.exact * self.power().exact)
        self.units()
        return value

    def _is_per_unit(self) -> bool:
        """Say whether a slash and a word follow: `15/student`."""
        return self.kind(1) == "word" and len(self.tokens[self.at + 1].text) > 2

    def units(self) -> None:
        """Skip the words of a unit: `pounds`, `miles/hour`, `dollars per box`, `slices of cake`."""
        words: list[str] = []
        while True:
            text = self.text()
            if self.kind() == "word" and text not in self.known:
                plain = text.lower().strip(".")
                is_name = text not in _CLOSE_UNITS and (not _is_word(text) or text[0].isupper())
                if self.is_close() and is_name:
                    raise Unreadable(text)
                if plain in _NOT_UNITS:
                    break
                if plain in _SCALES or (len(text) == 1 and text not in "mgLlshd\u00b0"):
                    raise Unreadable(text)
                words.append(text)
            elif not (
                (words or (text == "/" and self._is_per_unit()))
                and self.kind(1) == "word"
                and (text in ("/", "-") or self.kind() == "of")
                and self.tokens[self.at + 1].text not in self.known
            ):
                break
            self.take()
        if words:
            self.unit = words
            self.units_seen.update(word.lower().strip(".").removesuffix("s") for word in words)
            self.letter_units += len(words) == 1 and len(words[0]) == 1
            if self.text() == "^" and self.kind(1) == "number":
                self.at += 2  # square feet

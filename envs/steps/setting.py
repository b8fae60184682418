"""What a problem and the words around a formula say of how it is meant.

A false equation proves nothing if the text denies it (`which is impossible`), tries it out, counts modulo something, in
another base, or with an operation that the problem defines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction

from stepgym.envs.maths.tree import Node

DENIED = re.compile(
    r"""contradict|impossib|absurd|\bfalse\b|incorrect|n't\b|\bnot\b|\bcannot\b|\bno\b|never|reject|extraneous|\bfail|invalid
    |instead|rather|mistake|wrong|unlike|would|\btoo\s|exceed|\bcheck|\btry|\btrial|\btest|verif|guess|suppos|assum|pretend|claim
    |\bwant|desired?|should|must|need|whether|except|undefined|nonsense|inconsistent|violat|\?|\bunless\b|\botherwise""",
    re.I | re.X,
)
"""Words by which an equation is denied, tried, wished for or asked about."""
DENIED_IN_PROSE = re.compile(
    r"contradict|impossib|absurd|\bfalse\b|incorrect|\bnot (?:true|equal|possible|correct)|is(?:n't| not)\b|\bwould (?:give|mean|imply|be wrong)"
    r"|reject|invalid|mistake|\bwrong|suppos|pretend|guess|nonsense|inconsistent|\btry|\btrial"
    r"|\b(?:do(?:es)?|did)(?: not|n't) (?:hold|work|equal|match|satisf|fit|give)",
    re.I,
)
DENIED_NUMBERS = re.compile(
    r"contradict|impossib|absurd|\bfalse\b|incorrect|never|reject|extraneous|\bfail|invalid|instead|mistake|wrong|unlike|would"
    r"|\btry|\btrial|guess|suppos|assum|pretend|claim|whether|nonsense|inconsistent|violat|\?|\botherwise",
    re.I,
)
"""Words by which an equation between numbers is denied or tried, anywhere in its sentence."""
_NO = re.compile(r"[^A-Za-z0-9]*(?:\bno\b|[\u2717\u2718\u274c])", re.I)
_DENIED_NEARBY = re.compile(r"n't\b|\bnot\b|\bcannot\b", re.I)
HYPOTHESIS = re.compile(
    r"\b(?:if|when|case|suppos\w*|assum\w*|let|say|try\w*|for|consider\w*|where|unless|either|otherwise|taking|setting"
    r"|choos\w*|pick\w*|possib\w*|could|might|example|instance)\b",
    re.I,
)
_MODULAR = re.compile(
    r"\bmod\b|\\p?mod|\\bmod|modul|congruen|remainder|residue|clock|\\equiv|cyclic", re.I
)
_MODULUS = re.compile(
    r"(?:\\p?mod|\bb?mod|\bmodulo|\bdivided\s+by)(?![a-z])\s*[{$(\s]*([^\s})$.,;:?!]*)", re.I
)
"""A modulus, or what a number is divided by."""
_CYCLES = {
    "clock": 12,
    "week": 7,
    "day": 7,
    "hour": 24,
    "units digit": 10,
    "unit digit": 10,
    "two digits": 100,
    "three digits": 1000,
    "ones digit": 10,
    "last digit": 10,
    "tens digit": 100,
}
"""Words -> the number that is counted modulo without being named."""
_BASED = re.compile(
    r"\bbases?\b[\s-]*(?:\$?\d|\$?\\?[a-z]\b|ten|two|three|four|five|six|seven|eight|nine)|binary|hexadecimal|octal|_\{?\d+\}?\s*[+=]",
    re.I,
)
_OPERATION = re.compile(
    r"\boperat(?:ion|or)\b.{0,80}?(?:\\[a-z]+|[*@#&?!])|(?:defin|let|suppose).{0,60}?[a-z]\s*(?:\\(?:star|ast|circ|oplus|otimes|diamond|\w*suit|nabla|Delta|triangle|odot|cdot)|[*@#&\u2606\u25c7])\s*\$?\s*[a-z]"
    r"|insert|parenthes|\bsymbol|secret|code\b|puzzle",
    re.I | re.S,
)


_REWRITE = re.compile(r"\b(?:simplif|expand|factor|multiply out|rewrite|compute|calculat)", re.I)
_EQUATED = re.compile(
    r"\b(?:equal|same|opposite|solve|solution|root|satisf|given|if|when|value of)", re.I
)
MAX_READ = 20_000
"""Characters of a problem that are read for its numbers."""


@dataclass
class Setting:
    """What is known of a solution before and while its formulas are read."""

    problem: str
    given: frozenset[Fraction] = frozenset()
    """Decimals that are exact: the problem states them, or a percentage that they stand for."""
    functions: dict[str, tuple[str, Node] | None] = field(default_factory=dict)
    """Name -> its letter and body; `None` once it has been given two bodies."""
    expressions: set[str] = field(default_factory=set)
    """Formulas of the problem without a sign of relation, without blanks."""
    bound: set[str] = field(default_factory=set)
    """Letters about which an equation was stated, so that they are not free."""
    modular: bool = False
    moduli: set[int] = field(default_factory=set)
    """Numbers that the text counts modulo."""
    moduli_known: bool = True
    """No modulus is a letter or a power, so that `moduli` holds all of them."""
    based: bool = False
    """Counting in another base."""
    defined: bool = False
    """The problem defines an operation or hides digits, so that signs may mean anything."""

    def __post_init__(self) -> None:
        self.defined = bool(_OPERATION.search(self.problem))
        self.read_step(self.problem)
        self._squeezed = _squeezed(self.problem)

    @property
    def unusual(self) -> bool:
        """Say whether signs or digits may have another meaning than in decimal arithmetic."""
        return self.based or self.defined

    def read_step(self, step: str) -> None:
        """Note what a step says of how its own formulas and later ones are meant."""
        self.based = self.based or bool(_BASED.search(step))
        if _MODULAR.search(step):
            self.modular = True
            found = _MODULUS.findall(step)
            self.moduli |= {int(each) for each in found if each.isdecimal()} - {0, 1}
            self.moduli_known &= all(each.isdecimal() for each in found)
            self.moduli |= {size for word, size in _CYCLES.items() if word in step.lower()}

    def note_expression(self, text: str) -> None:
        """Note a formula of the problem that states nothing."""
        self.expressions.add(_squeezed(text))

    def asks_to_rewrite(self, text: str) -> bool:
        """Say whether the problem asks for another form of this expression."""
        if _squeezed(text) not in self.expressions or _EQUATED.search(self.problem):
            return False
        return bool(_REWRITE.search(self.problem)) and len(text) > 3

    def quotes(self, text: str) -> bool:
        """Say whether the problem states this formula itself."""
        return _squeezed(text) in self._squeezed


def exact_decimals(problem: str) -> frozenset[Fraction]:
    """Return the decimals that need no rounding: those of the problem, and its whole numbers as hundredths.

    A problem that states 30% makes 0.3, 0.7 and 1.3 exact, one that states 75 cents makes 0.75 exact.
    """
    numbers = {Fraction(found) for found in re.findall(r"\d*\.\d+|\d+", problem[:MAX_READ])}
    parts = {part / 100 for part in numbers if part < 1000} | {Fraction(1, 4), Fraction(3, 4)}
    return frozenset(numbers | parts | {1 - part for part in parts} | {1 + part for part in parts})


def denied(step: str, start: int, end: int, *, prose: bool = False) -> bool:
    """Say whether the sentence around a formula, or the next one, may deny it or only try it."""
    before = sentence_before(step, start, 160)
    pattern = DENIED_IN_PROSE if prose else DENIED
    if _NO.match(step, end):
        return True
    after = step[max(start, end - 20) : end + 140]  # prose ends a claim behind its last word
    return bool(pattern.search(before) or pattern.search(after))


def numbers_denied(step: str, start: int, end: int) -> bool:
    """Say the same of an equation between numbers in a formula, which says more by itself: fewer words count."""
    before, after = sentence_before(step, start, 160), step[end : end + 60]
    nearby = (
        _NO.match(step, end) or _DENIED_NEARBY.search(before[-60:]) or _DENIED_NEARBY.search(after)
    )
    return bool(nearby or DENIED_NUMBERS.search(before) or DENIED_NUMBERS.search(after))


def sentence_before(step: str, end: int, size: int) -> str:
    """Return the part of the sentence before a place, at most `size` characters."""
    return re.split(r"[.!]\s|\n\n", step[max(0, end - size) : end])[-1]


def tried(step: str, start: int) -> bool:
    """Say whether the sentence before a formula makes it a case or an assumption."""
    return bool(HYPOTHESIS.search(sentence_before(step, start, 120)))


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$]+|\\[,;:! ]", "", text)

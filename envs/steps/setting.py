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
    r"|reject|invalid|mistake|\bwrong|suppos|pretend|guess|nonsense|inconsistent",
    re.I,
)
HYPOTHESIS = re.compile(
    r"\b(?:if|when|case|suppos\w*|assum\w*|let|say|try\w*|for|consider\w*|where|unless|either|otherwise|taking|setting"
    r"|choos\w*|pick\w*|possib\w*|could|might|example|instance)\b",
    re.I,
)
_MODULAR = re.compile(
    r"\bmod\b|\\p?mod|\\bmod|modul|congruen|remainder|residue|clock|\\equiv|cyclic", re.I
)
_BASED = re.compile(
    r"\bbases?\b[\s-]*(?:\$?\d|\$?\\?[a-z]\b|ten|two|three|four|five|six|seven|eight|nine)|binary|hexadecimal|octal|_\{?\d+\}?\s*[+=]",
    re.I,
)
_OPERATION = re.compile(
    r"\boperat(?:ion|or)\b.{0,80}?(?:\\[a-z]+|[*@#&?!])|(?:defin|let|suppose).{0,60}?[a-z]\s*(?:\\(?:star|ast|circ|oplus|otimes|diamond|\w*suit|nabla|Delta|triangle|odot|cdot)|[*@#&\u2606\u25c7])\s*\$?\s*[a-z]"
    r"|insert|parenthes|\bsymbol|secret|code\b|puzzle",
    re.I | re.S,
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
    bound: set[str] = field(default_factory=set)
    """Letters about which an equation was stated, so that they are not free."""
    modular: bool = False
    unusual: bool = False
    """Counting in another base, or an operation that the problem defines."""

    def __post_init__(self) -> None:
        self.modular = bool(_MODULAR.search(self.problem))
        self.unusual = bool(_BASED.search(self.problem) or _OPERATION.search(self.problem))
        self._squeezed = _squeezed(self.problem)

    def read_step(self, step: str) -> None:
        """Note what a step says of how its own formulas and later ones are meant."""
        self.modular = self.modular or bool(_MODULAR.search(step))
        self.unusual = self.unusual or bool(_BASED.search(step))

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
    before = step[max(0, start - 160) : start]
    before = re.split(r"[.!]\s|\n\n", before)[-1]
    pattern = DENIED_IN_PROSE if prose else DENIED
    return bool(pattern.search(before) or pattern.search(step[end : end + 140]))


def tried(step: str, start: int) -> bool:
    """Say whether the sentence before a formula makes it a case or an assumption."""
    sentence = re.split(r"[.!]\s|\n\n", step[max(0, start - 120) : start])[-1]
    return bool(HYPOTHESIS.search(sentence))


def _squeezed(text: str) -> str:
    return re.sub(r"[\s$]+|\\[,;:! ]", "", text)

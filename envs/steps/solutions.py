"""Decides derivations: does an equation or inequality in one letter follow from the one before it?

Two relations are one derivation if they follow each other in a step and the words between them say so (`so`, `which
gives`, `dividing by 3`) or the second stands on a row of its own. They contradict each other if no number satisfies both:
that is the proof for INCORRECT. The same solutions are CORRECT; fewer or more are UNDECIDED, because the text may have
ruled some out (`x > 0`) or added some on purpose. Values joined by `or` or commas must each be a solution.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from stepgym.envs.maths import realsets
from stepgym.envs.maths.effort import TooMuchWork
from stepgym.envs.maths.exact import NotRational
from stepgym.envs.maths.polynomials import coefficients, split_fraction
from stepgym.envs.maths.tree import Node, has, substitute, symbols
from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.formulas import APPLIED, Relation
from stepgym.envs.steps.setting import HYPOTHESIS, Setting, denied, tried
from stepgym.envs.steps.values import is_closed, num_operations, number, same, units_of
from stepgym.envs.types import Status

MAX_GAP = 160
"""Characters between two relations of one derivation."""
_BREAKS = re.compile(
    r"\b(?:or|and|also|other|another|second|third|next|first|since|because|similarly|likewise|respectively|as|with|but|while"
    r"|recall|given|know|note|denote|instead|now|again|finally|remaining|then\s+for|from\s+(?!both)|substitut\w*|plug\w*|back"
    r"|numbers?|integers?|approximat\w*|round\w*|about|replac\w*|increas\w*|decreas\w*|new|original\w*|until|after|before)\b"
    r"|\\(?:text|cup|vee|lor|because)|\(\d+\)|\[asy\]",
    re.I,
)
_ALGEBRA = re.compile(
    r"\b(?:subtract|add|divid|multipl)\w*\b.{0,60}?\b(?:from|to|of)?\s*(?:both|each)\s+sides?\b|\bsimplif|\bcombin\w* like terms"
    r"|\bisolat|\bsolv\w*\s+(?:for|the equation)\b|\bexpand|\brearrang|\bdistribut|\b(?:both|each) sides?\b",
    re.I | re.S,
)
"""What is done to the equation before."""
_CONNECTING = re.compile(
    r"\b(?:next|now|finally|then|first|second|third|again|with|and|as|by|for|remaining|numbers?)\b|,",
    re.I,
)
_FOLLOWS = re.compile(
    r"\b(?:so|thus|therefore|hence|then|which|gives?|giving|yields?|get|implies|implying|means|simplif\w*|becomes|solv\w*"
    r"|subtract\w*|add\w*|divid\w*|multipl\w*|factor\w*|expand\w*|rearrang\w*|combin\w*|have|obtain|find|leads?|equivalent\w*"
    r"|that is|i\.e|reduc\w*|distribut\w*|isolat\w*|results?|rewrit\w*)\b|\\(?:implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|therefore)",
    re.I,
)
_ROW = re.compile(
    r"[\s&]*\\\\[\s&]*|(?:[\s.,;&$]|\\[\]\[()])*\n(?:[\s.,;&$]|\\[\]\[()])*|(?:[\s.,]|\\[\]\[]|\$\$)*\\\](?:[\s.,]|\\[\]\[])*\\\[\s*"
)
_OR = re.compile(
    r"(?=.*?(?:,|\bor\b|\band\b|quad))(?:[\s$,.{}]|\\[()\[\] ;,:]|\\q?quad|\\text|\\mbox|\\textrm)*(?:\b(?:or|and)\b)?(?:[\s$,{}]|\\[()\[\] ;,:]|\\q?quad)*",
    re.I | re.S,
)
"""Signs between values that are alternatives: a comma or a word."""
_UNREAD = "call mat dots text list set group % lim int sum prod cases".split()
"""Kinds of nodes that equations are not read with."""
_CURVES = re.compile(
    r"graph|axis|\blines?\b|circ|region|curve|parabola|ellips|sphere|asymptote|vertical|\bpoint|interval|minimum|maximum|domain|range|plane|intersect|function"
    r"|polynomial|\broots?\b|solutions|\bif\b.*\bif\b",
    re.I | re.S,
)
"""Words of problems in which a letter runs through values, so that its equation does not hold everywhere."""
_TINY = Fraction(1, 10**15)


class _Roots(NamedTuple):
    """What an equation says: a polynomial in one letter is 0, or the letter is one of some numbers."""

    letter: str
    terms: list[Fraction] | None
    """Coefficients from the constant up."""
    values: tuple[Node, ...]
    equation: tuple[Node, Node]
    units: frozenset[str] = frozenset()


class Carried(NamedTuple):
    """The last relation that later ones may follow from, with the text around it."""

    text: str
    """From some words before the relation to the end of what was read since."""
    start: int
    """Offset of the relation in `text`."""
    end: int
    said: _Roots | realsets.Expression


class Stated(NamedTuple):
    """An equation that holds throughout a solution."""

    letters: frozenset[str]
    equation: tuple[Node, Node]
    text: str
    roots: _Roots | None
    """The equation in one letter."""


@dataclass
class Derivation:
    """Follows the relations of a solution from step to step."""

    before: Carried | None = None
    stated: list[Stated] = field(default_factory=list)
    """Equations of the problem, and of earlier steps if they hold several letters."""

    def read_problem(self, problem: str, relations: Sequence[Relation]) -> None:
        """Note the equations that the problem states; a letter with two equations may stand for two things."""
        if not _CURVES.search(problem):
            found = [each for each in map(_stated, relations) if each is not None]
            counts = Counter(each.letters for each in found)
            self.stated = [
                each for each in found if len(each.letters) > 1 or counts[each.letters] == 1
            ]

    def claims(self, step: str, relations: Sequence[Relation], setting: Setting) -> list[Claim]:
        """Return a claim for each relation that follows from the one before it, which may stand in the step before.

        A relation that contradicts what the problem states is a claim too.
        """
        found, self.before = _claims(step, relations, self.before, setting)
        wrong = {claim.end for claim in found if claim.status is Status.INCORRECT}
        against = _against_stated(step, relations, self.stated, setting)
        return [*found, *(claim for claim in against if claim.end not in wrong)]


def _stated(relation: Relation) -> Stated | None:
    """Return the equation of a relation with two sides."""
    nodes = [side.node for side in relation.sides if side.node is not None]
    if relation.operators != ("=",) or len(nodes) < 2 or any(has(node, *_UNREAD) for node in nodes):
        return None
    text = f"{relation.sides[0].text} = {relation.sides[1].text}"
    letters = frozenset(symbols(nodes[0]) | symbols(nodes[1]))
    if (
        not letters
        or APPLIED.search(text)
        or "log" in text
        or has(nodes[0], "unit")
        or has(nodes[1], "unit")
    ):
        return None
    roots = _equation(relation) if len(letters) == 1 else None
    if len(letters) == 1 and (roots is None or roots.values):
        return None
    return Stated(letters, (nodes[0], nodes[1]), text, roots)


def _against_stated(
    step: str, relations: Sequence[Relation], stated: Sequence[Stated], setting: Setting
) -> Iterator[Claim]:
    """Yield a claim for each relation of a step that no solution of a stated equation satisfies."""
    if not stated or setting.modular or setting.unusual:
        return
    values: dict[str, Node | None] = {}
    at = 0
    while at < len(relations):
        first, size, said = relations[at], 1, None
        with suppress(TooMuchWork, NotRational, ArithmeticError, RecursionError):
            said, size = _read(relations, at)
        last = relations[at + size - 1]
        at += size
        start, end = first.start, last.end
        doubtful = tried(step, start) or denied(step, start, end)
        if not isinstance(said, _Roots) or doubtful or APPLIED.search(step[start:end]):
            continue
        if not _OR.fullmatch(first.lead):
            values.clear()  # only values that are listed together are one solution
        alone = len(said.values) == 1 and said.letter not in values
        values[said.letter] = said.values[0] if alone else None
        known = {letter: value for letter, value in values.items() if value is not None}
        for each in stated:
            try:
                false = _contradicts(each, said, known)
            except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
                continue
            if false:
                reason = f"it does not satisfy {each.text}"
                yield Claim(
                    kind=Kind.EQUATION,
                    start=start,
                    end=end,
                    text=step[start:end],
                    status=Status.INCORRECT,
                    reason=f"{step[start:end].strip()}: {reason}",
                )
                break


def _contradicts(stated: Stated, said: _Roots, values: Mapping[str, Node]) -> bool:
    if stated.roots is not None:
        return stated.letters == {said.letter} and _same_roots(stated.roots, said) is False
    if said.letter not in stated.letters or not stated.letters <= values.keys():
        return False
    if any(_is_decimal(value) for value in values.values()):
        return False
    left, right = (substitute(side, dict(values)) for side in stated.equation)
    return same(left, right) is False


def _claims(
    step: str, relations: Sequence[Relation], carried: Carried | None, setting: Setting
) -> tuple[list[Claim], Carried | None]:
    text = f"{carried.text}\n\n{step}" if carried else step
    shift = len(text) - len(step)
    before = carried and carried._replace(text=text)
    found: list[Claim] = []
    at = 0
    while at < len(relations):
        relation = relations[at]
        start = relation.start + shift
        try:
            said, size = _read(relations, at)
            holds = None
            if before is not None and said is not None and _is_derived(text, before.end, start):
                holds = _follows(before.said, said)
                if holds is False and _lists_values(before.said, text[before.end : start]):
                    holds = None
        except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
            said, size, holds = None, 1, None
        end = relations[at + size - 1].end + shift
        if before is not None and holds is not None:
            found.append(_claim(text, before, (start, end), shift, holds=holds, setting=setting))
        alternative = _OR.fullmatch(relation.lead) and at > 0
        before = None if said is None or alternative else Carried(text, start, end, said)
        at += size
    if before is None:
        return found, None
    cut = max(0, before.start - MAX_GAP)
    return found, before._replace(
        text=before.text[cut:], start=before.start - cut, end=before.end - cut
    )


def _claim(
    text: str, before: Carried, span: tuple[int, int], shift: int, *, holds: bool, setting: Setting
) -> Claim:
    start, end = span
    status = Status.CORRECT if holds else Status.INCORRECT
    unsure = setting.modular or setting.unusual or denied(text, before.start, end)
    if not holds and (unsure or tried(text, before.start)):
        status = Status.UNDECIDED
    first = text[before.start : before.end].strip()
    reason = f"no solution of {first} satisfies {text[start:end].strip()}"
    begin = before.start if before.start >= shift else start
    return Claim(
        kind=Kind.EQUATION,
        start=begin - shift,
        end=end - shift,
        text=text[begin:end],
        status=status,
        reason=reason if status is Status.INCORRECT else "",
    )


def _lists_values(before: object, gap: str) -> bool:
    """Say whether a value that is worked out is followed by another one on a new row: `x = 6(-2) = -12`, `x = -6`."""
    if not isinstance(before, _Roots) or _FOLLOWS.search(gap):
        return False
    return bool(before.values) and not any(map(num_operations, before.values))


def breaks_off(gap: str) -> bool:
    """Say whether the text between two equations begins something else: another fact, a case, an alternative.

    `Next, we subtract 3 from both sides` goes on with the equation before.
    """
    if _ALGEBRA.search(gap):
        gap = _CONNECTING.sub(" ", gap)
    return bool(_BREAKS.search(gap) or HYPOTHESIS.search(gap))


def _is_derived(text: str, end: int, start: int) -> bool:
    gap = text[end:start]
    if len(gap) > MAX_GAP or breaks_off(gap):
        return False
    return bool(_FOLLOWS.search(gap) or _ROW.fullmatch(gap))


def _read(
    relations: Sequence[Relation], at: int
) -> tuple[_Roots | realsets.Expression | None, int]:
    """Return what a relation says of its one letter, and how many relations say it together (`x = 2 or x = 3`)."""
    relation = relations[at]
    if any(side.node is None for side in relation.sides) or not relation.operators:
        return None, 1
    if any(has(side.node or 0, *_UNREAD) for side in relation.sides):
        return None, 1
    if set(relation.operators) <= {"<", ">", "<=", ">="}:
        return _interval(relation), 1
    if set(relation.operators) != {"="} or len(relation.sides) > 4:
        return None, 1
    roots = _equation(relation)
    if roots is None or not roots.values:
        return roots, 1
    size, values = 1, roots.values
    while at + size < len(relations):
        other = relations[at + size]
        gap = other.lead
        if not _OR.fullmatch(gap):
            break
        if not other.operators and is_closed(other.sides[0].node):
            values += (other.sides[0].node or 0,)
        else:
            more = _equation(other)
            if more is None or more.letter != roots.letter or not more.values:
                break
            values += more.values
        size += 1
    return roots._replace(values=values), size


def _equation(relation: Relation) -> _Roots | None:
    """Read an equation; in a chain `x = 4/2 = 2`, the letter and the last number."""
    written = [side.node for side in relation.sides if side.node is not None]
    if len(written) != len(relation.sides) or len(written) < 2:
        return None
    marked = any(has(node, "unit", "deg") for node in written)
    if marked and any(has(node, "f", "k") for node in written):
        return None
    nodes = [_unmarked(node) for node in written] if marked else written
    letters = set[str]().union(*map(symbols, nodes))
    if len(letters) != 1:
        return None
    (letter,) = letters
    if len(nodes) > 2 and not (nodes[0] == ("v", letter) and all(map(is_closed, nodes[1:]))):
        return None
    left, right = nodes[0], nodes[-1]
    if right == ("v", letter):
        left, right = right, left
    if left == ("v", letter) and is_closed(right):
        values = _signs(right)
        return _Roots(letter, None, tuple(values), (left, right), units_of(written))
    top, _ = split_fraction(("+", left, ("-", right)))
    terms = coefficients(top, letter)
    if terms is None or len(terms) < 2:
        return None
    return _Roots(letter, terms, (), (left, right), units_of(written))


def _unmarked(node: Any) -> Any:
    """Return a side without its units and degree signs."""
    if not isinstance(node, tuple):
        return node
    if node[0] in ("unit", "deg"):
        return 1
    return tuple(_unmarked(part) if isinstance(part, tuple) else part for part in node)


def _signs(node: Node) -> list[Node]:
    if not has(node, "+-", "-+"):
        return [node]
    return [_with_sign(node, sign) for sign in (False, True)]


def _with_sign(node: Node, minus: bool) -> Node:
    if not isinstance(node, tuple):
        return node
    if node[0] in ("+-", "-+"):
        negative = (node[0] == "-+") != minus
        right = _with_sign(node[2], minus)
        return ("+", _with_sign(node[1], minus), ("-", right) if negative else right)
    return tuple(_with_sign(part, minus) if isinstance(part, tuple) else part for part in node)


def _interval(relation: Relation) -> realsets.Expression | None:
    names: set[str] = set()
    node: Node = ("rel", relation.operators, tuple(side.node for side in relation.sides))
    if len(set[str]().union(*(symbols(side.node or 0) for side in relation.sides))) != 1:
        return None
    try:
        found = realsets.read(node, names)
    except (realsets.NotRealSet, RecursionError, ArithmeticError):
        return None
    return ("of", min(names), found) if len(names) == 1 else None


def _follows(before: object, now: object) -> bool | None:
    """Say whether both have the same solutions; `False` if none is common, `None` for anything between."""
    if isinstance(before, _Roots) and isinstance(now, _Roots):
        if before.letter != now.letter:
            return None
        converted = before.units and now.units and before.units != now.units
        return _same_roots(before, now) or (None if converted else _same_roots(before, now))
    if isinstance(before, tuple) and isinstance(now, tuple) and before[0] == now[0] == "of":
        if before[1] != now[1]:
            return None
        if realsets.equal(before[2], now[2], same):
            return True
        common = realsets.equal(("cap", before[2], now[2]), realsets.EMPTY, same)
        empty = [realsets.equal(each[2], realsets.EMPTY, same) for each in (before, now)]
        return False if common and empty == [False, False] else None
    return None


def _same_roots(before: _Roots, now: _Roots) -> bool | None:
    if now.values:
        if before.values:
            found = [[_near(x, y) for x in before.values] for y in now.values]
            if all(True in row for row in found):
                return True if len(now.values) >= len(before.values) else None
            if len(before.values) == len(now.values) == 1 and found == [[False]]:
                return False
            return None
        held = [_satisfies(before, value) for value in now.values]
        if False in held:
            return False
        if None in held or before.terms is None:
            return None
        distinct = _degree_of_distinct(before.terms)
        return True if len(now.values) == distinct else None
    if before.values:
        return None
    assert before.terms is not None and now.terms is not None
    common = _gcd(before.terms, now.terms)
    if len(common) == 1:
        return False
    degrees = [_degree_of_distinct(each) for each in (before.terms, now.terms, common)]
    if len(set(degrees)) == 1:
        return True
    real = [_num_real_roots(each) for each in (before.terms, now.terms, common)]
    lost = min(degrees[:2]) > degrees[2] and min(real[:2]) > real[2]
    return False if lost else None


def _near(x: Node, y: Node) -> bool | None:
    """Compare two values; `None` if one may be the other rounded."""
    if same(x, y):
        return True
    a, b = number(x), number(y)
    if a is None or b is None or abs(a - b) * 50 <= max(abs(a), abs(b)):
        return None
    return False


def _satisfies(equation: _Roots, value: Node) -> bool | None:
    """Say whether a value solves an equation; `None` if it may be a rounded solution."""
    left, right = (substitute(side, {equation.letter: value}) for side in equation.equation)
    found = same(left, right)
    if found is not False:
        return found
    at = number(value)
    if at is None or equation.terms is None:
        return None
    if _is_decimal(value):
        grain = max(abs(at) / 50, Fraction(1, 100))
        low, high = (_at(equation.terms, at + shift) for shift in (-grain, grain))
        return None if low * high <= 0 or at == 0 else False
    exactly = _at(equation.terms, at)
    return False if abs(exactly) > _TINY else None


def _is_decimal(value: Node) -> bool:
    return has(value, "dec")


def _at(terms: Sequence[Fraction], x: Fraction) -> Fraction:
    total = Fraction(0)
    for coefficient in reversed(terms):
        total = total * x + coefficient
    return total


def _gcd(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    while b:
        a, b = b, _remainder(a, b)
    return a


def _remainder(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    rest = list(a)
    while len(rest) >= len(b):
        factor, shift = rest[-1] / b[-1], len(rest) - len(b)
        for i, coefficient in enumerate(b):
            rest[shift + i] -= factor * coefficient
        while rest and rest[-1] == 0:
            rest.pop()
    return rest


def _degree_of_distinct(terms: list[Fraction]) -> int:
    """Return the number of distinct complex roots."""
    slope = [i * c for i, c in enumerate(terms)][1:]
    return len(terms) - len(_gcd(terms, slope))


def _num_real_roots(terms: list[Fraction]) -> int:
    """Return the number of distinct real roots, by Sturm's theorem."""
    chain = [terms, [i * c for i, c in enumerate(terms)][1:]]
    while chain[-1]:
        chain.append([-c for c in _remainder(chain[-2], chain[-1])])
    ends: list[list[Fraction]] = [
        [each[-1] for each in chain[:-1]],
        [each[-1] * (-1) ** (len(each) - 1) for each in chain[:-1]],
    ]
    changes = [sum(x * y < 0 for x, y in pairwise(signs)) for signs in ends]
    return changes[1] - changes[0]

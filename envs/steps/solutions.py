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
from stepgym.envs.maths.tree import Node, has, substitute, symbols, walk
from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.formulas import APPLIED, Relation
from stepgym.envs.steps.setting import DENIED, HYPOTHESIS, Setting, denied, sentence_before, tried
from stepgym.envs.steps.values import is_closed, num_operations, number, same, units_of
from stepgym.envs.types import Status

MAX_GAP = 160
"""Characters between two relations of one derivation."""
_BREAKS = re.compile(
    r"\b(?:or|and|also|other|another|second|third|next|first|since|because|similarly|likewise|respectively|as|with|but|while"
    r"|recall|given|know|note|denote|instead|now|again|finally|remaining|then\s+for|from\s+(?!both)|substitut\w*|plug\w*|back"
    r"|numbers?|integers?|approximat\w*|round\w*|about|replac\w*|increas\w*|decreas\w*|new|original\w*|until|after|before"
    r"|later|ago|in\s+\S+\s+(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?))\b"
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
FOLLOWS = re.compile(
    r"\b(?:so|thus|therefore|hence|then|which|gives?|giving|yields?|get|implies|implying|means|simplif\w*|becomes|solv\w*"
    r"|subtract\w*|add\w*|divid\w*|multipl\w*|factor\w*|expand\w*|rearrang\w*|combin\w*|have|obtain|find|leads?|equivalent\w*"
    r"|that is|i\.e|reduc\w*|distribut\w*|isolat\w*|results?|rewrit\w*)\b|\\(?:implies|Rightarrow|Longrightarrow|iff|Leftrightarrow|therefore)",
    re.I,
)
_FOLLOWS_ON = re.compile(
    r"\b(?:so|thus|therefore|hence|gives|giving|yields?|implies|implying|simplif\w*|subtract\w*|add(?:ing|s|ed)?|divid\w*|multipl\w*"
    r"|factor\w*|expand\w*|rearrang\w*|combin\w*|distribut\w*|isolat\w*|solv(?:ing|es?)\s+(?:for|the)|rewrit\w*)\b",
    re.I,
)
"""Words by which a step continues the equation of the step before."""
_CONCLUDES = re.compile(
    r"\b(?:so|thus|therefore|hence|conclude|implies|it follows that|(?:we|you|to) (?:find|get|obtain)|(?:the|its|only) (?:solutions?|answers?) (?:is|are))\b"
    r"|\\(?:implies|Rightarrow|Longrightarrow|therefore)",
    re.I,
)
_EVALUATES = re.compile(
    r"\b(?:at|plug\w*|substitut\w*|evaluat\w*|sides?|test\w*|check\w*|when\w*|if|for|let|suppos\w*|try\w*|where|put\w*|pairs?"
    r"|options?|choices?|possib\w*|candidates?|values?|between|about|near\w*|start\w*|sums?|products?|mean|median|next|previous|after|before|now|then|new|later|ago"
    r"|becomes?|in\s+\S+\s+(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?))\b",
    re.I,
)
"""Words of a sentence that names a value without saying that it solves the problem's equation."""
_OTHER_MATTER = re.compile(
    r"derivative|critical|vertex|vertices|inflection|extrem|maxim|minim|symmetr|parabola|\baxis|monoton|turning"
    r"|\bf\s*'|midpoint|\baverage",
    re.I,
)
"""Words of a step that looks at other values of a letter than the solutions of its equation."""
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
    open_sides: frozenset[Node]
    """The sides that depend on a letter."""


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
        if not _CURVES.search(problem) and "digit" not in problem.lower():
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
        if _OTHER_MATTER.search(step):
            self.stated.clear()
        against = self._against_stated(step, relations, setting)
        return [*found, *(claim for claim in against if claim.end not in wrong)]

    def _against_stated(
        self, step: str, relations: Sequence[Relation], setting: Setting
    ) -> Iterator[Claim]:
        """Yield a claim for each conclusion of a step that does not satisfy a stated equation.

        An equation is no longer compared once values satisfied it, or once a letter has another equation.
        """
        if not self.stated or setting.modular or setting.unusual:
            return
        read = list(_readings(relations))
        counts = Counter(said.letter for _, said in read if said.values)
        values: dict[str, Node | None] = {}
        for (first, last), said in read:
            if not said.values:
                self.stated = [each for each in self.stated if not _is_replaced(each, said)]
                continue
            if not _OR.fullmatch(first.lead):
                values.clear()  # only values that are listed together are one solution
            alone = len(said.values) == 1 and said.letter not in values
            values[said.letter] = said.values[0] if alone else None
            known = {letter: value for letter, value in values.items() if value is not None}
            found = [(each, _satisfied(each, said, known)) for each in self.stated]
            self.stated = [each for each, holds in found if not holds]
            false = next((each for each, holds in found if holds is False), None)
            start, end = first.start, last.end
            if false is None or any(counts[letter] > 1 for letter in false.letters):
                continue
            if APPLIED.search(step[start:end]) or not _is_conclusion(step, start, end):
                continue
            yield Claim(
                kind=Kind.EQUATION,
                start=start,
                end=end,
                text=step[start:end],
                status=Status.INCORRECT,
                reason=f"{step[start:end].strip()}: it does not satisfy {false.text}",
            )


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
        or re.search(r"(?<!\\)[A-Z]\s*[A-Z]", text)  # digits side by side
        or has(nodes[0], "unit")
        or has(nodes[1], "unit")
    ):
        return None
    roots = _equation(relation) if len(letters) == 1 else None
    if len(letters) == 1 and (roots is None or roots.values):
        return None
    return Stated(letters, (nodes[0], nodes[1]), text, roots)


def _readings(relations: Sequence[Relation]) -> Iterator[tuple[tuple[Relation, Relation], _Roots]]:
    """Yield what relations say of one letter, with the first and the last relation that say it together."""
    at = 0
    while at < len(relations):
        size, said = 1, None
        with suppress(TooMuchWork, NotRational, ArithmeticError, RecursionError):
            said, size = _read(relations, at)
        if isinstance(said, _Roots):
            yield (relations[at], relations[at + size - 1]), said
        at += size


def _is_replaced(stated: Stated, said: _Roots) -> bool:
    """Say whether a step gives the letter of a stated equation another equation: `f'(x) = 3x^2 - 3 = 0`."""
    if stated.roots is None or stated.letters != {said.letter}:
        return False
    try:
        return _same_roots(stated.roots, said) is not True
    except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
        return True


def _is_conclusion(step: str, start: int, end: int) -> bool:
    """Say whether a sentence concludes a value, instead of evaluating something there or naming another time."""
    before = sentence_before(step, start, 160)
    after = re.split(r"[.!?;](?=\s|$)|\n\n", step[end : end + 140])[0]
    if tried(step, start) or denied(step, start, end) or not _CONCLUDES.search(before):
        return False
    return not _EVALUATES.search(f"{before} {after}")


def _satisfied(stated: Stated, said: _Roots, values: Mapping[str, Node]) -> bool | None:
    """Say whether values solve a stated equation; `None` if it holds another letter, or that is not known."""
    try:
        if stated.roots is not None:
            if stated.letters != {said.letter}:
                return None
            held = [_satisfies(stated.roots, value) for value in said.values]
            return True if True in held else (False if False in held else None)
        if said.letter not in stated.letters or not stated.letters <= values.keys():
            return None
        if any(_is_decimal(value) for value in values.values()):
            return None
        left, right = (substitute(side, dict(values)) for side in stated.equation)
        return same(left, right)
    except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
        return None


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
        nodes = [side.node or 0 for side in relation.sides]
        open_sides = frozenset(node for node in nodes if symbols(node))
        try:
            said, size = _read(relations, at)
            holds = None
            if (
                before is not None
                and said is not None
                and _is_derived(text, before.end, start, shift)
            ):
                holds = _follows(before.said, said)
                gap = text[before.end : start]
                listed = not before.open_sides.isdisjoint(open_sides) or not FOLLOWS.search(gap)
                if holds is False and _may_be_listed(before.said, said, gap, listed=listed):
                    holds = None
        except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
            said, size, holds = None, 1, None
        end = relations[at + size - 1].end + shift
        if before is not None and holds is not None:
            found.append(_claim(text, before, (start, end), shift, holds=holds, setting=setting))
        alternative = _OR.fullmatch(relation.lead) and at > 0
        before = (
            None if said is None or alternative else Carried(text, start, end, said, open_sides)
        )
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
    unsure = unsure or DENIED.search(text, before.end, start) is not None
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


def _may_be_listed(before: object, now: object, gap: str, *, listed: bool) -> bool:
    """Say whether two relations may be cases side by side: `x - 3 = 5` and `x - 3 = -5`, `x > 3` and `x < -3`.

    Cases have a side in common. A value that is worked out has a second one only as a case, unless the text says that
    it is the first one, simplified. `listed` is true if a side with a letter is in both relations, or if there is no
    word between them.
    """
    if not (isinstance(before, _Roots) and isinstance(now, _Roots)):
        return listed
    if before.values and now.values:
        operations = [sum(map(num_operations, each.values)) for each in (before, now)]
        across = "\n\n" in gap or not FOLLOWS.search(gap)
        return across or operations[0] <= operations[1]
    (left, other_left), (right, other_right) = zip(before.equation, now.equation)
    if now.values:
        return right == other_right == 0 and not FOLLOWS.search(gap)
    is_factored = _is_product(other_left) and not _is_product(left)
    terms = before.terms or ()
    combined = len(terms) == 2 and _num_letters(left) > _num_letters(other_left)
    rewritten = is_factored or combined or _ALGEBRA.search(gap)
    return left == other_left or (right == other_right and not rewritten)


def _num_letters(node: Node) -> int:
    return sum(isinstance(part, tuple) and part[0] == "v" for part in walk(node))


def _is_product(node: Node) -> bool:
    return isinstance(node, tuple) and node[0] in ("*", "^")


def breaks_off(gap: str) -> bool:
    """Say whether the text between two equations begins something else: another fact, a case, an alternative.

    `Next, we subtract 3 from both sides` continues the equation before.
    """
    if _ALGEBRA.search(gap):
        gap = _CONNECTING.sub(" ", gap)
    return bool(_BREAKS.search(gap) or HYPOTHESIS.search(gap))


def _is_derived(text: str, end: int, start: int, step: int) -> bool:
    """Say whether the words between two relations, or a new row, make them one derivation; `step` begins at an offset.

    A later step must say so: steps that begin with a formula may be cases.
    """
    gap = text[end:start]
    if len(gap) > MAX_GAP or breaks_off(gap):
        return False
    if end <= step and step > 0:
        later = gap.partition("\n\n")[2]
        return bool(_FOLLOWS_ON.search(later) or _ALGEBRA.search(later))
    return bool(FOLLOWS.search(gap) or _ROW.fullmatch(gap))


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

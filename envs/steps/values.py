"""Compares closed numbers as solutions write them: units, degrees, percentages, roundings and plus-minus included.

`False` is a proof. `None` stands for a difference that a convention or a rounding may explain: another unit, a decimal
that was rounded before, a logarithm whose base is not written, a number that may be a mixed one or a product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice, product
from typing import Any

from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import TooMuchWork
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.reading import read
from stepgym.envs.maths.scalars import same_scalar
from stepgym.envs.maths.tree import Node, has, symbols, walk
from stepgym.envs.steps.formulas import Side

_NUMBER_KINDS = frozenset("dec k + - * / ^ +- -+ f unit % deg base sum prod".split())
_CONSTANTS = frozenset(("pi", "e", "i"))
_RADIANS: Node = ("/", ("k", "pi"), 180)
_AMBIGUOUS = re.compile(
    r"""(?<!\^)\d\s*\\[dt]?frac | (?<!\^)\d\s+\d+/\d | \\l(?:og|g)(?![a-z])(?!\s*_) | (?<![a-z])log(?!\s*_) | (?<!\^)(?<!\^\{)\\circ(?![a-z])
    | \d_ | (?<![\d.])0\d | (?<!\^)\d\s+\d | \\sqrt\s*\d\d | [#@] | /\s*\d+\s*(?:\(|\\(?:sqrt|pi|cdot)) | \\div\s*\d+\s*\(
    | \\(?:star|ast|bullet|oplus|otimes|odot|diamond|triangle|square|\w*suit|Delta|nabla|overline|underline|bar)(?![a-z])
    """,
    re.X,
)
"""Spellings with more than one meaning: a false equation that holds one is no proof."""
_MIXED = re.compile(r"(?<!\^)(\d)\s*(?=\\[dt]?frac)")
"""A number before a fraction: a mixed number or a product."""
_MAX_FORMS = 8
FACTORS: dict[str, tuple[float, ...]] = {
    "second": (60, 3600, 1000),
    "minute": (60, 1440),
    "hour": (60, 3600, 24, 8, 12),
    "day": (24, 1440, 7, 5, 8, 12, 30, 31, 365, 2),
    "week": (7, 5, 6, 2, 4, 52, 168),
    "month": (12, 4, 30, 31, 28, 4.35),
    "year": (12, 52, 365, 10, 2, 4, 360, 366),
    "decade": (10, 120),
    "century": (100,),
    "dollar": (100,),
    "cent": (100,),
    "penny": (100, 5),
    "nickel": (20, 5, 2),
    "dime": (10, 2),
    "quarter": (4, 25),
    "inch": (12, 36, 2.54),
    "foot": (12, 3, 5280, 3.28),
    "yard": (3, 36, 1760),
    "mile": (5280, 1760, 1.609, 60),
    "millimeter": (10, 1000),
    "centimeter": (10, 100, 100_000, 2.54),
    "meter": (10, 100, 1000, 3.28),
    "kilometer": (1000, 1.609, 60, 3.6),
    "milligram": (1000, 10**6),
    "gram": (1000, 10**6),
    "kilogram": (1000, 2.2),
    "ounce": (16, 28.35, 8, 128, 2000, 32),
    "pound": (16, 2000, 2.2),
    "ton": (2000, 1000, 32_000),
    "milliliter": (1000,),
    "liter": (1000,),
    "gallon": (4, 8, 16, 128),
    "quart": (4, 2, 32),
    "pint": (2, 8, 16),
    "cup": (2, 4, 8, 16),
    "mph": (60, 3600, 1.47),
    "dozen": (12,),
    "pair": (2,),
    "percent": (100,),
    "people": (2,),
    "square": (9, 144),
    "cubic": (27, 1728),
}
"""Unit -> factors to other units that people apply without saying so."""
_COUNTED = frozenset(("penny", "nickel", "dime", "quarter", "dozen", "pair"))
_SPELLINGS = dict(
    pair.split("=")
    for pair in (
        "feet=foot ft=foot sec=second min=minute hr=hour metre=meter litre=liter centurie=century cm=centimeter"
        " mm=millimeter km=kilometer kg=kilogram mg=milligram g=gram oz=ounce lb=pound ml=milliliter mi=mile yd=yard"
        " penn=penny pennie=penny inche=inch kilometre=kilometer centimetre=centimeter"
    ).split()
)


def is_closed(node: Node | None) -> bool:
    """Return whether a side is one number: no letters, no lists, nothing left out."""
    if node is None or symbols(node):
        return False
    return all(
        not isinstance(part, tuple)
        or (part[0] in _NUMBER_KINDS and (part[0] != "k" or part[1] in _CONSTANTS))
        for part in walk(node)
    ) and not (isinstance(node, tuple) and node[0] in ("unit", "%", "deg"))


def num_operations(node: Node) -> int:
    """Return the number of operations; a number with its sign and unit has none."""
    return sum(
        isinstance(part, tuple)
        and part[0] in ("+", "*", "/", "^", "f", "+-", "-+", "sum", "prod")
        and not (part[0] == "*" and len(part) == 3 and _is_mark(part[2]))
        for part in walk(node)
    )


def equal_sides(
    a: Side, b: Side, *, approximate: bool = False, given: frozenset[Fraction] = frozenset()
) -> bool | None:
    """Say whether two closed sides are one number; `given` holds the exact decimals of the problem."""
    if all(has(side.node or 0, "deg") and not _is_trigonometric(side.node) for side in (a, b)):
        a, b = (side._replace(node=_form(side.node, (0, 1), 1, 1, False)) for side in (a, b))
    assert a.node is not None and b.node is not None
    found = [same(x, y) for x, y in product(_forms(a.node), _forms(b.node))]
    if True in found:
        return True
    if None in found or len(found) > _MAX_FORMS**2:
        return None
    nearest = _nearest(a.node, b.node)
    if nearest is None:
        is_real = [_is_real(side.node) for side in (a, b)]
        return _proof(a, b) if sorted(map(str, is_real)) == ["False", "True"] else None
    near, size = abs(nearest[0] - nearest[1]), max(map(abs, nearest))
    for single, value, other in ((a, nearest[0], b), (b, nearest[1], a)):
        decimals = _decimals(single.node)
        if decimals is not None and num_operations(other.node or 0):
            grain = Fraction(1, 10**decimals) * _scale(single.node, value)
            if near * 2 <= grain:
                return True
            if near < grain or (decimals and near * 100 <= size):
                return None
    if approximate:
        return True if near * 20 <= size else (None if near * 2 <= size else _proof(a, b))
    if near * 50 <= size and _rounded(a.node, b.node) - given:
        return None
    units = _units(a.node), _units(b.node)
    if max(map(len, units)) > 1:
        return None  # `5 feet 4 inches`
    if units[0] != units[1]:
        if any(_has_power_of_unit(node) for node in (a.node, b.node)):
            return None  # `1 m^2 = 10000 cm^2`
        words = [word for phrase in units[0] + units[1] for word in re.findall(r"[a-z]+", phrase)]
        if not measures(words) or may_convert(*nearest, words):
            return None  # a unit that is foreign here may be worth anything
    if not (num_operations(a.node) or num_operations(b.node)):
        return None  # `1 = 2` ends a proof by contradiction
    return _proof(a, b)


def may_convert(x: Fraction, y: Fraction, units: Iterable[str], step: str = "") -> bool:
    """Say whether a change between units that are named explains that `x` was written for `y`.

    `units` are the words of the two sides; coins, dozens and pairs count if the step names them anywhere.
    """
    if not x or not y:
        return False
    words = measures(units) | measures(re.findall(r"[A-Za-z]+", step)) & _COUNTED
    ratio = max(abs(x / y), abs(y / x))
    return any(abs(ratio / factor - 1) * 50 <= 1 for word in words for factor in FACTORS[word])


def measures(words: Iterable[str]) -> set[str]:
    """Return the units of measure among some words, each in its common spelling."""
    return {_singular(word) for word in words} & FACTORS.keys()


def same(a: Node, b: Node) -> bool | None:
    """Compare two scalars; `None` if the work allowed does not suffice."""
    try:
        return same_scalar(a, b, Draws("step", repr(a)[:200], repr(b)[:200])).equal
    except (TooMuchWork, NotRational, RecursionError, ArithmeticError):
        return None


def less(a: Node, b: Node) -> bool | None:
    """Say whether a closed number is less than another; `None` if that is not proven either way."""
    x, y = number(a), number(b)
    return None if x is None or y is None or x == y else x < y


def number(node: Node) -> Fraction | None:
    """Return a closed real number, to 30 digits if it is irrational."""
    try:
        return Fraction(exact(node))
    except (NotRational, RecursionError, TooMuchWork):
        pass
    from stepgym.envs.maths.numeric import complex_value  # loads python-flint

    value = complex_value(node)
    if value is None or not value.imag.contains(0) or float(value.real.rad()) > 1e-20:
        return None
    mantissa, exponent = value.real.mid().man_exp()
    if abs(int(exponent)) > 2000:
        return None
    return Fraction(int(mantissa)) * Fraction(2) ** int(exponent)


def _proof(a: Side, b: Side) -> bool | None:
    text = f"{a.text} = {b.text}"
    if any(_is_doubtful(node) for node in (a.node, b.node)):
        return None
    if not _AMBIGUOUS.search(text):
        return False
    if _AMBIGUOUS.search(_MIXED.sub("", text)):
        return None
    products = [read(_MIXED.sub(r"\g<1> \\cdot ", side.text)).node for side in (a, b)]
    readings = product((a.node, products[0]), (b.node, products[1]))
    differ = [x is not None and y is not None and same(x, y) is False for x, y in readings]
    return False if all(differ) else None


def _is_doubtful(node: Any) -> bool:
    """Say whether a value rests on a choice of branch, or on a letter that may be no constant."""
    return any(
        isinstance(part, tuple)
        and (
            (part[0] == "k" and part[1] in ("e", "i"))
            or (part[0] == "^" and not isinstance(part[2], int) and _is_negative(part[1]))
            or part[0] == "base"
        )
        for part in walk(node)
    )


def _is_negative(node: Node) -> bool:
    value = number(node)
    return value is None or value < 0


def _is_real(node: Node | None) -> bool | None:
    """Say whether a closed number is real; `None` if that is not known."""
    from stepgym.envs.maths.numeric import complex_value  # loads python-flint

    if number(node or 0) is not None:
        return True
    value = complex_value(node or 0)
    return None if value is None or value.imag.contains(0) else False


def _nearest(a: Node, b: Node) -> tuple[Fraction, Fraction] | None:
    """Return the two forms of the sides that are relatively nearest to each other."""
    xs, ys = ([number(form) for form in _forms(node)] for node in (a, b))
    pairs = [(x, y) for x in xs for y in ys if x is not None and y is not None]
    if not pairs:
        return None
    return min(pairs, key=lambda pair: abs(pair[0] - pair[1]) / (max(map(abs, pair)) or 1))


def _scale(node: Node | None, value: Fraction) -> Fraction:
    """Return the size of a form of a single number relative to the number as it is written: `60^\\circ` is pi/3."""
    numbers = (
        part
        for part in walk(node or 0)
        if isinstance(part, int) or (isinstance(part, tuple) and part[0] == "dec")
    )
    written = number(next(numbers, 0))
    return abs(value / written) if value and written else Fraction(1)


def _forms(node: Node) -> list[Node]:
    """Return what a side may stand for: without units, percent as 1/100 or not counted, degrees alike, both signs."""
    signs = ((0, 1), (1, 0)) if has(node, "+-", "-+") else ((0, 1),)
    percents: tuple[Node, ...] = (("/", 1, 100), 1) if has(node, "%") else (1,)
    degrees: tuple[Node, ...] = (1, _RADIANS)
    trigonometric = _is_trigonometric(node)
    if not has(node, "deg") and not trigonometric:
        degrees = (1,)
    found: list[Node] = []
    for sign, percent, degree in islice(product(signs, percents, degrees), _MAX_FORMS):
        form = _form(node, sign, percent, degree, trigonometric and not has(node, "deg"))
        if form not in found:
            found.append(form)
    return found


_TRIGONOMETRIC = frozenset("sin cos tan cot sec csc arcsin arccos arctan".split())


def _is_trigonometric(node: Node | None) -> bool:
    return any(
        isinstance(part, tuple) and part[0] == "f" and part[1] in _TRIGONOMETRIC
        for part in walk(node or 0)
    )


def _form(node: Any, sign: tuple[int, int], percent: Node, degree: Node, bare: bool) -> Any:
    if not isinstance(node, tuple) or node[0] in ("dec", "k", "base"):
        return node
    if node[0] == "unit":
        return 1
    if node[0] == "%":
        return percent
    if node[0] == "deg":
        return degree
    if node[0] in ("+-", "-+"):
        left, right = (_form(part, sign, percent, degree, bare) for part in node[1:])
        plus = (node[0] == "+-") == (sign == (0, 1))
        return ("+", left, right if plus else ("-", right))
    if node[0] == "f":
        arguments = tuple(_form(part, sign, percent, degree, bare) for part in node[2])
        if bare and node[1] in _TRIGONOMETRIC and degree != 1:
            if node[1].startswith("arc"):
                return ("/", ("f", node[1], arguments), degree)
            arguments = (("*", arguments[0], degree), *arguments[1:])
        return ("f", node[1], arguments)
    if node[0] == "^" and has(node[1], "unit") and not has(node[1], "+") and node[1][0] == "unit":
        return 1
    return (
        node[0],
        *(
            _form(part, sign, percent, degree, bare) if isinstance(part, tuple) else part
            for part in node[1:]
        ),
    )


def _is_mark(node: Any) -> bool:
    return isinstance(node, tuple) and (
        node[0] in ("unit", "%", "deg") or (node[0] == "^" and _is_mark(node[1]))
    )


def _decimals(node: Node | None) -> int | None:
    """Return the digits after the point of a side that is one number."""
    if isinstance(node, tuple) and node[0] == "*" and any(map(_is_mark, node[1:])):
        rest = [factor for factor in node[1:] if not _is_mark(factor)]
        return _decimals(rest[0]) if len(rest) == 1 else None
    if isinstance(node, tuple) and node[0] == "-":
        return _decimals(node[1])
    if isinstance(node, tuple) and node[0] == "dec":
        return len(str(node[2]).partition(".")[2])
    return 0 if isinstance(node, int) else None


def _rounded(*sides: Node) -> set[Fraction]:
    """Return the decimals among the numbers; a result of them may have been rounded."""
    return {
        Fraction(part[1])
        for side in sides
        for part in walk(side)
        if isinstance(part, tuple) and part[0] == "dec"
    }


def _has_power_of_unit(node: Node) -> bool:
    return any(
        isinstance(part, tuple) and part[0] == "^" and has(part[1], "unit") for part in walk(node)
    )


def _units(node: Node) -> tuple[str, ...]:
    return tuple(sorted({_singular(w) for w in _unit_words(node)}))


def units_of(nodes: Iterable[Node]) -> frozenset[str]:
    """Return the words of units in some sides, in the singular."""
    return frozenset(word for node in nodes for word in _units(node))


def _unit_words(node: Node) -> Iterator[str]:
    for part in walk(node):
        if isinstance(part, tuple) and part[0] == "unit":
            yield str(part[1])


def _singular(word: str) -> str:
    plain = word.lower().strip(" .").removesuffix("s")
    return _SPELLINGS.get(plain, plain)

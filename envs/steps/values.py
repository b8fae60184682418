"""Compares closed numbers as solutions write them: units, degrees, percentages, roundings and plus-minus included.

`False` is a proof. `None` stands for a difference that a convention or a rounding may explain: another unit, a decimal
that was rounded before, a logarithm whose base is not written, a number that may be a mixed one or a product.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, product
from typing import Any

from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import TooMuchWork
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.scalars import same_scalar
from stepgym.envs.maths.tree import Node, has, symbols, walk
from stepgym.envs.steps.formulas import Side

_NUMBER_KINDS = frozenset("dec k + - * / ^ +- -+ f unit % deg base sum prod".split())
_CONSTANTS = frozenset(("pi", "e", "i"))
_RADIANS: Node = ("/", ("k", "pi"), 180)
_AMBIGUOUS = re.compile(
    r"""\d\s*\\[dt]?frac | \d\s+\d+/\d | \\l(?:og|g)(?![a-z])(?!\s*_) | (?<![a-z])log(?!\s*_) | (?<!\^)(?<!\^\{)\\circ(?![a-z])
    | \d_ | (?<![\d.])0\d | \d\s+\d | \\sqrt\s*\d\d | [#@] | /\s*\d+\s*(?:\(|\\(?:sqrt|pi|cdot)) | \\div\s*\d+\s*\(
    | \\(?:star|ast|bullet|oplus|otimes|odot|diamond|triangle|square|\w*suit|Delta|nabla|overline|underline|bar)(?![a-z])
    """,
    re.X,
)
"""Spellings with more than one meaning: a false equation that holds one is no proof."""
_MAX_FORMS = 8


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
    a: Side, b: Side, *, approximate: bool = False, given: frozenset[str] = frozenset()
) -> bool | None:
    """Say whether two closed sides are one number; `given` holds the decimals of the problem."""
    assert a.node is not None and b.node is not None
    found = [same(x, y) for x, y in product(_forms(a.node), _forms(b.node))]
    if True in found:
        return True
    if None in found or len(found) > _MAX_FORMS**2:
        return None
    near, size = _nearest(a.node, b.node)
    if near is None:
        return None
    for single, other in ((a, b), (b, a)):
        decimals = _decimals(single.node)
        if decimals is not None and num_operations(other.node):  # type: ignore[arg-type]
            grain = Fraction(1, 10**decimals)
            if near * 2 <= grain:
                return True
            if near < grain or (decimals and near * 100 <= size):
                return None
    if approximate:
        return True if near * 20 <= size else (None if near * 2 <= size else _proof(a, b))
    if near * 50 <= size and _rounded(a.node, b.node) - given:
        return None
    if _units(a.node) != _units(b.node):
        return None
    if not (num_operations(a.node) or num_operations(b.node)):
        return None  # `1 = 2` ends a proof by contradiction
    return _proof(a, b)


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
    if _AMBIGUOUS.search(text) or any(_is_doubtful(node) for node in (a.node, b.node)):
        return None
    return False


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


def _nearest(a: Node, b: Node) -> tuple[Fraction | None, Fraction]:
    """Return the least distance between forms of the two sides, and the size of the larger one."""
    xs, ys = ([number(form) for form in _forms(node)] for node in (a, b))
    pairs = [(x, y) for x in xs for y in ys if x is not None and y is not None]
    if not pairs:
        return None, Fraction(0)
    x, y = min(pairs, key=lambda pair: abs(pair[0] - pair[1]))
    return abs(x - y), max(abs(x), abs(y))


def _forms(node: Node) -> list[Node]:
    """Return what a side may stand for: without units, percent as 1/100 or not counted, degrees alike, both signs."""
    signs = ((0, 1), (1, 0)) if has(node, "+-", "-+") else ((0, 1),)
    percents: tuple[Node, ...] = (("/", 1, 100), 1) if has(node, "%") else (1,)
    degrees: tuple[Node, ...] = (1, _RADIANS)
    trigonometric = any(
        isinstance(part, tuple) and part[0] == "f" and part[1] in _TRIGONOMETRIC
        for part in walk(node)
    )
    if not has(node, "deg") and not trigonometric:
        degrees = (1,)
    found: list[Node] = []
    for sign, percent, degree in islice(product(signs, percents, degrees), _MAX_FORMS):
        form = _form(node, sign, percent, degree, trigonometric and not has(node, "deg"))
        if form not in found:
            found.append(form)
    return found


_TRIGONOMETRIC = frozenset("sin cos tan cot sec csc arcsin arccos arctan".split())


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


def _rounded(*sides: Node) -> set[str]:
    """Return the decimals among the numbers; a result of them may have been rounded."""
    return {
        str(part[2])
        for side in sides
        for part in walk(side)
        if isinstance(part, tuple) and part[0] == "dec"
    }


def _units(node: Node) -> tuple[str, ...]:
    return tuple(sorted({_singular(w) for w in _unit_words(node)}))


def _unit_words(node: Node) -> Iterator[str]:
    for part in walk(node):
        if isinstance(part, tuple) and part[0] == "unit":
            yield str(part[1])


def _singular(word: str) -> str:
    return word.lower().strip(" .").removesuffix("s")

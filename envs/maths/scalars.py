"""Whether two scalar expressions are equal: rational, modular, then ball arithmetic, in order of cost.

What *no* rests on: unequal fractions, unequal residues at one point, or two balls that do not meet. All are proofs.

What *yes* rests on. Rational rung: proof. Modular rung: the bound in `modular.py`, below 2^-120. Numeric rung, closed
numbers: agreement to D * h + 64 bits, where h counts the bits of the whole numbers written and D multiplies the
indices of the roots; for nested radicals that is the root separation bound (Burnikel, Fleischer, Funke, Mehlhorn,
Schirra 2001) and so a proof, as long as D * h stays below `MAX_PRECISION`; with transcendental functions no bound is
known, and agreement to at least 512 bits is taken for equality. Numeric rung with symbols: agreement to 200 bits beyond h at
five or more points drawn over both signs; an analytic difference that is not zero vanishes at a random point with
probability below the grain of the draw, 2^-40 per point.

Expressions with absolute values, roots, logarithms, floors and the like are not analytic: for them, `piecewise.py`
adds points in every piece, or leaves the pair undecided.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from stepgym.envs.maths import modular, radicals
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, Undefined, exact
from stepgym.envs.maths.polynomials import coefficients
from stepgym.envs.maths.tree import Node, has, label, mentions, substitute, symbols, walk

_WHOLE_NAMES = frozenset("nmkNMKijpqr")


_CALL = frozenset(("call",))


class Word:
    """The result of a rung: `equal` is `None` if it could not decide; `rung` is its name."""

    __slots__ = ("equal", "rung")

    def __init__(self, equal: bool | None, rung: str) -> None:
        self.equal = equal
        self.rung = rung


def same_scalar(a: Node, b: Node, rng: Draws) -> Word:
    """Decide whether two scalar expressions are equal wherever both are defined."""
    if a == b:
        return Word(True, "structural")
    names_a, names_b = symbols(a), symbols(b)
    if not (names_a or names_b):
        word = _rational(a, b)
        if word is not None:
            return word
        radical = radicals.same(a, b)
        if radical is not None:
            return Word(radical, "radical")
    if mentions(_CALL, a, b):
        a, b = name_calls(a), name_calls(b)
        names_a, names_b = symbols(a), symbols(b)
    names = names_a | names_b
    if names_a != names_b and _differs_without(a, b, names_a, names_b):
        return Word(False, "structural")
    stand_ins = modular.stand_ins(a, b)
    if "#t" in stand_ins and _wants_whole(a, b):
        stand_ins = set()
    try:
        return Word(modular.agree(a, b, names | stand_ins, rng), "modular")
    except (modular.NotModular, modular.Pole):
        pass
    word = _rational(a, b)  # a side may be undefined whatever its symbols are
    if word is not None:
        return word
    if (has(a, "k") and _infinite(a)) or (has(b, "k") and _infinite(b)):
        endless = has(a, "lim", "sum", "prod", "int") or has(b, "lim", "sum", "prod", "int")
        return Word(None if endless else _same_infinity(a, b), "structural")
    from stepgym.envs.maths import numeric  # loads python-flint

    if not names:
        return Word(numeric.same_closed(a, b), "numeric")
    if _wants_whole(a, b):
        word = _whole_points(a, b, names, rng)
        whole = frozenset(names & _WHOLE_NAMES)
    else:
        word = Word(numeric.same_open(a, b, sorted(names), rng), "numeric")
        whole = frozenset()
    return word if not word.equal else Word(_in_every_piece(a, b, names, whole, rng), "numeric")


def _in_every_piece(
    a: Node, b: Node, names: set[str], whole: frozenset[str], rng: Draws
) -> bool | None:
    """Two expressions that agree at random points: do they agree wherever their formulas may change?"""
    from stepgym.envs.maths import numeric, piecewise  # load python-flint

    if not (piecewise.is_piecewise(a) or piecewise.is_piecewise(b)):
        return True

    def same(point: dict[str, Fraction]) -> bool | None:
        values = {name: v.numerator if v.denominator == 1 else v for name, v in point.items()}
        try:
            return exact(a, values) == exact(b, values)
        except Undefined:
            return None
        except NotRational:
            return numeric.same_at(a, b, point)

    found = piecewise.agree(a, b, names, same, rng, whole=whole)
    return found if found is not None else _same_outside_pieces(a, b, rng)


def _same_outside_pieces(a: Node, b: Node, rng: Draws) -> bool | None:
    """`True` if the two are equal with each piecewise function, up to its argument's form, as a letter of its own."""
    from stepgym.envs.maths import piecewise  # loads python-flint

    letters: dict[Node, Node] = {}
    for part in dict.fromkeys(piecewise.pieces(a) + piecewise.pieces(b)):
        assert isinstance(part, tuple)
        alike = (
            letter
            for other, letter in letters.items()
            if isinstance(other, tuple) and _same_part(part, other, rng)
        )
        letters[part] = next(alike, ("v", f"#part {len(letters)}"))
    if any(part in (a, b) for part in letters):
        return True if letters.get(a, a) == letters.get(b, b) else None
    x, y = (_with_letters(node, letters) for node in (a, b))
    return True if same_scalar(x, y, rng).equal else None


def _same_part(a: tuple[Any, ...], b: tuple[Any, ...], rng: Draws) -> bool:
    if a[:2] != b[:2] or a[0] != "f" or len(a[2]) != len(b[2]):
        return a[0] == b[0] != "f" and all(
            same_scalar(x, y, rng).equal is True for x, y in zip(a[1:], b[1:])
        )
    if a[1] in ("abs", "norm") and same_scalar(a[2][0], ("-", b[2][0]), rng).equal:
        return True
    return all(same_scalar(x, y, rng).equal is True for x, y in zip(a[2], b[2]))


def _with_letters(node: Any, letters: dict[Node, Node]) -> Any:
    if not isinstance(node, tuple):
        return node
    if node in letters:
        return letters[node]
    return tuple(_with_letters(item, letters) for item in node)


def _rational(a: Node, b: Node) -> Word | None:
    failed = 0
    values = []
    for node in (a, b):
        try:
            values.append(exact(node))
        except Undefined:
            return Word(False, "rational")
        except (NotRational, RecursionError):
            failed += 1
    if failed:
        return None
    return Word(values[0] == values[1], "rational")


def _differs_without(a: Node, b: Node, names_a: set[str], names_b: set[str]) -> bool:
    """A bare symbol against something that does not hold it."""
    for one, names in ((a, names_b), (b, names_a)):
        if isinstance(one, tuple) and one[0] == "v" and one[1] not in names:
            return True
    return False


def name_calls(node: Any) -> Any:
    """Unknown functions applied to something become symbols of their own."""
    if not isinstance(node, tuple) or not has(node, "call"):
        return node
    if node[0] == "call":
        return ("v", f"{node[1]}{label(tuple(map(_argument, node[2])))}")
    return tuple(name_calls(item) for item in node)


def _argument(node: Any) -> Any:
    """One form of an argument: a polynomial's coefficients; sums and products in one order."""
    if isinstance(node, str) or (isinstance(node, tuple) and not isinstance(node[0], str)):
        return node
    names = symbols(node)
    found = coefficients(node, *(names or ("",))) if len(names) < 2 else None
    if found is not None:
        return ("polynomial", *(names if len(found) > 1 else ()), *found)
    if not isinstance(node, tuple):
        return node
    parts = [_argument(part) for part in node[1:]]
    return (node[0], *(sorted(parts, key=label) if node[0] in ("+", "*") else parts))


def _infinite(node: Node) -> bool:
    return not has(node, "sum", "prod", "int", "lim") and any(n == ("k", "inf") for n in walk(node))


def _same_infinity(a: Node, b: Node) -> bool:
    """Only the bare infinities are answers; `0 * infinity` is none."""
    plus, minus = ("k", "inf"), ("-", ("k", "inf"))
    return (a == plus and b == plus) or (a == minus and b == minus)


def _wants_whole(a: Node, b: Node) -> bool:
    """Whether symbols are whole numbers: factorials, binomials, floors, open sums, (-1)^n."""
    for node in (a, b):
        for n in walk(node):
            if not isinstance(n, tuple):
                continue
            if (
                n[0] == "f"
                and n[1] in ("factorial", "binom", "double_factorial", "gcd", "lcm")
                and symbols(n)
            ):
                return True
            if n[0] == "f" and n[1] in ("floor", "ceil", "mod") and symbols(n) & _WHOLE_NAMES:
                return True
            if n[0] in ("sum", "prod") and symbols(n):
                return True
            if n[0] == "^" and symbols(n[2]) <= _WHOLE_NAMES and symbols(n[2]) and _negative(n[1]):
                return True
            if n[0] == "f" and n[1] in ("sin", "cos") and symbols(n) & _WHOLE_NAMES and has(n, "k"):
                return True
    return False


def _negative(node: Node) -> bool:
    try:
        return exact(node) < 0
    except NotRational:
        return False


def _whole_points(a: Node, b: Node, names: set[str], rng: Draws) -> Word:
    """Compare at whole points, exactly where that is possible: *yes* means equal at fourteen points up to 60.

    The first letter runs through 1, 2, 3, ... so that nothing periodic, such as (-1)^n, is met on one side only.
    """
    from stepgym.envs.maths import numeric  # loads python-flint

    seen = 0
    first = min(names & _WHOLE_NAMES, default="")
    steps = num_nodes(a) + num_nodes(b)
    for trial in range(40):
        spend(steps)
        top = (6, 12, 25, 60)[trial % 4]
        values = {
            name: rng.between(1, top)
            if name in _WHOLE_NAMES or trial % 2
            else Fraction(rng.between(1, 999), 512)
            for name in sorted(names)
        }
        if first and trial % 4 != 3:
            values[first] = 1 + seen
        try:
            equal: bool | None = exact(a, values) == exact(b, values)
        except Undefined:
            continue
        except NotRational:
            fixed: dict[str, Node] = dict(values)
            equal = numeric.same_closed(substitute(a, fixed), substitute(b, fixed))
        if equal is None:
            continue
        if not equal:
            if not all(isinstance(value, int) for value in values.values()):
                continue
            return Word(False, "numeric")
        seen += all(isinstance(value, int) for value in values.values())
        if seen >= 14:
            return Word(True, "numeric")
    return Word(None, "numeric")

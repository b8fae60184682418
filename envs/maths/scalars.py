"""Whether two scalar expressions are equal: rational, modular, then ball arithmetic, each dearer than the last.

What *no* rests on: unequal fractions, unequal residues at one point, or two balls that do not meet. All are proofs.

What *yes* rests on. Rational rung: proof. Modular rung: the bound in `modular.py`, below 2^-120. Numeric rung, closed
numbers: agreement to D * h + 64 bits, where h counts the bits of the whole numbers written and D multiplies the
indices of the roots; for nested radicals that is the root separation bound (Burnikel, Fleischer, Funke, Mehlhorn,
Schirra 2001) and so a proof, as long as D * h stays below `MAX_PRECISION`; with transcendental functions no bound is
known, and agreement to at least 512 bits stands for it. Numeric rung with symbols: agreement to 200 bits beyond h at
five or more points drawn over both signs; an analytic difference that is not zero vanishes at a random point with
probability below the grain of the draw, 2^-40 per point.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from stepgym.envs.maths import modular, radicals
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, Undefined, exact
from stepgym.envs.maths.tree import Node, has, label, substitute, symbols, walk

_WHOLE_NAMES = frozenset("nmkNMKijpqr")


class Word:
    """What a rung says: `equal` is `None` where it passes; `rung` names it."""

    __slots__ = ("equal", "rung")

    def __init__(self, equal: bool | None, rung: str) -> None:
        self.equal = equal
        self.rung = rung


def same_scalar(a: Node, b: Node, rng: Draws) -> Word:
    """Decide whether two scalar expressions are equal wherever both are defined."""
    if a == b:
        return Word(True, "structural")
    word = _rational(a, b)
    if word is not None:
        return word
    radical = radicals.same(a, b)
    if radical is not None:
        return Word(radical, "radical")
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
    if (has(a, "k") and _infinite(a)) or (has(b, "k") and _infinite(b)):
        return Word(_same_infinity(a, b), "structural")
    if names and _wants_whole(a, b):
        return _whole_points(a, b, names, rng)
    from stepgym.envs.maths import numeric  # loads python-flint

    equal = numeric.same_closed(a, b) if not names else numeric.same_open(a, b, sorted(names), rng)
    return Word(equal, "numeric")


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
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "call":
        return ("v", f"{node[1]}{label(node[2])}")
    if node and node[0] in ("v", "k", "dec", "unit", "text", "base"):
        return node
    if not has(node, "call"):
        return node
    return tuple(name_calls(item) for item in node)


def _infinite(node: Node) -> bool:
    return not has(node, "sum", "prod", "int", "lim") and any(n == ("k", "inf") for n in walk(node))


def _same_infinity(a: Node, b: Node) -> bool:
    """Only the bare infinities are answers; `0 * infinity` is none."""
    plus, minus = ("k", "inf"), ("-", ("k", "inf"))
    return (a == plus and b == plus) or (a == minus and b == minus)


def _wants_whole(a: Node, b: Node) -> bool:
    """Whether symbols stand for whole numbers: factorials, binomials, floors, open sums, (-1)^n."""
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
            if n[0] == "^" and symbols(n[2]) and _negative(n[1]):
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

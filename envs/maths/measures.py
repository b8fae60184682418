"""Scalars compared with their units, percent and degree signs, rounding, and constants of integration."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from stepgym.envs.maths import families, quantities
from stepgym.envs.maths.bounds import MAX_HEIGHT, height
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.options import MathOptions, Percent
from stepgym.envs.maths.scalars import same_scalar
from stepgym.envs.maths.tree import Node, has, mentions, substitute, symbols, walk

LastRung = Callable[[Node, Node], bool | None]
_MONEY = (("money", 1),)
_MEASURED = frozenset(("unit", "%", "deg"))
"""What a scalar without any measure does not hold."""
_MIN_CUT_DIGITS = 5
"""A decimal reference of so many digits may be cut off where it should be rounded."""
RUNGS = ("text", "structural", "rational", "radical", "modular", "numeric", "symbolic")


class ScalarJudge:
    """Compares scalars with their units, and remembers the most expensive rung it needed."""

    def __init__(self, options: MathOptions, rng: Draws, last_rung: LastRung | None = None) -> None:
        self.options = options
        self.rng = rng
        self.last_rung = last_rung
        self.rung = "structural"
        self.top = False
        self.hopeless = False

    def used(self, rung: str) -> None:
        if RUNGS.index(rung) > RUNGS.index(self.rung):
            self.rung = rung

    def same(self, a: Node, b: Node, *, top: bool = False) -> bool | None:
        """Compare values and units. `top` says that the scalar is the whole answer."""
        self.top = top
        if a == b:
            return True
        if (isinstance(a, tuple) and a[0] == "unit") is not (
            isinstance(b, tuple) and b[0] == "unit"
        ):
            return False  # a unit alone is no number
        if not mentions(_MEASURED, a, b):
            return self.values(a, b)
        p, q = quantities.split(a), quantities.split(b)
        if p.value is a and q.value is b:
            found = self.values(a, b)
            if found is False and has(a, "deg") is not has(b, "deg"):
                return self.values(_without_degrees(a), _without_degrees(b))
            return found
        return self.measures(p, q, a, b)

    def measures(
        self, p: quantities.Quantity, q: quantities.Quantity, a: Node, b: Node
    ) -> bool | None:
        if ((p.percent or p.degrees) and _is_measure(q)) or (
            (q.percent or q.degrees) and _is_measure(p)
        ):
            return False
        if p.percent or q.percent:
            return self.percentages(_scaled(p), _scaled(q), a, b)
        if (p.degrees and _is_radian(q)) or (q.degrees and _is_radian(p)):
            return self.values(_in_radians(p), _in_radians(q))
        if p.degrees or q.degrees:
            return self.angles(p, q)
        if p.unit is not None and q.unit is not None:
            if p.unit.dimensions == q.unit.dimensions:
                scaled = ("*", q.unit.factor / p.unit.factor, q.value)
                return self.values(p.value, q.value if p.unit.factor == q.unit.factor else scaled)
            return self.values(_letters(a), _letters(b)) or False
        if (p.unit is not None and p.unit.dimensions) or (q.unit is not None and q.unit.dimensions):
            if symbols(a) | symbols(b) and self.values(_letters(a), _letters(b)):
                return True
            if p.unit is not None and self.options.units_required:
                return False
            unit = p.unit or q.unit
            if unit is not None and unit.dimensions == _MONEY and unit.factor >= 100:  # $5 million
                spelt = [("*", unit.factor, s.value) if s.unit else s.value for s in (p, q)]
                return self.values(*spelt)
            return self.values(p.value, q.value)
        factor_a, factor_b = (
            (p.unit.factor if p.unit else 1),
            (q.unit.factor if q.unit else 1),
        )  # million, dozen
        return self.values(
            ("*", factor_a, p.value) if p.unit else p.value,
            ("*", factor_b, q.value) if q.unit else q.value,
        )

    def percentages(
        self, p: quantities.Quantity, q: quantities.Quantity, a: Node, b: Node
    ) -> bool | None:
        if p.percent and q.percent:
            return self.values(p.value, q.value)
        lenient = self.options.percent is Percent.EITHER or (
            self.options.percent is Percent.REFERENCE and p.percent
        )
        if (
            lenient
            and not self.options.units_required
            and _above_one(p.value if p.percent else q.value)
        ):
            found = self.values(p.value, q.value)
            if found:
                return True
        return self.values(
            p.value if not p.percent else ("/", p.value, 100),
            q.value if not q.percent else ("/", q.value, 100),
        )

    def angles(self, p: quantities.Quantity, q: quantities.Quantity) -> bool | None:
        if p.degrees and q.degrees:
            return self.values(p.value, q.value)
        if not (self.options.units_required and p.degrees) and self.values(p.value, q.value):
            return True
        return self.values(_in_radians(p), _in_radians(q))

    def values(self, a: Node, b: Node) -> bool | None:
        """Two unitless values: equal, or a decimal that the other rounds to."""
        word = same_scalar(a, b, self.rng)
        self.used(word.rung)
        if word.equal:
            return True
        if self._rounds(a, b) or self._same_family(a, b):
            return True
        if word.equal is None and _hopeless(a, b):
            self.hopeless = True
            return None
        if word.equal is None and self.last_rung is not None:
            self.used("symbolic")
            return self.last_rung(a, b)
        if word.equal is False:
            for convention in _CONVENTIONS if has(a, "f") or has(b, "f") else ():
                p, q = convention(a), convention(b)
                if (p, q) != (a, b) and same_scalar(p, q, self.rng).equal:
                    return True
            if not families.may_hold_constants(symbols(a) | symbols(b)):
                return False
            p, q = families.name_constants(a), families.name_constants(b)
            if (p, q) != (a, b) and same_scalar(p, q, self.rng).equal:
                return True
            renamed = families.rename_constants(a, b, any_name=self.options.any_constant)
            if (
                renamed
                and _are_arbitrary(a, symbols(a) - symbols(b))
                and _are_arbitrary(b, symbols(b) - symbols(a))
                and any(same_scalar(a, called_alike, self.rng).equal for called_alike in renamed)
            ):
                return True
            return self._up_to_constant(a, b) or self._constant_left_out(a, b)
        return word.equal

    def _rounds(self, a: Node, b: Node) -> bool:
        wanted, given = quantities.written(a), quantities.written(b)
        if wanted is None and given is None:
            return False
        if self.options.float_tolerance > 0 and wanted is not None:
            value = given.value if given else _closed_value(b)
            if value is not None:
                return bool(
                    abs(value - wanted.value) <= self.options.float_tolerance * abs(wanted.value)
                )
        if wanted is not None and given is not None:
            longer = max(wanted.digits, given.digits)
            if longer in quantities.DOUBLE_DIGITS and _is_double_of(wanted.value, given.value):
                return True
            short = wanted if wanted.place >= given.place else given
            return (
                short.digits >= quantities.MIN_DECIMAL_DIGITS
                and abs(wanted.value - given.value) <= short.place / 2
            )
        decimal, other, least = (
            (wanted, b, quantities.MIN_ROUNDED_DIGITS)
            if wanted
            else (given, a, quantities.MIN_FLOAT_DIGITS)
        )
        assert decimal is not None
        if decimal.digits < least:
            return False
        value = _closed_value(other)
        if value is not None and decimal.digits in quantities.DOUBLE_DIGITS:
            exactly = value.value if isinstance(value, _Irrational) else value
            if _is_double_of(exactly, decimal.value):
                return True
        if value is None or (
            isinstance(value, (int, Fraction)) and quantities.terminates(Fraction(value))
        ):
            return False
        gap = value - decimal.value
        if abs(gap) <= decimal.place / 2:
            return True
        cut = gap if decimal.value > 0 else -gap
        return wanted is not None and decimal.digits >= _MIN_CUT_DIGITS and 0 < cut < decimal.place

    def rounds_to(self, exactly: Node, rounded: Node) -> bool:
        """Whether a written decimal is an exact value to within one unit of its last place."""
        decimal, value = quantities.written(rounded), _closed_value(exactly)
        return (
            decimal is not None
            and value is not None
            and abs(value - decimal.value) <= decimal.place
        )

    def _same_family(self, a: Node, b: Node) -> bool:
        """`pi/4 + k pi` and `5 pi/4 + n pi`: one family over the whole numbers, its offset shifted by whole steps."""
        p = families.family(a)
        q = None if p is None else families.family(b)
        if p is None or q is None:
            return False
        from stepgym.envs.maths import balls, numeric  # loads python-flint

        steps = numeric.complex_value(("/", ("+", p[0], ("-", q[0])), q[1]))
        whole = balls.whole_number(steps.real) if steps is not None else None
        if whole is None:
            return False
        for sign in (1, -1):
            if same_scalar(p[1], ("*", sign, q[1]), self.rng).equal:
                return bool(same_scalar(("+", q[0], ("*", whole, q[1])), p[0], self.rng).equal)
        return False

    def _constant_left_out(self, a: Node, b: Node) -> bool:
        """A bare antiderivative in one letter without its constant; a named function with one is a family.

        The answer may leave out the reference's constant, but may add one only if the options say so.
        """
        if not self.top:
            return False
        for whole, other in ((a, b), (b, a)) if self.options.added_constant else ((a, b),):
            rest = families.without_constant(whole)
            if rest is None or families.without_constant(other) is not None:
                continue
            if len(symbols(rest)) == 1 and symbols(rest) == symbols(other) and has(rest, "^", "f"):
                return same_scalar(rest, other, self.rng).equal is True
        return False

    def _up_to_constant(self, a: Node, b: Node) -> bool:
        """Antiderivatives: both with a constant of integration, and otherwise differing by a constant."""
        p, q = families.without_constant(a), families.without_constant(b)
        if p is None or q is None:
            return False
        names = symbols(p) | symbols(q)
        if not names:
            return True
        if len(names) > 1 and symbols(a) != symbols(b):
            return False  # among other parameters, a letter keeps its identity
        gap: Node = ("+", p, ("-", q))
        for fixed in (Fraction(3, 2), Fraction(1, 3), Fraction(9, 4)):
            word = same_scalar(gap, substitute(gap, dict.fromkeys(names, fixed)), self.rng)
            self.used(word.rung)
            if word.equal is not None:
                return word.equal
        return False


def _scaled(quantity: quantities.Quantity) -> quantities.Quantity:
    """The quantity with `million` or `per mille` multiplied out."""
    unit = quantity.unit
    if unit is None or unit.dimensions:
        return quantity
    return quantity._replace(value=("*", unit.factor, quantity.value), unit=None)


def _is_double_of(exactly: Fraction, written: Fraction) -> bool:
    return abs(exactly - written) <= quantities.DOUBLE_ERROR * abs(exactly)


def _is_radian(quantity: quantities.Quantity) -> bool:
    return quantity.unit is not None and quantity.unit.dimensions == (("angle", 1),)


def _in_radians(quantity: quantities.Quantity) -> Node:
    turn: Node = ("/", ("k", "pi"), 180)
    return ("*", quantity.value, turn) if quantity.degrees else quantity.value


def _without_degrees(node: Any) -> Any:
    return _mapped(node, lambda part: 1 if part == ("deg",) else part)


def _decimal_logarithms(node: Any) -> Any:
    """Logarithms without a base read to base ten."""
    return _mapped(node, lambda n: ("f", "log", (10, n[2][0])) if _is_bare_log(n) else n)


def _is_bare_log(node: tuple[Any, ...]) -> bool:
    return node[:2] == ("f", "log") and len(node[2]) == 1


def _short_arccot(node: Any) -> Any:
    """The other convention for arccot: arctan of the reciprocal."""
    return _mapped(
        node, lambda n: ("f", "arctan", (("/", 1, n[2][0]),)) if n[:2] == ("f", "arccot") else n
    )


_CONVENTIONS = (_decimal_logarithms, _short_arccot)


def _mapped(node: Any, change: Callable[[tuple[Any, ...]], Any]) -> Any:
    """The tree with `change` applied to every tuple, from the leaves up."""
    if not isinstance(node, tuple) or not node:
        return node
    if node[0] in ("v", "k", "dec", "unit", "text", "base"):
        return node
    inner = tuple(_mapped(item, change) for item in node)
    return change(node if inner == node else inner)


def _are_arbitrary(node: Node, names: set[str]) -> bool:
    """Whether these letters are constants of integration: terms of their own, or factors of an exponential or wave."""
    if len(symbols(node) - names) > 1:
        return False  # among other parameters, a letter keeps its identity
    terms = node[1:] if isinstance(node, tuple) and node[0] == "+" else (node,)
    for name in names:
        holders = [term for term in terms if name in symbols(term)]
        if len(holders) != 1:
            return False
        term = holders[0]
        alone = term in (("v", name), ("-", ("v", name)))
        if not alone and not (isinstance(term, tuple) and _is_wave(term)):
            return False
    return True


def _is_wave(term: Node) -> bool:
    return has(term, "f") or any(
        isinstance(n, tuple) and n[0] == "^" and bool(symbols(n[2])) for n in walk(term)
    )


def _is_measure(quantity: quantities.Quantity) -> bool:
    """Whether a length, mass, time or sum of money is written, which no percentage or angle is."""
    return quantity.unit is not None and any(
        name in ("length", "mass", "time", "money") for name, _ in quantity.unit.dimensions
    )


def _hopeless(a: Node, b: Node) -> bool:
    """Closed numbers too large for any rung: not worth a worker's time."""
    if (
        symbols(a)
        or symbols(b)
        or has(a, "sum", "prod", "int", "lim")
        or has(b, "sum", "prod", "int", "lim")
    ):
        return False
    return height(a) + height(b) > MAX_HEIGHT


def _letters(node: Any) -> Any:
    """Units of a letter or two read as symbols: `5 m` may be meters or five times m."""
    if not isinstance(node, tuple):
        return node
    if node and node[0] == "unit":
        top, _, bottom = node[1].partition("/")
        parts = [("*", 1, *(("v", c) for c in side if c.isalpha())) for side in (top, bottom)]
        return ("/", *parts) if bottom else parts[0]
    return tuple(_letters(item) if isinstance(item, tuple) else item for item in node)


def _above_one(node: Node) -> bool:
    try:
        value = exact(node)
        return value > 1 or value < -1
    except NotRational:
        return True


def _closed_value(node: Node) -> Any:
    """A number for rounding: a fraction, or the real ball of a closed expression."""
    from stepgym.envs.maths import numeric  # loads python-flint

    if isinstance(node, tuple) and symbols(node):
        return None
    try:
        return Fraction(exact(node))
    except NotRational:
        ball = numeric.complex_value(node)
        if ball is None or not ball.imag.contains(0):
            return None
        top, exponent = ball.real.mid().man_exp()
        if abs(int(exponent)) > 10_000:
            return None
        return _Irrational(Fraction(int(top)) * Fraction(2) ** int(exponent))


class _Irrational:
    """A 128-bit approximation: compares by distance only and is never mistaken for a fraction."""

    def __init__(self, value: Fraction) -> None:
        self.value = value

    def __sub__(self, other: Fraction) -> Fraction:
        return self.value - other

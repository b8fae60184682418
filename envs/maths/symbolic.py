"""The last rung: SymPy, only in a worker process, which is killed when it uses too much CPU time.

Expressions are built from our own tree: text never reaches `sympify`, `parse_expr` or `eval`. The rung says *yes* if
SymPy reduces the difference to zero, or if a definite integral's ball (arb's rigorous enclosure) agrees to 80 bits.
It says *no* if SymPy's high-precision value of the difference is away from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import sympy

from stepgym.envs.maths.balls import NoBall, evaluate, working_precision
from stepgym.envs.maths.exact import NotRational
from stepgym.envs.maths.tree import Node, has, symbols

MAX_POWER_BITS = 1_000_000
MAX_FACTORIAL = 10_000
_GROWING = ("factorial", "double_factorial", "binom")


class NotSymbolic(ValueError):
    """No SymPy counterpart."""


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(sympy, target)
    for name, target in {
        "sin": "sin",
        "cos": "cos",
        "tan": "tan",
        "cot": "cot",
        "sec": "sec",
        "csc": "csc",
        "arcsin": "asin",
        "arccos": "acos",
        "arctan": "atan",
        "arccot": "acot",
        "sinh": "sinh",
        "cosh": "cosh",
        "tanh": "tanh",
        "coth": "coth",
        "arcsinh": "asinh",
        "arccosh": "acosh",
        "arctanh": "atanh",
        "ln": "log",
        "abs": "Abs",
        "floor": "floor",
        "ceil": "ceiling",
        "factorial": "factorial",
        "binom": "binomial",
        "Re": "re",
        "Im": "im",
        "conj": "conjugate",
        "max": "Max",
        "min": "Min",
        "arg": "arg",
        "sqrt": "sqrt",
        "sign": "sign",
        "double_factorial": "factorial2",
    }.items()
}


def build(node: Node, names: dict[str, Any]) -> Any:
    """The SymPy expression of a tree; symbols are made once, by name, positive for none."""
    if isinstance(node, int):
        return sympy.Integer(node)
    if isinstance(node, Fraction):
        return sympy.Rational(node.numerator, node.denominator)
    kind = node[0]
    if kind == "dec":
        return sympy.Rational(node[1].numerator, node[1].denominator)
    if kind == "v":
        return names.setdefault(node[1], sympy.Symbol(node[1], real=True))
    if kind == "k":
        constants = {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}
        if node[1] not in constants:
            raise NotSymbolic(node[1])
        return constants[node[1]]
    if kind in ("+", "*"):
        parts = [build(part, names) for part in node[1:]]
        return sympy.Add(*parts) if kind == "+" else sympy.Mul(*parts)
    if kind == "-":
        return -build(node[1], names)
    if kind == "/":
        return build(node[1], names) / build(node[2], names)
    if kind == "^":
        return _power(build(node[1], names), build(node[2], names))
    if kind == "f":
        return _function(node, names)
    if kind in ("sum", "prod", "int", "lim"):
        return _big(node, names)
    if kind == "deg":
        return sympy.pi / 180
    if kind == "%":
        return sympy.Rational(1, 100)
    if kind == "call":
        return sympy.Function(node[1])(*[build(a, names) for a in node[2]])
    raise NotSymbolic(kind)


_MEROMORPHIC = frozenset("exp sin cos tan cot sec csc sinh cosh tanh".split())
_BRANCHED = frozenset("sqrt root ln log".split())
"""Functions that are analytic where their arguments have positive real parts."""
_MAX_EVALUATIONS = 2_000


def _power(base: Any, exponent: Any) -> Any:
    if base.is_Rational and exponent.is_Integer and base not in (0, 1, -1):
        digits = max(abs(base.p), base.q).bit_length()
        if abs(int(exponent)) * digits > MAX_POWER_BITS:
            raise NotSymbolic("a power too large")
    return sympy.Pow(base, exponent)


def _function(node: Any, names: dict[str, Any]) -> Any:
    arguments = [build(argument, names) for argument in node[2]]
    if node[1] == "root":
        return sympy.real_root(arguments[1], arguments[0])
    if node[1] == "log":
        return sympy.log(*reversed(arguments))
    if node[1] == "mod":
        return sympy.Mod(*arguments)
    if node[1] not in _FUNCTIONS:
        raise NotSymbolic(node[1])
    if node[1] in _GROWING and any(a.is_Integer and abs(a) > MAX_FACTORIAL for a in arguments):
        raise NotSymbolic(f"{node[1]} of a number too large")
    return _FUNCTIONS[node[1]](*arguments)


def _big(node: Any, names: dict[str, Any]) -> Any:
    variable = sympy.Symbol(
        node[1], integer=True if node[0] in ("sum", "prod") else None, real=True
    )
    inner = {**names, node[1]: variable}
    body = build(node[4], inner)
    if node[0] == "lim":
        to = build(node[2], names)
        return sympy.limit(body, variable, to, node[3] or ("+-" if to.is_finite else "+"))
    if node[2] is None or node[3] is None:
        raise NotSymbolic("an indefinite integral")
    low, high = build(node[2], names), build(node[3], names)
    operator = {"sum": sympy.Sum, "prod": sympy.Product, "int": sympy.Integral}[node[0]]
    return operator(body, (variable, low, high)).doit()


def same(a: Node, b: Node) -> bool | None:
    """The last comparison of two scalars: integrals by arb, then SymPy."""
    if has(a, "int") or has(b, "int"):
        found = _by_integration(a, b)
        if found is not None:
            return found
    try:
        names: dict[str, Any] = {}
        left, right = build(a, names), build(b, names)
        return same_expressions(left, right)
    except (
        TypeError,
        ValueError,
        NotImplementedError,
        AttributeError,
        ZeroDivisionError,
        RecursionError,
    ):
        return None


def same_expressions(left: Any, right: Any) -> bool | None:
    """Whether SymPy can show the difference to be zero, or away from it."""
    if left.has(sympy.nan, sympy.zoo) or right.has(sympy.nan, sympy.zoo):
        return False  # SymPy's zoo equals itself: what has no value equals nothing but its own form
    if left == right:
        return True
    if left.is_infinite or right.is_infinite:
        return False
    difference = left - right
    if not difference.free_symbols:
        value = sympy.N(difference, 60)
        if value.is_number and value.is_comparable and abs(value) > sympy.Float(10) ** -30:
            return False
    for reduce in (sympy.simplify, lambda e: sympy.simplify(sympy.expand_trig(sympy.expand(e)))):
        reduced = reduce(difference)
        if reduced == 0:
            return True
        if reduced.is_zero is False:
            return False
    found = difference.equals(0)
    return bool(found) if found is not None else None


def _by_integration(a: Node, b: Node) -> bool | None:
    if symbols(a) or symbols(b):
        return None
    try:
        with working_precision(128):
            x, y = _ball(a), _ball(b)
            if not (x.is_finite() and y.is_finite()):
                return None
            if not x.overlaps(y):
                return False
            return True if (x - y).abs_upper() < abs(x).mid().max(1) * 2.0**-80 else None
    except (NoBall, NotRational, ValueError, TypeError):
        return None


def _integrand(node: Node, name: str) -> Callable[[Any, bool], Any]:
    """Return a function for `acb.integral`: not a number where it has no value, or none that is known to be analytic."""
    from flint import acb

    def value(z: Any, analytic: bool) -> Any:
        try:
            if analytic and not _is_analytic(node, name, z):
                return acb("nan")
            return evaluate(node, {name: z})
        except (NoBall, NotRational, ValueError, TypeError, ArithmeticError):
            return acb("nan")  # an exception may not pass through `acb.integral`

    return value


def _is_analytic(node: Any, name: str, z: Any) -> bool:
    """Say whether an expression is known to be analytic around all of a ball, poles apart."""
    if not isinstance(node, tuple) or name not in symbols(node) or node == ("v", name):
        return True
    parts = node[2] if node[0] == "f" else node[1:]
    if node[0] == "^":
        whole = isinstance(node[2], int)
        parts = node[1:2] if whole else node[1:]
        if not whole and not evaluate(node[1], {name: z}).real > 0:
            return False
    elif node[0] == "f" and node[1] in _BRANCHED:
        if not all(evaluate(part, {name: z}).real > 0 for part in parts):
            return False
    elif node[0] not in ("+", "-", "*", "/") and not (node[0] == "f" and node[1] in _MEROMORPHIC):
        return False
    return all(_is_analytic(part, name, z) for part in parts)


def _ball(node: Any) -> Any:
    """Like `balls.evaluate`, with definite integrals at the top of sums and products."""
    from flint import acb

    if isinstance(node, tuple) and node[0] == "int" and node[2] is not None and node[3] is not None:
        low, high = evaluate(node[2], {}), evaluate(node[3], {})
        return acb.integral(_integrand(node[4], node[1]), low, high, eval_limit=_MAX_EVALUATIONS)
    if isinstance(node, tuple) and has(node, "int"):
        if node[0] == "+":
            total = _ball(node[1])
            for term in node[2:]:
                total = total + _ball(term)
            return total
        if node[0] == "*":
            total = _ball(node[1])
            for factor in node[2:]:
                total = total * _ball(factor)
            return total
        if node[0] == "-":
            return -_ball(node[1])
        if node[0] == "/":
            return _ball(node[1]) / _ball(node[2])
    return evaluate(node, {})

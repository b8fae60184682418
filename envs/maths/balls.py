"""Ball arithmetic (python-flint's arb and acb): numbers with a proven error radius.

Two balls that do not overlap *prove* that two values differ. That they overlap proves nothing by itself:
`scalars.py` states what *yes* rests on. Odd roots of negative numbers are real here, as in school.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from flint import acb, arb, ctx, fmpq, fmpz

from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, exact, read_base
from stepgym.envs.maths.tree import Node

Values = Mapping[str, Any]
MAX_TERMS = 400
MAX_EXPONENT_BITS = 256
"""Powers with a longer exponent are not raised."""
MAX_ROOT_INDEX = 10_000
MAX_WHOLE_BITS = 4_000
"""The largest whole number read from a ball: flint aborts the process for one that it cannot hold."""
_LARGEST = arb(2) ** fmpz(1 << 40)
_SMALLEST = 1 / _LARGEST
"""Absolute values outside these are given up: flint aborts on exponents of many words."""
_LARGEST_WHOLE = arb(2) ** MAX_WHOLE_BITS
REAL = "#real"
"""A key in the values: intermediate results must be real, or the point is out of the domain."""


class NoBall(Exception):
    """A kind of expression that has no ball here."""


def to_ball(value: int | Fraction) -> Any:
    """An exact number as an `acb` at the working precision."""
    if isinstance(value, int):
        return acb(fmpz(value))
    return acb(fmpq(value.numerator, value.denominator))


def evaluate(node: Node, values: Values) -> Any:
    """The `acb` that holds `node`; raises `NoBall`. Precision is the caller's, in `flint.ctx`."""
    if not isinstance(node, tuple):
        return to_ball(node)
    handler = _HANDLERS.get(node[0])
    if handler is None:
        raise NoBall(node[0])
    return handler(node, values)


def step_cost(bits: int) -> int:
    """Steps of one operation on balls of so many bits."""
    return 1 + bits * bits // 500_000


def _symbol(node: Any, values: Values) -> Any:
    try:
        return values[node[1]]
    except KeyError:
        raise NoBall(node[1]) from None


def _constant(node: Any, values: Values) -> Any:
    name = node[1]
    if name == "pi":
        return acb(arb.pi())
    if name == "e":
        return acb(arb.const_e())
    if name == "i":
        return acb(0, 1)
    raise NoBall(name)


def _sum(node: Any, values: Values) -> Any:
    total = evaluate(node[1], values)
    for term in node[2:]:
        total = total + evaluate(term, values)
    return total


def _product(node: Any, values: Values) -> Any:
    total = evaluate(node[1], values)
    for factor in node[2:]:
        total = total * evaluate(factor, values)
    return total


def _quotient(node: Any, values: Values) -> Any:
    top, bottom = evaluate(node[1], values), evaluate(node[2], values)
    if bottom.contains(0):
        raise NoBall("division by what may be zero")
    return top / bottom


def _power(node: Any, values: Values) -> Any:
    base = evaluate(node[1], values)
    try:
        exponent = exact(node[2])
    except NotRational:
        if node[1] == ("k", "e"):
            return _of_sane_size(evaluate(node[2], values).exp())
        if base.contains(0):
            raise NoBall("a power of what may be zero") from None
        result = _of_sane_size(base ** evaluate(node[2], values))
        if REAL in values and not result.imag.is_zero():
            raise NoBall("a complex number where a real one is due") from None
        return result
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        exponent = exponent.numerator
    if isinstance(exponent, int):
        if exponent < 0 and base.contains(0):
            raise NoBall("division by what may be zero")
        return _whole_power(base, exponent)
    result = _real_root(base, exponent.denominator)
    if REAL in values and not result.imag.is_zero():
        raise NoBall("a complex number where a real one is due")
    return _whole_power(result, exponent.numerator)


def _whole_power(base: Any, exponent: int) -> Any:
    if exponent.bit_length() > MAX_EXPONENT_BITS:
        raise NoBall("an exponent too large")
    return _of_sane_size(base ** fmpz(exponent))


def _of_sane_size(value: Any) -> Any:
    """`value`, unless it or its radius is so large or so small that flint could not go on with it."""
    size = abs(value)
    if not size < _LARGEST:
        raise NoBall("a value too large")
    if size < _SMALLEST and not value.contains(0):
        raise NoBall("a value too small")
    return value


def whole_number(value: Any) -> int | None:
    """The one whole number in a real ball; `None` if there is none, more than one, or it is too large."""
    if not value.is_finite() or not abs(value) < _LARGEST_WHOLE:
        return None
    low, high = value.lower().ceil(), value.upper().floor()
    return int(low.unique_fmpz()) if low == high else None


def _is_real(value: Any) -> bool:
    return bool(value.imag.is_zero())


def _real_root(value: Any, index: int) -> Any:
    """Principal root, except that odd roots of negative reals are real."""
    if index == 2:
        return value.sqrt()
    if index > MAX_ROOT_INDEX:
        if index % 2 and _is_real(value) and value.real < 0:
            return -_high_root(-value, index)
        return _high_root(value, index)
    if _is_real(value):
        real = value.real
        if real.is_zero():
            return value
        if index % 2 and real < 0:
            return -acb((-real).root(index))
        if real > 0:
            return acb(real.root(index))
    if value.contains(0):
        raise NoBall("a root of what may be zero")
    return value ** (acb(1) / index)


def _high_root(value: Any, index: int) -> Any:
    if index.bit_length() > MAX_EXPONENT_BITS:
        raise NoBall("an index too large")
    return (value.log() / fmpz(index)).exp()


def _root(index: Any, value: Any) -> Any:
    whole = whole_number(index.real) if _is_real(index) else None
    if whole is None or whole < 1:
        if value.contains(0) or index.contains(0):
            raise NoBall("a root of what may be zero")
        return _of_sane_size(value ** (acb(1) / index))
    return _real_root(value, whole)


def _log(value: Any) -> Any:
    if value.contains(0):
        raise NoBall("a logarithm of what may be zero")
    return value.log()


def _log_base(*arguments: Any) -> Any:
    """The logarithm to a base, or the natural one without a base."""
    if len(arguments) == 1:
        return _log(arguments[0])
    base, value = arguments
    bottom = _log(base)
    if bottom.contains(0):
        raise NoBall("a logarithm to the base of what may be one")
    return _log(value) / bottom


def _inverse(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def handler(value: Any) -> Any:
        result = function(value)
        if result.contains(0):
            raise NoBall("division by what may be zero")
        return 1 / result

    return handler


def _absolute(value: Any) -> Any:
    return acb(abs(value.real)) if _is_real(value) else acb(abs(value))


def _real(value: Any) -> Any:
    if not _is_real(value):
        raise NoBall("a complex number where a real one is due")
    return value.real


def _sign(value: Any) -> Any:
    real = _real(value)
    if real.contains(0):
        raise NoBall("the sign of what may be zero")
    return acb(1 if real > 0 else -1)


def _floor(value: Any) -> Any:
    real = _real(value)
    low, high = whole_number(real.lower().floor()), whole_number(real.upper().floor())
    if low is None or low != high:
        raise NoBall("the floor of what may be whole")
    return acb(fmpz(low))


def _ceil(value: Any) -> Any:
    return -_floor(-value)


def _arccot(value: Any) -> Any:
    return acb(arb.pi()) / 2 - value.atan()


def _factorial(value: Any) -> Any:
    real = _real(value)
    if real < -0.5 or not abs(real) < 10**15:
        raise NoBall("a factorial out of range")
    spend((ctx.prec // 64) ** 2)
    return acb((real + 1).gamma())


def _binomial(n: Any, k: Any) -> Any:
    bottom = _factorial(k) * _factorial(n - k)
    if bottom.contains(0):
        raise NoBall("division by what may be zero")
    return _factorial(n) / bottom


def _extreme(sign: int) -> Callable[..., Any]:
    def handler(*values: Any) -> Any:
        best = _real(values[0])
        for value in values[1:]:
            other = _real(value)
            best = best.max(other) if sign > 0 else best.min(other)
        return acb(best)

    return handler


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": lambda a: a.sqrt(),
    "root": _root,
    "ln": _log,
    "log": _log_base,
    "abs": _absolute,
    "norm": _absolute,
    "sin": lambda a: a.sin(),
    "cos": lambda a: a.cos(),
    "tan": lambda a: a.tan(),
    "cot": lambda a: a.cot(),
    "sec": _inverse(lambda a: a.cos()),
    "csc": _inverse(lambda a: a.sin()),
    "sinh": lambda a: _of_sane_size(a.sinh()),
    "cosh": lambda a: _of_sane_size(a.cosh()),
    "tanh": lambda a: a.tanh(),
    "coth": _inverse(lambda a: a.tanh()),
    "sech": _inverse(lambda a: a.cosh()),
    "csch": _inverse(lambda a: a.sinh()),
    "arcsin": lambda a: a.asin(),
    "arccos": lambda a: a.acos(),
    "arctan": lambda a: a.atan(),
    "arccot": _arccot,
    "arcsinh": lambda a: a.asinh(),
    "arccosh": lambda a: a.acosh(),
    "arctanh": lambda a: a.atanh(),
    "sign": _sign,
    "floor": _floor,
    "ceil": _ceil,
    "factorial": _factorial,
    "binom": _binomial,
    "Re": lambda a: acb(a.real),
    "Im": lambda a: acb(a.imag),
    "conj": lambda a: acb(a.real, -a.imag),
    "max": _extreme(1),
    "min": _extreme(-1),
    "arg": lambda a: acb(a.arg()),
    "arcsec": lambda a: (1 / a).acos(),
    "arccsc": lambda a: (1 / a).asin(),
    "arcsech": lambda a: (1 / a).acosh(),
    "arccsch": lambda a: (1 / a).asinh(),
    "arccoth": lambda a: (1 / a).atanh(),
    "exp": lambda a: _of_sane_size(a.exp()),
}


def _function(node: Any, values: Values) -> Any:
    handler = _FUNCTIONS.get(node[1])
    if handler is None:
        raise NoBall(node[1])
    try:
        result = handler(*[evaluate(argument, values) for argument in node[2]])
    except (TypeError, ZeroDivisionError, ValueError, OverflowError, IndexError):
        raise NoBall(node[1]) from None
    if REAL in values and not result.imag.is_zero():
        raise NoBall("a complex number where a real one is due")
    return result


def _range(node: Any, values: Values) -> range:
    bounds = []
    for side in (node[2], node[3]):
        try:
            bounds.append(exact(side))
        except NotRational:
            whole = whole_number(evaluate(side, values).real)
            if whole is None:
                raise NoBall("a sum whose bounds are not whole") from None
            bounds.append(whole)
    low, high = bounds
    if high - low > MAX_TERMS or low != int(low) or high != int(high):
        raise NoBall("too many terms")
    return range(int(low), int(high) + 1)


def _big(node: Any, values: Values) -> Any:
    total = acb(0) if node[0] == "sum" else acb(1)
    steps = num_nodes(node[4]) * step_cost(ctx.prec)
    for k in _range(node, values):
        spend(steps)
        term = evaluate(node[4], {**values, node[1]: acb(k)})
        total = total + term if node[0] == "sum" else total * term
    return total


def _degree(node: Any, values: Values) -> Any:
    return acb(arb.pi()) / 180


_HANDLERS: dict[str, Callable[[Any, Values], Any]] = {
    "dec": lambda node, values: to_ball(node[1]),
    "v": _symbol,
    "k": _constant,
    "+": _sum,
    "*": _product,
    "-": lambda node, values: -evaluate(node[1], values),
    "/": _quotient,
    "^": _power,
    "f": _function,
    "sum": _big,
    "prod": _big,
    "deg": _degree,
    "%": lambda node, values: to_ball(Fraction(1, 100)),
    "base": lambda node, values: acb(read_base(node[1], node[2])),
}


class working_precision:
    """Set flint's precision in bits for a `with` block, in this thread alone.

    flint keeps one precision for the whole process, so that a block waits until no other thread is in one.
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def __enter__(self) -> None:
        _precision_lock.acquire()
        self.before = ctx.prec
        ctx.prec = self.bits

    def __exit__(self, *_: object) -> None:
        ctx.prec = self.before
        _precision_lock.release()


_precision_lock = threading.RLock()


def _forget_lock() -> None:
    """Make a new lock in a forked child: a thread of the parent may hold the old one."""
    global _precision_lock
    _precision_lock = threading.RLock()
    ctx.prec = 53


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_lock)

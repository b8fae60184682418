"""The rational rung: closed arithmetic in exact fractions, within bounds on size.

Evaluates whole numbers under `+ - * /`, integer powers, factorials, binomials, gcd, floors and finite sums. Everything
else raises `NotRational`, and so does a value of more than `MAX_BITS` bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from stepgym.envs.maths.effort import spend
from stepgym.envs.maths.tree import Node, symbols

MAX_BITS = 60_000
MAX_TERMS = 3_000
Number = int | Fraction


class NotRational(Exception):
    """Not a rational number, or one too large to hold."""


class Undefined(NotRational):
    """A division by zero: the expression has no value."""


def exact(node: Node, values: Mapping[str, Number] | None = None) -> Number:
    """The value of `node`; raises `NotRational` (also for symbols without a value)."""
    if not isinstance(node, tuple):
        return node
    handler = _HANDLERS.get(node[0])
    if handler is None:
        raise NotRational(node[0])
    return handler(node, values or {})


def _bits(value: Number) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return value.numerator.bit_length() + value.denominator.bit_length()


def _symbol(node: Any, values: Mapping[str, Number]) -> Number:
    try:
        return values[node[1]]
    except KeyError:
        raise NotRational(node[1]) from None


def _sum(node: Any, values: Mapping[str, Number]) -> Number:
    total: Number = 0
    for term in node[1:]:
        total += exact(term, values)
        if type(total) is Fraction:
            spend(_bits(total) >> 9)
    return total


def _product(node: Any, values: Mapping[str, Number]) -> Number:
    total: Number = 1
    for factor in node[1:]:
        value = exact(factor, values)
        if _bits(total) + _bits(value) > MAX_BITS * 2:
            raise NotRational("too large")
        total *= value
    return total


def divide(a: Number, b: Number) -> Number:
    """`a / b` in lowest terms, an `int` where whole."""
    if b == 0:
        raise Undefined("division by zero")
    value = Fraction(a, b)
    return value.numerator if value.denominator == 1 else value


def _quotient(node: Any, values: Mapping[str, Number]) -> Number:
    return divide(exact(node[1], values), exact(node[2], values))


def _power(node: Any, values: Mapping[str, Number]) -> Number:
    base, exponent = exact(node[1], values), exact(node[2], values)
    return power(base, exponent)


def power(base: Number, exponent: Number) -> Number:
    """`base ** exponent` where that is rational: whole exponents, and roots that come out even."""
    if exponent == int(exponent):
        whole = int(exponent)
        if base == 0:
            if whole < 0:
                raise Undefined("0 to a negative power")
            return 1 if whole == 0 else 0
        if base in (1, -1):
            return base if whole % 2 else 1
        if (_bits(base) - 1) * abs(whole) > MAX_BITS:
            raise NotRational("too large")
        if whole >= 0:
            raised: Number = base**whole
            return raised
        return divide(1, base**-whole)
    index = Fraction(exponent).denominator
    return power(root(base, index), Fraction(exponent).numerator)


def root(value: Number, index: int) -> Number:
    """The real `index`-th root, if it is rational."""
    if index == 0:
        raise Undefined("a root of index zero")
    if index < 0:
        return divide(1, root(value, -index))
    if value < 0:
        if index % 2 == 0:
            raise NotRational("even root of a negative number")
        return -root(-value, index)
    fraction = Fraction(value)
    if index > 64:
        raise NotRational("a root of a high index")
    top, bottom = (
        _integer_root(fraction.numerator, index),
        _integer_root(fraction.denominator, index),
    )
    if top is None or bottom is None:
        raise NotRational("an irrational root")
    return divide(top, bottom)


def _integer_root(value: int, index: int) -> int | None:
    if index == 2:
        guess = math.isqrt(value)
        return guess if guess * guess == value else None
    if value < 2:
        return value
    guess = 1 << -(-value.bit_length() // index)
    while True:  # Newton's method from above, decreasing to the floor
        following = ((index - 1) * guess + value // guess ** (index - 1)) // index
        if following >= guess:
            break
        guess = following
    return guess if guess**index == value else None


def _whole(value: Number) -> int:
    if value != int(value):
        raise NotRational("not whole")
    return int(value)


def factorial(value: Number) -> int:
    """`n!` for whole `n` small enough."""
    n = _whole(value)
    if n < 0:
        raise Undefined("factorial of a negative number")
    if n * max(1, n.bit_length()) > MAX_BITS * 2:
        raise NotRational("too large")
    return math.factorial(n)


def _binomial(n: Number, k: Number) -> Number:
    top, bottom = _whole(n), _whole(k)
    if bottom < 0:
        return 0
    if top < 0:
        return (-1 if bottom % 2 else 1) * _binomial(-top + bottom - 1, bottom)
    if min(bottom, abs(top - bottom)) * max(1, top.bit_length()) > MAX_BITS:
        raise NotRational("too large")
    return math.comb(top, bottom)


def _double_factorial(value: Number) -> int:
    n = _whole(value)
    if not 0 <= n <= 3000:
        raise NotRational("too large")
    return math.prod(range(n, 0, -2))


def _logarithm(*arguments: Number) -> Number:
    """`log_base(value)`, if it is a whole number or its reciprocal is; without a base it is natural."""
    if len(arguments) == 1:
        return _ln(arguments[0])
    base, value = arguments
    if base <= 0 or base == 1 or value <= 0:
        raise NotRational("a logarithm without a real value")
    sign = 1
    if base < 1:
        base, sign = divide(1, base), -sign
    if value < 1:
        value, sign = divide(1, value), -sign
    if value == 1:
        return 0
    estimate = (
        round(math.log(value) / math.log(base)) if _bits(value) < 900 and _bits(base) < 900 else 0
    )
    if estimate > 0 and power(base, estimate) == value:
        return sign * estimate
    raise NotRational("an irrational logarithm")


def _modulo(a: Number, b: Number) -> Number:
    if b == 0:
        raise Undefined("modulo zero")
    return a - b * math.floor(Fraction(a) / b)


def _remainder(a: Node, b: Node, values: Mapping[str, Number]) -> Number:
    """`a mod b`, also where `a` is a power too large to write out."""
    modulus = exact(b, values)
    try:
        return _modulo(exact(a, values), modulus)
    except Undefined:
        raise
    except NotRational:
        if not isinstance(a, tuple) or a[0] != "^" or not isinstance(modulus, int) or modulus < 1:
            raise
        base, exponent = exact(a[1], values), exact(a[2], values)
        if not isinstance(base, int) or not isinstance(exponent, int) or exponent < 0:
            raise
        return pow(base, exponent, modulus)


def _ln(value: Number) -> Number:
    if value == 1:
        return 0
    raise NotRational("a logarithm")


def _sign(value: Number) -> int:
    return (value > 0) - (value < 0)


_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "sqrt": lambda a: root(a, 2),
    "root": lambda n, a: root(a, _whole(n)),
    "factorial": factorial,
    "binom": _binomial,
    "double_factorial": _double_factorial,
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "max": max,
    "min": min,
    "gcd": lambda *a: math.gcd(*map(_whole, a)),
    "lcm": lambda *a: math.lcm(*map(_whole, a)),
    "log": _logarithm,
    "mod": _modulo,
    "ln": _ln,
    "Re": lambda a: a,
    "Im": lambda a: 0,
    "conj": lambda a: a,
    "sign": _sign,
    "norm": abs,
}
_COMPLEX = frozenset(("Re", "Im", "conj"))


def _function(node: Any, values: Mapping[str, Number]) -> Number:
    handler = _FUNCTIONS.get(node[1])
    if handler is None:
        raise NotRational(node[1])
    if node[1] == "mod":
        return _remainder(node[2][0], node[2][1], values)
    if node[1] in _COMPLEX and any(map(symbols, node[2])):
        raise NotRational("a letter that may be a complex number")
    arguments = [exact(argument, values) for argument in node[2]]
    if sum(map(_bits, arguments)) > MAX_BITS * 2:
        raise NotRational("too large")
    try:
        return handler(*arguments)
    except (TypeError, ValueError):
        raise NotRational(node[1]) from None


def _range(node: Any, values: Mapping[str, Number]) -> range:
    low, high = _whole(exact(node[2], values)), _whole(exact(node[3], values))
    if high - low > MAX_TERMS:
        raise NotRational("too many terms")
    return range(low, high + 1)


def _big_sum(node: Any, values: Mapping[str, Number]) -> Number:
    total: Number = 0
    for k in _range(node, values):
        spend(4)
        total += exact(node[4], {**values, node[1]: k})
        if _bits(total) > MAX_BITS:
            raise NotRational("too large")
    return total


def _big_product(node: Any, values: Mapping[str, Number]) -> Number:
    total: Number = 1
    for k in _range(node, values):
        spend(4)
        total *= exact(node[4], {**values, node[1]: k})
        if _bits(total) > MAX_BITS:
            raise NotRational("too large")
    return total


def read_base(digits: str, base: str) -> int:
    """The value of digits in a base of 2 to 36."""
    if not base.isdigit() or len(base) > 2 or not 2 <= int(base) <= 36 or len(digits) > 4000:
        raise NotRational("no base")
    try:
        return int(digits, int(base))
    except ValueError:
        raise NotRational("digits beyond the base") from None


_HANDLERS: dict[str, Callable[[Any, Mapping[str, Number]], Number]] = {
    "dec": lambda node, values: node[1],
    "v": _symbol,
    "-": lambda node, values: -exact(node[1], values),
    "+": _sum,
    "*": _product,
    "/": _quotient,
    "^": _power,
    "f": _function,
    "%": lambda node, values: Fraction(1, 100),
    "sum": _big_sum,
    "prod": _big_product,
    "base": lambda node, values: read_base(node[1], node[2]),
}

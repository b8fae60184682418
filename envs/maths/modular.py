"""Exact arithmetic modulo a prime at random points: Schwartz-Zippel for rational functions and huge whole numbers.

With p = 2^61 - 2373, two rational functions over the rationals whose cross-multiplied difference has total degree d
agree at one random point with probability at most d / p when they differ; `agree` asks for three points and passes
on where the degree is above 2^20, so a wrong *yes* has probability below (2^20 / 2^61)^3 < 2^-120. A difference at
one defined point is proof that they differ. Exponents may hold symbols and huge numbers: powers use Fermat's little
theorem, so symbols are whole numbers there, and p - 1 must not be met by a denominator. As (-1)^n takes two values
only, forms with symbols in exponents are compared at 40 points: a wrong *yes* has probability 2^-40 there. Eight points
do if every such power has a whole number above 1 as its base, whose powers hardly ever repeat.

Pi (or e, but not both) is replaced by a symbol of its own: it is transcendental, so both answers hold. Sines and
cosines of one and the same argument with symbols in it are put on the circle ((1 - t^2) / (1 + t^2), 2t / (1 + t^2)):
with that argument they are algebraically independent of the symbols but for that circle.

Closed numbers too large to write out are compared modulo three random primes of 61 bits instead: a difference of at
most 2^B has at most B / 60 such prime divisors, out of about 2^54.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, symbols

PRIME = (1 << 61) - 2373
"""A safe prime: (p - 1) / 2 is prime too, so that powers of any base but 1 and -1 hardly ever repeat."""
MAX_DEGREE = 1 << 20
MAX_FACTORIAL = 60_000
Values = Mapping[str, int]


class NotModular(Exception):
    """Not a rational function that this rung evaluates."""


class Pole(Exception):
    """A denominator vanished at this point."""


def evaluate(node: Node, values: Values, p: int = PRIME) -> int:
    """The value of `node` modulo the prime `p`; `values` are whole numbers of any size."""
    if isinstance(node, int):
        return node % p
    if not isinstance(node, tuple):
        return _divide(node.numerator % p, node.denominator % p, p)
    kind = node[0]
    if kind == "v":
        try:
            return values[node[1]] % p
        except KeyError:
            raise NotModular(node[1]) from None
    if kind == "+":
        return sum(evaluate(term, values, p) for term in node[1:]) % p
    if kind == "*":
        total = 1
        for factor in node[1:]:
            total = total * evaluate(factor, values, p) % p
        return total
    if kind == "-":
        return -evaluate(node[1], values, p) % p
    if kind == "/":
        return _divide(evaluate(node[1], values, p), evaluate(node[2], values, p), p)
    if kind == "^":
        return _power(node, values, p)
    if kind == "dec":
        return _divide(node[1].numerator % p, node[1].denominator % p, p)
    if kind == "%":
        return _divide(1, 100, p)
    if kind == "f":
        return _function(node, values, p)
    if kind == "k" and "#" + node[1] in values:
        return values["#" + node[1]] % p
    raise NotModular(kind)


def _divide(a: int, b: int, p: int) -> int:
    if b == 0:
        raise Pole
    return a * pow(b, -1, p) % p


def _power(node: Any, values: Values, p: int) -> int:
    if node[1] == ("k", "e") and not isinstance(node[2], int):
        raise NotModular("an exponential")
    base = evaluate(node[1], values, p)
    if type(node[2]) is int and node[2] > 0:
        return pow(base, node[2], p)
    exponent = _exponent(node[2], values, p - 1)
    if exponent is None:
        raise NotModular("an exponent that is not whole")
    value, negative = exponent
    if base == 0:
        if negative or value == 0:
            raise Pole
        return 0
    return pow(base, value, p)


def _exponent(node: Node, values: Values, modulus: int) -> tuple[int, bool] | None:
    """Return the exponent with its sign, modulo p - 1; `None` if it is not whole."""
    try:
        value = exact(node, {name: values[name] for name in values})
    except NotRational:
        try:
            return _whole_modulo(node, values, modulus), False
        except NotModular:
            return None
    if value != int(value):
        return None
    return int(value) % modulus, value < 0


def _whole_modulo(node: Node, values: Values, modulus: int) -> int:
    """Whole-number arithmetic modulo any number: sums, products and powers of whole numbers only."""
    if isinstance(node, int):
        return node % modulus
    if not isinstance(node, tuple):
        raise NotModular("a fraction")
    kind = node[0]
    if kind == "+":
        return sum(_whole_modulo(term, values, modulus) for term in node[1:]) % modulus
    if kind == "*":
        total = 1
        for factor in node[1:]:
            total = total * _whole_modulo(factor, values, modulus) % modulus
        return total
    if kind == "-":
        return -_whole_modulo(node[1], values, modulus) % modulus
    if kind == "v" and node[1] in values:
        return values[node[1]] % modulus
    if kind == "^":
        try:
            exponent = exact(node[2], values)
        except NotRational:
            raise NotModular("a tower of powers") from None
        if exponent != int(exponent) or exponent < 0:
            raise NotModular("a fraction")
        return pow(_whole_modulo(node[1], values, modulus), int(exponent), modulus)
    raise NotModular(kind)


def _function(node: Any, values: Values, p: int) -> int:
    if node[1] in ("factorial", "binom"):
        try:
            arguments = [exact(argument, values) for argument in node[2]]
        except NotRational:
            arguments = []
        if any(a != int(a) or not 0 <= a <= MAX_FACTORIAL for a in arguments) or not arguments:
            return _falling_binomial(node, values, p)
        if node[1] == "factorial":
            return _factorial(int(arguments[0]), p)
        n, k = map(int, arguments)
        return (
            _divide(_factorial(n, p), _factorial(k, p) * _factorial(n - k, p) % p, p)
            if k <= n
            else 0
        )
    if node[1] in _TRIGONOMETRIC and "#t" in values:
        t = values["#t"] % p
        cosine, sine = _divide(1 - t * t, 1 + t * t, p), _divide(2 * t, 1 + t * t, p)
        top, bottom = _TRIGONOMETRIC[node[1]](sine, cosine)
        return _divide(top, bottom, p)
    raise NotModular(node[1])


_TRIGONOMETRIC: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "sin": lambda s, c: (s, 1),
    "cos": lambda s, c: (c, 1),
    "tan": lambda s, c: (s, c),
    "cot": lambda s, c: (c, s),
    "sec": lambda s, c: (1, c),
    "csc": lambda s, c: (1, s),
}


def stand_ins(a: Node, b: Node) -> set[str]:
    """Names for what a symbol may replace: `#pi`, `#e`, and `#t` for the one argument of sines and cosines."""
    constants: set[str] = set()
    arguments: set[Node] = set()
    stack: list[Any] = [a, b]
    while stack:
        top = stack.pop()
        if type(top) is not tuple or not top:
            continue
        if top[0] == "k":
            constants.add("#" + top[1])
        elif top[0] == "f" and top[1] in _TRIGONOMETRIC:
            arguments.add(top[2][0])
            stack.append(top[2][0])
        elif top[0] != "f" or top[1] in ("factorial", "binom"):
            stack.extend(top)
        else:
            return set()
    if len(arguments) > 1 or any(not symbols(argument) for argument in arguments):
        return set()
    if len(constants) > 1 or not constants <= {"#pi", "#e"}:
        return set()
    return constants | ({"#t"} if arguments else set())


def _falling_binomial(node: Any, values: Values, p: int) -> int:
    """`binom(anything, k)` for a small whole `k` is a polynomial in its top."""
    if node[1] != "binom" or not isinstance(node[2][1], int) or not 0 <= node[2][1] <= 50:
        raise NotModular(node[1])
    top, total = evaluate(node[2][0], values, p), 1
    for i in range(node[2][1]):
        total = _divide(total * (top - i) % p, i + 1, p)
    return total


def _factorial(n: int, p: int) -> int:
    spend(n >> 4)
    total = 1
    for k in range(2, n + 1):
        total = total * k % p
    return total


def degree(node: Node) -> int:
    """A bound on the total degree of numerator and denominator together; raises `NotModular` above the limit."""
    if not isinstance(node, tuple):
        return 0
    kind = node[0]
    if kind in ("v", "k"):
        return 1
    if kind == "f" and node[1] in _TRIGONOMETRIC:
        return 4
    if kind in ("+", "*"):
        return _bounded(sum(degree(child) for child in node[1:]))
    if kind == "-":
        return degree(node[1])
    if kind == "/":
        return _bounded(degree(node[1]) + degree(node[2]))
    if kind == "^":
        inner = degree(node[1])
        if inner == 0:
            return 0
        try:
            exponent = exact(node[2])
        except NotRational:
            return inner
        return _bounded(inner * max(1, abs(int(exponent))))
    if kind == "f" and node[1] == "binom":
        return _bounded(degree(node[2][0]) * (node[2][1] if isinstance(node[2][1], int) else 1))
    return 0


def _bounded(value: int) -> int:
    if value > MAX_DEGREE:
        raise NotModular("a degree too high for the bound")
    return value


def agree(a: Node, b: Node, names: set[str], rng: Draws) -> bool:
    """Whether two rational functions are equal, with the bound stated above; raises `NotModular`."""
    if not names:
        return _agree_closed(a, b, rng)
    seen, points, nodes = 0, 1, num_nodes(a) + num_nodes(b)
    spend(nodes)
    for trial in range(44):
        values = {name: rng.word() << 64 | rng.word() for name in names}
        try:
            if evaluate(a, values) != evaluate(b, values):
                return False
        except Pole:
            if trial > points + 4:
                break
            continue
        seen += 1
        if seen == 1:  # equal at the first point, which may be chance: what are the odds?
            degree(a)
            degree(b)
            points = num_points(a, b, 3)
            spend(points * nodes)
        if seen == points:
            return True
    raise NotModular("no point where both are defined")


def num_points(a: Node, b: Node, least: int) -> int:
    """How many points to compare at: more if an exponent contains a symbol."""
    points, stack = least, [a, b]
    while stack:
        top = stack.pop()
        if type(top) is tuple and top:
            if top[0] == "^" and symbols(top[2]):
                if type(top[1]) is not int or top[1] < 2:
                    return 40
                points = max(points, 8)
            stack.extend(top)
    return points


def _agree_closed(a: Node, b: Node, rng: Draws) -> bool:
    spend(3 * (num_nodes(a) + num_nodes(b)))
    for _ in range(3):
        p = _random_prime(rng)
        try:
            if evaluate(a, {}, p) != evaluate(b, {}, p):
                return False
        except Pole:
            raise NotModular("undefined") from None
    return True


def _random_prime(rng: Draws) -> int:
    while True:
        candidate = rng.between(1 << 60, (1 << 61) - 1) | 1
        if _is_prime(candidate):
            return candidate


def _is_prime(n: int) -> bool:
    """Miller-Rabin with the bases that are proof below 2^64 (Sorenson and Webster 2015)."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
        if n % base == 0:
            return n == base
        x = pow(base, odd, n)
        if x in (1, n - 1):
            continue
        for _ in range(twos - 1):
            x = x * x % n
            if x == n - 1:
                break
        else:
            return False
    return True

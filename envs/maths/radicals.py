"""Sums of square roots, exactly: a number as {squarefree radicand: rational coefficient}. Both answers are proofs.

Square roots of distinct squarefree positive integers are linearly independent over the rationals (Besicovitch 1940),
so two such sums are equal exactly when their coefficients are. Negative radicands carry the imaginary unit along.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any

from stepgym.envs.maths.effort import spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node

Terms = dict[int, int | Fraction]
MAX_RADICAND = 10**9
MAX_TERMS = 24


class NotRadical(Exception):
    """Not a sum of square roots that is read here."""


def same(a: Node, b: Node) -> bool | None:
    """Whether two sums of square roots are equal; `None` where one is none."""
    try:
        return read(a) == read(b)
    except (NotRadical, NotRational):
        return None


def read(node: Node) -> Terms:
    """The coefficients of `node`, without zeros."""
    if not isinstance(node, tuple):
        return {1: node} if node else {}
    kind = node[0]
    if kind == "dec":
        return {1: node[1]} if node[1] else {}
    if kind == "-":
        return {r: -c for r, c in read(node[1]).items()}
    if kind == "+":
        total: Terms = {}
        for term in node[1:]:
            for r, c in read(term).items():
                total[r] = total.get(r, 0) + c
        return {r: c for r, c in total.items() if c}
    if kind == "*":
        product: Terms = {1: 1}
        for factor in node[1:]:
            product = _times(product, read(factor))
        return product
    if kind == "/":
        return _times(read(node[1]), _inverse(read(node[2])))
    if kind == "f" and node[1] == "sqrt":
        return _root(node[2][0])
    if kind == "^":
        return _power(node)
    if node == ("k", "i"):
        return {-1: 1}
    raise NotRadical(kind)


def _power(node: Any) -> Terms:
    exponent = exact(node[2])
    if exponent == Fraction(1, 2):
        return _root(node[1])
    if not isinstance(exponent, int) or abs(exponent) > 8:
        return {1: exact(node)}
    base = read(node[1])
    result: Terms = {1: 1}
    for _ in range(abs(exponent)):
        result = _times(result, base)
    return result if exponent >= 0 else _inverse(result)


def _root(inner: Node) -> Terms:
    value = exact(inner)
    if value == 0:
        return {}
    under = abs(value.numerator) * value.denominator
    if under > MAX_RADICAND:
        raise NotRadical("a radicand too large to factor")
    outside, inside = _squarefree(under)
    below = value.denominator
    factor = outside if below == 1 else Fraction(outside, below)
    return {inside if value > 0 else -inside: factor}


@lru_cache(maxsize=4096)
def _squarefree(value: int) -> tuple[int, int]:
    """(s, r) with value = s^2 * r and r squarefree."""
    outside = inside = 1
    factor = 2
    while factor * factor * factor <= value:  # what is left then has at most two prime factors
        count = 0
        while value % factor == 0:
            value //= factor
            count += 1
        outside *= factor ** (count // 2)
        inside *= factor ** (count % 2)
        factor += 1 if factor == 2 else 2
    whole = math.isqrt(value)
    if whole * whole == value:
        return outside * whole, inside
    return outside, inside * value


def _times(a: Terms, b: Terms) -> Terms:
    if len(a) * len(b) > MAX_TERMS * MAX_TERMS:
        raise NotRadical("too many terms")
    spend(len(a) * len(b))
    total: Terms = {}
    for r, x in a.items():
        for s, y in b.items():
            common = math.gcd(r, s)
            radicand = (abs(r) // common) * (abs(s) // common)
            value = x * y * common
            if r < 0 and s < 0:
                value = -value
            elif r < 0 or s < 0:
                radicand = -radicand
            total[radicand] = total.get(radicand, 0) + value
    return {r: c for r, c in total.items() if c}


def _inverse(terms: Terms) -> Terms:
    """One over a sum of at most four roots, by conjugates."""
    if not terms:
        raise NotRadical("division by zero")
    top: Terms = {1: 1}
    for _ in range(6):
        if len(terms) == 1:
            radicand, value = next(iter(terms.items()))
            return _times(top, {radicand: 1 / Fraction(value * radicand)})
        prime = _splitting_prime(terms)
        conjugate = {r: (-c if _holds(r, prime) else c) for r, c in terms.items()}
        top, terms = _times(top, conjugate), _times(terms, conjugate)
    raise NotRadical("a denominator of too many roots")


def _splitting_prime(terms: Terms) -> int:
    """A factor that some radicands hold and others do not: changing its root's sign is a conjugation."""
    candidates = {-1} if any(r < 0 for r in terms) and any(r > 0 for r in terms) else set()
    for radicand in terms:
        rest, factor = abs(radicand), 2
        while factor * factor <= rest and factor < 1000:
            if rest % factor == 0:
                candidates.add(factor)
                rest //= factor
            else:
                factor += 1
        if rest > 1:
            candidates.add(rest)
    for prime in sorted(candidates):
        held = sum(_holds(r, prime) for r in terms)
        if 0 < held < len(terms):
            return prime
    raise NotRadical("no conjugate")


def _holds(radicand: int, prime: int) -> bool:
    return radicand < 0 if prime == -1 else radicand % prime == 0

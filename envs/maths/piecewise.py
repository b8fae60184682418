"""Functions that change their formula from place to place: absolute values, roots, logarithms, floors, remainders.

Random points show that two *analytic* expressions are equal, but `|x + 100| - 100` equals `x` at every point above
-100. Here the places where a formula may change are found first, and the two expressions are compared at points of
every piece between them. What has no such places, or places that cannot be found, is left undecided.

*Yes* rests on three points in every piece for each letter in turn, the others drawn at random; for floors, remainders
and common divisors of whole numbers, on all residues of their common period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any, NamedTuple

from flint import fmpz_poly

from stepgym.envs.maths import balls
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.polynomials import coefficients, split_fraction
from stepgym.envs.maths.tree import Node, children, has, substitute, symbols, walk

Same = Callable[[dict[str, Fraction]], bool | None]
"""Whether two expressions agree at a point; `None` if they are not both defined there."""

_WITHOUT_ZEROS = frozenset("factorial double_factorial exp sec csc cosh sech csch".split())
_STEPPED = frozenset("floor ceil mod gcd lcm".split())
_OF_ARGUMENT = frozenset("abs norm sign sqrt ln arg".split())
_RECIPROCALS = {
    "sec": "cos",
    "csc": "sin",
    "cot": "tan",
    "sech": "cosh",
    "csch": "sinh",
    "coth": "tanh",
}
_CIRCULAR = tuple(("f", name) for name in "sin cos tan cot sec csc".split())
_MAX_PLACES = 40
_MAX_LINES = 12
"""Draws of the other letters, of which two must give a line on which both expressions are defined."""
_MAX_PERIOD = 300
_MAX_SCALE = 10**7
_HALF_TURNS = range(-3, 4)


class PointGroups(NamedTuple):
    """Points to compare at, one group for each piece."""

    groups: list[list[Fraction]]
    complete: bool
    """Whether equality at all points means that two expressions are equal."""


class Unknown(Exception):
    """The places where a formula changes cannot be found."""


def is_piecewise(node: Node) -> bool:
    """Whether some function in `node` may change its formula with a letter's value."""
    return any(True for _ in _kinks(node)) or any(True for _ in _stepped(node))


def pieces(node: Node) -> list[Node]:
    """The outermost piecewise functions in `node`."""
    if _is_kink(node) or _is_stepped(node):
        return [node]
    return [found for child in children(node) for found in pieces(child)]


def agree(
    a: Node, b: Node, names: Iterable[str], same: Same, rng: Draws, *, whole: frozenset[str]
) -> bool | None:
    """Compare in every piece; `whole` are the letters that are whole numbers."""
    ordered = sorted(names)
    for name in ordered:
        others = [other for other in ordered if other != name]
        lines, wanted = 0, 2 if others else 1
        for _ in range(_MAX_LINES if others else 1):
            fixed = {other: _draw(rng, other in whole) for other in others}
            found = _agree_along(a, b, name, fixed, same, name in whole)
            if found is False or (found is None and not others):
                return found
            lines += found is True
            if lines == wanted:
                break
        if lines < wanted:
            return None
    return True


def _draw(rng: Draws, whole: bool) -> Fraction:
    return Fraction(rng.between(1, 12)) if whole else Fraction(rng.between(-5_000, 5_000), 997)


def _agree_along(
    a: Node, b: Node, name: str, fixed: dict[str, Fraction], same: Same, whole: bool
) -> bool | None:
    one = [substitute(node, dict(fixed)) for node in (a, b)]
    try:
        groups, complete = _point_groups(one, name, whole)
    except Unknown:
        return None
    compared = 0
    for points in groups:
        found = [same({**fixed, name: point}) for point in points]
        if False in found:
            return False
        if None in found and True in found and found.count(True) < min(2, len(found)):
            return None
        compared += found.count(True)
    return True if compared >= 3 and complete else None


def _point_groups(one: list[Node], name: str, whole: bool) -> PointGroups:
    """Return the points to compare at."""
    places: set[float] = set()
    for node in one:
        for argument in _kinks(node):
            places.update(_zeros(argument, name))
    if len(places) > _MAX_PLACES:
        raise Unknown
    groups = _between(_apart(sorted(places)), whole)
    steps: list[Any] = [n for node in one for n in _stepped(node) if name in symbols(n)]
    if not steps:
        return PointGroups(groups, True)
    over_steps = _over_steps(steps, whole)
    if not whole:
        groups.append(_between_steps(steps, name))
    return PointGroups([g for g in groups if g] + over_steps.groups, over_steps.complete)


def _between_steps(steps: list[Any], name: str) -> list[Fraction]:
    """One point in every piece between neighbouring steps, where the arguments are linear: between 1 and 1 + 1/1000."""
    places: set[Fraction] = set()
    for _, function, arguments in steps[:20]:
        try:
            size = Fraction(exact(arguments[1])) if function == "mod" else Fraction(1)
            line = (
                coefficients(arguments[0], name) if function in ("floor", "ceil", "mod") else None
            )
        except NotRational:
            continue
        if line is not None and len(line) == 2:
            places.update((k * size - line[0]) / line[1] for k in (-2, -1, 0, 1, 2, 40, 41))
    return [(low + high) / 2 for low, high in pairwise(sorted(places))]


def _apart(places: list[float]) -> list[float]:
    """The places, without those that rounding alone tells from their neighbours."""
    kept: list[float] = []
    for place in places:
        if not kept or place - kept[-1] > 1e-9 * max(1.0, abs(place)):
            kept.append(place)
    return kept


def _between(places: list[float], whole: bool) -> list[list[Fraction]]:
    """Three points in every gap between neighbouring places, and beyond the first and the last."""
    ends = places or [0.0]
    groups = []
    for sign, end in ((-1, ends[0]), (1, ends[-1])):
        if whole and sign < 0:
            continue
        width = max(1.0, abs(end))
        groups.append([_fraction(end + sign * width * k) for k in (0.013, 0.71, 9.3)])
    for low, high in pairwise(places):
        groups.append([_fraction(low + (high - low) * k) for k in (0.021, 0.47, 0.93)])
    if whole:
        groups = [_whole_points(group, ends) for group in groups]
        groups.append([Fraction(k) for k in range(1, 13)])
        groups += [[Fraction(k)] for place in places for k in _around(place) if k > 0]
    return [group for group in groups if group]


def _whole_points(group: list[Fraction], ends: list[float]) -> list[Fraction]:
    return [Fraction(k) for k in dict.fromkeys(round(point) for point in group) if k > 0]


def _around(place: float) -> range:
    return range(math.floor(place), math.ceil(place) + 1)


def _fraction(value: float) -> Fraction:
    if not math.isfinite(value) or abs(value) > 1e30:
        raise Unknown
    return Fraction(value)


def _over_steps(steps: list[Any], whole: bool) -> PointGroups:
    """Points beyond the scale of every constant in floors, remainders and divisors; all residues of their period.

    Several constants can act together at one residue of a period that is too long to go through, as in
    `floor((n mod 97)(n mod 91)/8640)`. The points then can show a difference, but do not prove that there is none.
    """
    constants = {abs(part) for node in steps for n in walk(node) for part in _parts(n)} - {0}
    scale = max(constants, default=1)
    if scale > _MAX_SCALE:
        raise Unknown
    near = {k * c + d for c in constants for k in (1, 2, 3) for d in (-1, 0, 1)}
    near |= {k * d for c in constants for d in _divisors(c) for k in (1, 5)}
    near |= {scale * k + d for k in (4, 11) for d in (0, 1, 17)} | set(range(1, 13))
    several = len(constants - {1}) > 1
    complete = True
    if several or any(n[1] in ("gcd", "lcm") for n in steps):
        period = math.lcm(*constants)
        complete = period <= _MAX_PERIOD
        near |= set(range(1, min(period, _MAX_PERIOD) + 1))
    if whole:
        return PointGroups([[Fraction(k) for k in sorted(near) if k > 0]], complete)
    low = [Fraction(-k, 1) - Fraction(1, 3) for k in (1, 2, scale, 3 * scale, 7 * scale)]
    return PointGroups([[Fraction(k) + Fraction(2, 7) for k in sorted(near)], low], complete)


def _parts(node: Any) -> Iterator[int]:
    if isinstance(node, int):
        yield node
    elif isinstance(node, Fraction):
        yield from (node.numerator, node.denominator)
    elif node[0] == "dec":
        yield from (node[1].numerator, node[1].denominator)
    elif node[0] in ("^", "f"):
        try:
            value = Fraction(exact(node))
        except NotRational:
            return
        yield from (value.numerator, value.denominator)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, min(number, 1_000) + 1) if number % d == 0][:30]


def _is_stepped(node: Any) -> bool:
    return (
        isinstance(node, tuple) and node[0] == "f" and node[1] in _STEPPED and bool(symbols(node))
    )


def _stepped(node: Node) -> Iterator[Any]:
    return (n for n in walk(node) if _is_stepped(n))


def _is_kink(node: Any) -> bool:
    return isinstance(node, tuple) and any(True for _ in _kink_arguments(node))


def _kinks(node: Node) -> Iterator[Node]:
    """The arguments whose zeros are the places where a function in `node` may change its formula."""
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, tuple):
            yield from _kink_arguments(top)
            if top[0] in ("sum", "prod"):
                yield from (k for k in _kinks(top[4]) if top[1] not in symbols(k))
                yield from _bound_kinks(top)
                stack += top[2:4]
            else:
                stack.extend(children(top))


def _bound_kinks(node: Any) -> Iterator[Node]:
    """What in the body of a sum or product may change with its index, as an argument that has no known zeros."""
    for n in walk(node[4]):
        if isinstance(n, tuple) and n[0] == "f" and n[1] not in ("binom", "factorial"):
            yield from (node for k in _kink_arguments(n) if node[1] in symbols(k) and symbols(node))


def _kink_arguments(node: Any) -> Iterator[Node]:
    if node[0] == "^" and symbols(node[1]):
        if _is_broken(node[2]):
            yield node[1]
        return
    if node[0] == "/" and symbols(node[2]):
        yield node[2]
        return
    if node[0] != "f" or not symbols(node):
        return
    name, arguments = node[1], node[2]
    if name in _OF_ARGUMENT:
        yield arguments[0]
    elif name in ("root", "log"):
        yield arguments[-1]
    elif name in ("max", "min"):
        for i, x in enumerate(arguments):
            yield from (("+", x, ("-", y)) for y in arguments[i + 1 :])
    elif name in ("arcsin", "arccos", "arctanh", "arcsec", "arccsc"):
        yield ("+", ("^", arguments[0], 2), ("-", 1))
    elif name == "arccosh":
        yield ("+", arguments[0], ("-", 1))
    elif name == "binom":
        yield ("+", arguments[0], ("-", arguments[1]))
    elif name in ("tan", "sec"):
        yield ("f", "cos", arguments)
    elif name in ("cot", "csc"):
        yield ("f", "sin", arguments)


def _is_broken(exponent: Node) -> bool:
    try:
        return Fraction(exact(exponent)).denominator > 1
    except NotRational:
        return True


def _zeros(node: Any, name: str) -> set[float]:
    """The real zeros of `node` as a function of `name`, and perhaps more; raises `Unknown`."""
    if name not in symbols(node):
        return set()
    found = coefficients(node, name)
    if found is not None:
        return _real_roots(found)
    kind = node[0]
    if kind in ("sum", "prod", "int", "lim"):
        raise Unknown
    if kind in ("*", "/"):
        return set().union(*(_zeros(factor, name) for factor in node[1:]))
    if kind == "-":
        return _zeros(node[1], name)
    if kind == "^" and name not in symbols(node[2]):
        return _zeros(node[1], name)
    if kind == "^" and not symbols(node[1]):
        return set()  # an exponential has no zeros
    if kind == "f" and node[1] in _WITHOUT_ZEROS:
        return set()
    if kind == "f" and node[1] in ("sqrt", "abs", "norm", "root", "sign"):
        return _zeros(node[2][-1], name)
    if has(node, "/", "^"):
        top, bottom = split_fraction(node)
        if name in symbols(bottom):
            return _zeros(top, name) | _zeros(bottom, name)
    return _zeros_of_sum(node, name)


def _zeros_of_sum(node: Any, name: str) -> set[float]:
    """Replace the one part that is no polynomial by a letter, or absolute values and extremes by their cases."""
    for part in walk(node):
        if isinstance(part, tuple) and part[0] == "f" and name in symbols(part):
            if part[1] in ("abs", "norm"):
                cases: list[Node] = [part[2][0], ("-", part[2][0])]
            elif part[1] in ("max", "min"):
                cases = list(part[2])
            else:
                continue
            return set().union(*(_zeros(_replace(node, part, case), name) for case in cases))
    atoms = list(dict.fromkeys(_atoms(node, name)))
    if len(atoms) > 1 and all(a[:2] in _CIRCULAR and a[2] == atoms[0][2] for a in atoms):
        return _on_the_circle(node, atoms[0][2][0], name)
    if len(atoms) != 1:
        raise Unknown
    atom, letter = atoms[0], "#atom"
    whole = _replace(node, atom, ("v", letter))
    if name in symbols(whole):
        return _with_root(whole, atom, name, letter)
    found = coefficients(whole, letter)
    if found is None:
        raise Unknown
    return set().union(*(_preimages(atom, value, name) for value in _real_roots(found)))


def _on_the_circle(node: Node, angle: Node, name: str) -> set[float]:
    """Zeros of an expression in the sine, cosine, ... of one angle, through the tangent of its half."""
    t: Node = ("v", "#half")
    bottom: Node = ("+", 1, ("^", t, 2))
    sine: Node = ("/", ("*", 2, t), bottom)
    cosine: Node = ("/", ("+", 1, ("-", ("^", t, 2))), bottom)
    for kind, value in (
        ("sin", sine),
        ("cos", cosine),
        ("tan", ("/", sine, cosine)),
        ("cot", ("/", cosine, sine)),
        ("sec", ("/", 1, cosine)),
        ("csc", ("/", 1, sine)),
    ):
        node = _replace(node, ("f", kind, (angle,)), value)
    found = coefficients(split_fraction(node)[0], "#half") if name not in symbols(node) else None
    if found is None:
        raise Unknown
    angles = [2 * math.atan(root) for root in _real_roots(found)] + [math.pi]
    return set().union(
        *(
            _zeros(("+", angle, ("-", Fraction(base + 2 * math.pi * turn))), name)
            for base in angles
            for turn in _HALF_TURNS
        )
    )


def _with_root(whole: Node, atom: Any, name: str, letter: str) -> set[float]:
    """`A + B sqrt(v) = 0` has its zeros among those of `A^2 - B^2 v`."""
    if atom[:2] != ("f", "sqrt"):
        raise Unknown
    at = [substitute(whole, {letter: k}) for k in (0, 1, 2)]
    slope: Node = ("+", at[1], ("-", at[0]))
    bend = coefficients(("+", at[2], ("*", -2, at[1]), at[0]), name)
    if bend is None or bend:
        raise Unknown
    return _zeros(("+", ("^", at[0], 2), ("-", ("*", ("^", slope, 2), atom[2][0]))), name)


def _atoms(node: Any, name: str) -> Iterator[Any]:
    """The outermost parts of `node` that hold `name` and are no polynomial in it."""
    if not isinstance(node, tuple) or name not in symbols(node):
        return
    if node[0] == "f" or (node[0] == "^" and (name in symbols(node[2]) or _is_broken(node[2]))):
        yield node
    else:
        for child in children(node):
            yield from _atoms(child, name)


def _replace(node: Any, part: Node, by: Node) -> Any:
    if node == part:
        return by
    if not isinstance(node, tuple) or node[:1] in (("dec",), ("v",), ("k",)):
        return node
    return tuple(_replace(item, part, by) for item in node)


def _preimages(atom: Any, value: float, name: str) -> set[float]:
    """Where `atom` takes `value`."""
    try:
        targets = list(_inverse(atom, value))
    except (ValueError, OverflowError, NotRational):
        raise Unknown from None
    inner = atom[2] if atom[0] == "^" else atom[2][0]
    found: set[float] = set()
    for target in targets:
        found |= _zeros(("+", inner, ("-", Fraction(target))), name)
    return found


def _inverse(atom: Any, value: float) -> Iterator[float]:
    if atom[0] == "^":
        base = math.e if atom[1] == ("k", "e") else float(exact(atom[1]))
        if value > 0 and base > 0:
            yield math.log(value, base)
        return
    kind = atom[1]
    if kind in _RECIPROCALS and value:
        kind, value = _RECIPROCALS[kind], 1 / value
    elif kind == "cot":
        kind = "cos"
    if kind == "exp" and value > 0:
        yield math.log(value)
    elif kind == "ln":
        yield math.exp(value)
    elif kind == "sqrt":
        yield value * value
    elif kind in ("sin", "cos") and abs(value) <= 1:
        for turn in _HALF_TURNS:
            angle = math.asin(value) if kind == "sin" else math.acos(value)
            yield 2 * math.pi * turn + angle
            yield 2 * math.pi * turn + (math.pi - angle if kind == "sin" else -angle)
    elif kind == "tan":
        yield from (math.atan(value) + math.pi * turn for turn in _HALF_TURNS)
    elif kind == "arctan" and abs(value) < math.pi / 2:
        yield math.tan(value)
    elif kind == "cosh":
        if value >= 1:
            yield from (math.acosh(value), -math.acosh(value))
    elif kind in ("sinh", "arcsinh", "tanh", "arctanh"):
        back = {"sinh": math.asinh, "arcsinh": math.sinh, "tanh": math.atanh, "arctanh": math.tanh}
        yield back[kind](value)
    elif kind not in ("exp", "sin", "cos", "arctan", "sec", "csc"):
        raise Unknown


def _real_roots(found: list[Fraction]) -> set[float]:
    """The real roots of a polynomial with these coefficients, from the constant up."""
    if len(found) < 2:
        return set()
    scale = math.lcm(*(c.denominator for c in found))
    with balls.working_precision(64):
        roots = fmpz_poly([int(c * scale) for c in found]).complex_roots()
        return {float(root.real.mid()) for root, _ in roots if root.imag.contains(0)}

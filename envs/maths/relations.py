"""Equations, inequalities and what they name: `x = 5`, `f(x) = x^2`, `(a, b) = (1, 2)`, `2x + y = 3`."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

from stepgym.envs.maths import modular
from stepgym.envs.maths.bounds import height
from stepgym.envs.maths.draws import Draws
from stepgym.envs.maths.effort import num_nodes, spend
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.polynomials import split_fraction
from stepgym.envs.maths.scalars import name_calls
from stepgym.envs.maths.tree import Node, label, mentions, substitute, symbols, walk

_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_OPPOSITES = (
    ("<", ">="),
    ("<=", ">"),
    ("=", "!="),
    ("in", "notin"),
    ("divides", "ndivides"),
    ("===", "!==="),
)
_NEGATED = dict(_OPPOSITES) | {b: a for a, b in _OPPOSITES}
_GREEK_ANGLES = frozenset("alpha beta gamma theta phi A B C P Q".split())


class Assignment(NamedTuple):
    """`name = value`; `parameters` are the symbols of `f(x) = ...`."""

    name: str
    parameters: tuple[str, ...]
    value: Node


def assignment(node: Node) -> Assignment | None:
    """Read a relation as naming a value; `None` where its left side is no name."""
    if not (isinstance(node, tuple) and node[0] == "rel"):
        return None
    operators, sides = node[1], node[2]
    if any(op not in ("=", "~") for op in operators):
        return None
    last = len(operators) if "~" not in operators[1:] else 1 + operators[1:].index("~")
    value = sides[last]
    name = _name_of(sides[0])
    if name is None and _name_of(value) is not None and len(sides) == 2 and not symbols(sides[0]):
        name, value = _name_of(value), sides[0]
    if name is None:
        return None
    own = symbols(sides[0]) - set(name[1])
    if own & symbols(value) and len(sides) == 2:
        return None
    return Assignment(name[0], name[1], value)


def negation(node: Node) -> Node | None:
    """Return the condition that holds exactly where this one does not; `None` for conditions that are not read here."""
    kind, *parts = node if isinstance(node, tuple) else ("",)
    if kind == "rel":
        operators, sides = parts
        if not set(operators) <= set(_NEGATED):
            return None
        each = tuple(
            ("rel", (_NEGATED[operator],), pair)
            for operator, pair in zip(operators, pairwise(sides))
        )
        return each[0] if len(each) == 1 else ("list", "or", each)
    if kind == "mod":
        inner = negation(parts[0])
        return None if inner is None or inner[0] != "rel" else ("mod", inner, parts[1])  # type: ignore[index]
    if kind == "list":
        joint, items = parts
        if joint == "," and sum(map(len, map(symbols, items))) == len(symbols(node)):
            joint = "and"  # conditions on different letters; on one letter a comma may mean `or`
        negated = tuple(negation(item) for item in items)
        if joint in ("and", "or") and None not in negated:
            return ("list", "or" if joint == "and" else "and", negated)
    return None


def _name_of(node: Node) -> tuple[str, tuple[str, ...]] | None:
    if not isinstance(node, tuple):
        return None
    kind = node[0]
    if kind == "v":
        return node[1], ()
    if (
        kind == "f"
        and node[1] in ("Re", "Im")
        and isinstance(node[2][0], tuple)
        and node[2][0][0] == "v"
    ):
        return f"{node[1]} {node[2][0][1]}", ()
    if kind == "*" and node[1] == ("v", "P") and len(node) == 3 and _is_event(node[2]):
        return f"P{label(node[2])}", ()
    if kind == "unit":
        return node[1].lower(), ()
    if kind == "call":
        parameters = tuple(a[1] for a in node[2] if isinstance(a, tuple) and a[0] == "v")
        if len(parameters) != len(node[2]):
            return f"{node[1]}{label(node[2])}", ()
        return node[1], parameters
    if kind == "*" and all(isinstance(f, tuple) and f[0] == "v" for f in node[1:]):
        names = [f[1] for f in node[1:]]
        if all(n[0].isupper() for n in names):
            return "".join(names), ()
        if (
            len(names) == 2
            and (names[0][0].isupper() or names[0] in ("y", "u", "p", "q", "r", "phi", "psi"))
            and names[1] in ("x", "n", "t", "y", "z", "k", "s")
        ):
            return names[0], (names[1],)
        return None
    if (
        kind == "*"
        and len(node) == 3
        and _is_inverse(node[1])
        and isinstance(node[2], tuple)
        and node[2][0] == "v"
    ):
        return f"{node[1][1][1]}^-1", (node[2][1],)
    if kind in ("/", "ratio"):
        if kind == "/" and all(
            isinstance(p, tuple) and p[0] == "*" and p[1] == ("v", "d") and len(p) == 3
            for p in node[1:]
        ):
            return f"d{node[1][2]}/d{node[2][2]}", (node[2][2][1],) if node[2][2][0] == "v" else ()
        parts = [_name_of(part) for part in (node[1:] if kind == "/" else node[1])]
        if all(part is not None and part[0][0].isupper() for part in parts):
            return ":".join(part[0] for part in parts if part), ()
        return None
    if kind == "f" and node[1] == "abs":
        inner = _name_of(node[2][0])
        return (f"|{inner[0]}|", ()) if inner and inner[0][0].isupper() else None
    if (
        kind == "f"
        and len(node[2]) == 1
        and isinstance(node[2][0], tuple)
        and node[2][0][0] == "v"
        and (node[1] == "conj" or node[2][0][1] in _GREEK_ANGLES)
    ):
        return f"{node[1]} {node[2][0][1]}", ()
    return None


def _is_event(node: Any) -> bool:
    """`X = 2`, as in `P(X = 2)`."""
    return isinstance(node, tuple) and node[0] == "rel"


def _is_inverse(node: Any) -> bool:
    """`f^{-1}`, as a name."""
    return (
        isinstance(node, tuple)
        and node[0] == "^"
        and node[2] == ("-", 1)
        and isinstance(node[1], tuple)
        and node[1][0] == "v"
    )


def same_name(a: Assignment, b: Assignment) -> bool:
    """Equal names; `y = ...` and `f(x) = ...` name the same thing."""
    if a.name == b.name:
        return True
    one, other = (a, b) if a.name == "y" and not a.parameters else (b, a)
    return one.name == "y" and not one.parameters and other.parameters == ("x",)


def aligned(a: Assignment, b: Assignment) -> Node:
    """The value of `b` with its parameters called as those of `a`: `f(t) = t^2` reads as `f(x) = x^2`."""
    if a.parameters and len(a.parameters) == len(b.parameters):
        names: dict[str, Node] = {old: ("v", new) for old, new in zip(b.parameters, a.parameters)}
        return substitute(b.value, names)  # type: ignore[no-any-return]
    return b.value


def difference(node: Any) -> Node:
    """`left - right` of a single relation."""
    left, right = name_calls(node[2][0]), name_calls(node[2][1])
    return ("+", left, ("-", right))


_OF_COMPLEX = frozenset(("conj", "Re", "Im"))


def name_conjugates(a: Node, b: Node) -> tuple[Node, Node]:
    """`#z` for the conjugate of z in both nodes, as `Re z = 0`, where Re z is half of z + #z, is not `z = 0`."""
    return (_conjugated(a), _conjugated(b)) if mentions(_OF_COMPLEX, a, b) else (a, b)


def _conjugated(node: Any, *, bar: bool = False, real: bool = False) -> Any:
    """A node, or with `bar` its conjugate; letters beside an i under one bar are real: `\\overline{x + iy}` is `x - iy`."""
    if not isinstance(node, tuple) or not node:
        return node
    if node[0] == "v":
        return ("v", f"#{node[1]}") if bar and not real else node
    if node == ("k", "i"):
        return ("-", node) if bar else node
    squared = (
        node[0] == "^"
        and node[2] == 2
        and isinstance(node[1], tuple)
        and node[1][:2] == ("f", "abs")
    )
    function = node[1] if squared else node
    if function[0] == "f" and function[1] in ("conj", "Re", "Im", "abs"):
        inside = function[2][0]
        real = real or (function[1] != "abs" and ("k", "i") in walk(inside))
        one, other = (_conjugated(inside, bar=each, real=real) for each in (bar, not bar))
        if function[1] == "conj":
            return other
        if function[1] == "abs":
            return ("*", one, other) if squared else ("f", "abs", (min(one, other, key=label),))
        if function[1] == "Re":
            return ("/", ("+", one, other), 2)
        difference = ("+", one, ("-", other))
        return ("/", ("-", difference) if bar else difference, ("*", 2, ("k", "i")))
    return tuple(_conjugated(item, bar=bar, real=real) for item in node)


def same_equation(a: Node, b: Node, rng: Draws) -> bool | None:
    """Whether `a = 0` and `b = 0` are one equation up to a constant factor, or with denominators cleared."""
    a, b = name_conjugates(a, b)
    names = symbols(a) | symbols(b)
    if not names or symbols(a) != symbols(b):
        return False
    factor = constant_factor(a, b, names, rng)
    if factor is not None and factor is not False:
        return True
    tops = split_fraction(a)[0], split_fraction(b)[0]
    if tops != (a, b):
        cleared = constant_factor(tops[0], tops[1], names, rng)
        if cleared is not None:
            return cleared is not False
    return factor if factor is None else False


def constant_factor(a: Node, b: Node, names: set[str], rng: Draws) -> bool | str | None:
    """`"+"` or `"-"`: a is that sign of constant times b; `False`: proven not; `None`: cannot say."""
    found = _modular_factor(a, b, names, rng)
    if found is False:
        return False
    return _ball_factor(a, b, sorted(names), rng, sure=found is True)


def _modular_factor(a: Node, b: Node, names: set[str], rng: Draws) -> bool | None:
    """Cross products at four random points or more modulo a prime: a Schwartz-Zippel bound as in `modular.py`."""
    try:
        modular.degree(a)
        modular.degree(b)
        pairs = []
        points = modular.num_points(a, b, 4)
        spend(points * (num_nodes(a) + num_nodes(b)))
        for _ in range(2 * points):
            values = {name: rng.below(1 << 120) for name in sorted(names)}
            try:
                pairs.append((modular.evaluate(a, values), modular.evaluate(b, values)))
            except modular.Pole:
                continue
            if len(pairs) == points:
                break
    except modular.NotModular:
        return None
    if len(pairs) < points or not any(x and y for x, y in pairs):
        return False
    x0, y0 = next((x, y) for x, y in pairs if x and y)
    return all((x * y0 - y * x0) % modular.PRIME == 0 for x, y in pairs)


def _ball_factor(
    a: Node, b: Node, names: list[str], rng: Draws, *, sure: bool
) -> bool | str | None:
    """The same with balls at real points; gives the sign of the factor."""
    from stepgym.envs.maths import balls, numeric  # loads python-flint
    from stepgym.envs.maths.balls import NoBall  # loads python-flint

    size = height(a) + height(b)
    if size > 3_000:
        return "+" if sure else None
    base: tuple[Any, Any] | None = None
    seen = 0
    steps = (num_nodes(a) + num_nodes(b)) * balls.step_cost(300 + 2 * size)
    with balls.working_precision(300 + 2 * size):
        for trial in range(20):
            spend(steps)
            values = {
                name: balls.to_ball(numeric._draw(rng, rng.below(8) if i else trial))
                for i, name in enumerate(names)
            }
            values[balls.REAL] = True
            try:
                x, y = balls.evaluate(a, values), balls.evaluate(b, values)
            except (NoBall, NotRational, RecursionError):
                continue
            if base is None:
                if x.contains(0) or y.contains(0):
                    continue
                base = x, y
                if sure:
                    return "+" if (x / y).real > 0 else "-"
                continue
            if not (x * base[1]).overlaps(y * base[0]):
                return False
            seen += 1
            if seen >= 5:
                return "+" if (base[0] / base[1]).real > 0 else "-"
    return None


def same_inequality(a: Any, b: Any, rng: Draws) -> bool | None:
    """Two single inequalities: equal up to a positive factor, or a negative one with the sign turned."""
    first, second = a[1][0], b[1][0]
    left, right = name_conjugates(difference(a), difference(b))
    names = symbols(left) | symbols(right)
    if not names or symbols(left) != symbols(right):
        return False
    factor = constant_factor(left, right, names, rng)
    if factor is None or factor is False:
        return False if factor is False else None
    return bool(first == second if factor == "+" else first == _FLIP.get(second, second))


class Residue(NamedTuple):
    """`name = value (mod modulus)`; `name` is empty for a bare residue."""

    name: str
    value: Node
    modulus: Node


def residue(node: Any) -> Residue | None:
    """Read a congruence; `None` for anything else."""
    if isinstance(node, tuple) and node[:2] == ("f", "mod"):
        return Residue("", *node[2])
    if not (isinstance(node, tuple) and node[0] == "mod"):
        return None
    inner = node[1]
    if isinstance(inner, tuple) and inner[0] == "rel" and inner[1][0] in ("===", "="):
        name = inner[2][0]
        return (
            Residue(name[1], inner[2][1], node[2])
            if isinstance(name, tuple) and name[0] == "v"
            else None
        )
    return Residue("", inner, node[2])


class Divisibility(NamedTuple):
    """`modulus` divides `dividend`, or does not."""

    modulus: Node
    dividend: Node
    holds: bool


def divisibility(node: Any) -> Divisibility | None:
    """Read `p | n`, `p \\nmid n` and congruences of two sides; `None` for anything else."""
    if not isinstance(node, tuple) or node[0] not in ("rel", "mod"):
        return None
    inner = node[1] if node[0] == "mod" else node
    if not (isinstance(inner, tuple) and inner[0] == "rel" and len(inner[1]) == 1):
        return None
    (operator,), (left, right) = inner[1:]
    if node[0] == "rel":
        if operator not in ("divides", "ndivides"):
            return None
        return Divisibility(left, right, operator == "divides")
    if operator not in ("===", "=", "!===", "!="):
        return None
    dividend = left if right == 0 else ("+", left, ("-", right))
    return Divisibility(node[2], dividend, operator in ("===", "="))


def progression(node: Node) -> Residue | None:
    """`x = 5k + 3`, which says that x is 3 modulo 5; `None` for anything else."""
    found = assignment(node)
    if found is None or found.parameters or len(symbols(found.value)) != 1:
        return None
    letter = next(iter(symbols(found.value)))
    if letter not in ("k", "n", "m", "t", "l", "K", "N") or letter == found.name:
        return None
    try:
        zero, one, two, far = [exact(substitute(found.value, {letter: k})) for k in (0, 1, 2, 17)]
    except NotRational:
        return None
    step = one - zero
    if not step or two - one != step or far - zero != 17 * step:
        return None
    return Residue(found.name, zero, step if step > 0 else -step)

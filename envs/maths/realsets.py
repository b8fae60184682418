"""Sets of real numbers: intervals, unions, differences and solved inequalities, compared exactly.

All finite end points of both sets are put in order; between them a set is all or nothing, so that a set is a row of
booleans (gap, point, gap, point, ..., gap) and set operations are operations on rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import product
from typing import Any, NamedTuple

from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.polynomials import coefficients
from stepgym.envs.maths.tree import INF, MINUS_INF, Node, has, symbols

Same = Callable[[Node, Node], bool | None]
_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "!=": "!=", "=": "="}


class Piece(NamedTuple):
    """An interval; a point has equal, closed ends."""

    low: Node
    low_closed: bool
    high: Node
    high_closed: bool


Expression = tuple[Any, ...]
"""("pieces", (Piece, ...)) or ("cup" | "cap" | "setminus", Expression, Expression)."""

REALS: Expression = ("pieces", (Piece(MINUS_INF, False, INF, False),))
EMPTY: Expression = ("pieces", ())


class NotRealSet(Exception):
    """Not a set of reals that is read here."""


def read(node: Node, variables: set[str]) -> Expression:
    """The set that `node` describes; the names of solved variables are put into `variables`."""
    if not isinstance(node, tuple):
        raise NotRealSet
    kind = node[0]
    if kind == "group" and len(node[3]) == 2:
        low, high = node[3]
        return ("pieces", (Piece(low, node[1] == "[", high, node[2] == "]"),))
    if kind == "set":
        return ("pieces", tuple(Piece(item, True, item, True) for item in node[1]))
    if kind in ("cup", "cap", "setminus"):
        return (kind, read(node[1], variables), read(node[2], variables))
    if kind == "k" and node[1] in ("R", "R+", "R-", "R*"):
        zero = ("pieces", (Piece(0, True, 0, True),))
        return {
            "R": REALS,
            "R+": _ray(0, ">"),
            "R-": _ray(0, "<"),
            "R*": ("setminus", REALS, zero),
        }[node[1]]
    if kind == "rel":
        return _relation(node, variables)
    if kind == "where_set":
        conditions = [
            c for c in (node[1], *node[2]) if isinstance(c, tuple) and c[0] in ("rel", "list")
        ]
        computed = isinstance(node[1], tuple) and node[1][0] in ("+", "-", "*", "/", "^", "f")
        if len(conditions) < len(node[2]) or computed:
            raise NotRealSet  # `{2n : n > 1}` is not what its conditions say
        return _combine("cap", [read(c, variables) for c in conditions])
    if kind == "list":
        if not all(
            isinstance(item, tuple) and item[0] in ("rel", "list", "where") for item in node[2]
        ):
            raise NotRealSet
        parts = [read(item, variables) for item in node[2]]
        return _combine("cup" if node[1] == "or" else "both", parts)
    raise NotRealSet


def _combine(operator: str, parts: Sequence[Expression]) -> Expression:
    result = parts[0]
    for part in parts[1:]:
        result = (operator, result, part)
    return result


def outside(parts: Sequence[Expression]) -> Expression:
    """The reals that are in none of the sets."""
    return ("setminus", REALS, _combine("cup", parts))


def _ray(bound: Node, operator: str) -> Expression:
    if operator in (">", ">="):
        return ("pieces", (Piece(bound, operator == ">=", INF, False),))
    if operator in ("<", "<="):
        return ("pieces", (Piece(MINUS_INF, False, bound, operator == "<="),))
    point = ("pieces", (Piece(bound, True, bound, True),))
    return point if operator == "=" else ("setminus", REALS, point)


def _relation(node: Any, variables: set[str]) -> Expression:
    operators, sides = node[1], node[2]
    if operators[-1] in ("in", "notin") and len(operators) == 1:
        if not (isinstance(sides[0], tuple) and sides[0][0] == "v"):
            raise NotRealSet
        variables.add(sides[0][1])
        inner = read(sides[1], variables)
        return inner if operators == ("in",) else ("setminus", REALS, inner)
    if len(sides) == 3 and isinstance(sides[1], tuple) and sides[1][0] == "v":
        name = sides[1][1]  # of a < x < b
        if set(operators) <= set(_FLIP) and name not in symbols(sides[0]) | symbols(sides[2]):
            variables.add(name)
            return ("cap", _values(sides[0], _FLIP[operators[0]]), _values(sides[2], operators[1]))
    parts = []
    for operator, left, right in zip(operators, sides, sides[1:]):
        if operator not in _FLIP:
            raise NotRealSet
        parts.append(_single(left, operator, right, variables))
    return _combine("cap", parts)


def _single(left: Node, operator: str, right: Node, variables: set[str]) -> Expression:
    for one, other, way in ((left, right, operator), (right, left, _FLIP[operator])):
        if isinstance(one, tuple) and one[:2] == ("f", "abs") and symbols(other):
            return _distance(one[2][0], way, other, variables)
    left_names, right_names = symbols(left), symbols(right)
    if isinstance(left, tuple) and left[0] == "v" and left[1] not in right_names:
        variables.add(left[1])
        return _values(right, operator)
    if isinstance(right, tuple) and right[0] == "v" and right[1] not in left_names:
        variables.add(right[1])
        return _values(left, _FLIP[operator])
    names = left_names | right_names
    if len(names) != 1:
        raise NotRealSet
    variables.update(names)
    name = next(iter(names))
    for one, other, way in ((left, right, operator), (right, left, _FLIP[operator])):
        if isinstance(one, tuple) and one[:2] == ("f", "abs") and not symbols(other):
            return _absolute(one[2][0], way, other, name)
    return _polynomial(("+", left, ("-", right)), operator, name)


def _values(value: Node, operator: str) -> Expression:
    if (
        isinstance(value, tuple)
        and value[0] in ("+-", "-+")
        and value[1] == 0
        and operator in ("=", "!=")
    ):
        point: Expression = (
            "pieces",
            tuple(Piece(v, True, v, True) for v in (value[2], ("-", value[2]))),
        )
        return point if operator == "=" else ("setminus", REALS, point)
    return _ray(value, operator)


def _absolute(inner: Node, operator: str, bound: Node, name: str) -> Expression:
    from stepgym.envs.maths import numeric  # loads python-flint

    try:
        if exact(bound) < 0:
            raise NotRealSet
    except NotRational:
        value = numeric.complex_value(bound)
        if value is None or not value.real > 0:
            raise NotRealSet from None
    upper = _polynomial_or_ray(("+", inner, ("-", bound)), inner, bound, operator, name)
    lower = _polynomial_or_ray(("+", inner, bound), inner, ("-", bound), _FLIP[operator], name)
    if operator in ("<", "<="):
        return ("cap", upper, lower)
    if operator in (">", ">=", "="):
        return ("cup", upper, lower)
    return ("cap", upper, lower)


def _distance(inner: Node, operator: str, bound: Node, variables: set[str]) -> Expression:
    """Solve `|x - b| < a` with a letter as bound; it is `b - a < x < b + a` whatever the sign of `a`."""
    terms = inner[1:] if isinstance(inner, tuple) and inner[0] == "+" else (inner,)
    if len(terms) > 1 and not any(map(_is_unknown, terms)):
        terms = tuple(map(_negative, terms))  # |2 - x| is |x - 2|
    letters = [term for term in terms if isinstance(term, tuple) and term[0] == "v"]
    unknowns = [term for term in letters if _is_unknown(term) or terms == (inner,)]
    letter = min(unknowns, key=lambda term: _UNKNOWNS.find(term[1]), default=None)
    if letter is None or operator not in ("<", "<=", ">", ">="):
        raise NotRealSet
    rest = [("-", term) for term in terms if term is not letter]
    if letter[1] in symbols(("+", bound, *rest)):
        raise NotRealSet
    variables.add(letter[1])
    upper = _ray(("+", *rest, bound) if rest else bound, operator)
    lower = _ray(("+", *rest, ("-", bound)) if rest else ("-", bound), _FLIP[operator])
    return ("cap" if operator in ("<", "<=") else "cup", upper, lower)


_UNKNOWNS = "xyztwun"
"""Letters that an inequality is solved for, the likeliest first."""


def _negative(term: Node) -> Node:
    return term[1] if isinstance(term, tuple) and term[0] == "-" else ("-", term)


def _is_unknown(term: Node) -> bool:
    return isinstance(term, tuple) and term[0] == "v" and term[1] in tuple(_UNKNOWNS)


def _polynomial_or_ray(
    difference: Node, inner: Node, bound: Node, operator: str, name: str
) -> Expression:
    if inner == ("v", name):
        return _ray(bound, operator)
    return _polynomial(difference, operator, name)


def _polynomial(difference: Node, operator: str, name: str) -> Expression:
    """Solve a polynomial inequality of degree one or two."""
    found = coefficients(difference, name)
    if found is None or len(found) not in (2, 3):
        raise NotRealSet
    if len(found) == 2:
        root = -found[0] / found[1]
        return _ray(root, operator if found[1] > 0 else _FLIP[operator])
    c, b, a = found
    discriminant = b * b - 4 * a * c
    if a < 0:
        operator = _FLIP[operator]
    if discriminant < 0:
        return REALS if operator in (">", ">=", "!=") else EMPTY
    span: Node = ("f", "sqrt", (discriminant,))
    low, high = (
        ("/", ("+", -b, ("-", span) if a > 0 else span), 2 * a),
        ("/", ("+", -b, span if a > 0 else ("-", span)), 2 * a),
    )
    points: Expression = ("pieces", (Piece(low, True, low, True), Piece(high, True, high, True)))
    between: Expression = ("pieces", (Piece(low, False, high, False),))
    inside = between if discriminant > 0 else EMPTY
    return {
        "<": inside,
        "<=": ("cup", inside, points),
        ">": ("setminus", REALS, ("cup", inside, points)),
        ">=": ("setminus", REALS, inside),
        "=": points,
        "!=": ("setminus", REALS, points),
    }[operator]


def equal(a: Expression, b: Expression, same: Same) -> bool | None:
    """Whether two sets are equal; `None` where end points cannot be put in order."""
    ends = [*_ends(a), *_ends(b)]
    if len(ends) > 200:
        return None
    if has_symbols(a) or has_symbols(b):
        found = _equal_everywhere(a, b, ends, same) or _equal_pieces(a, b, same)
        if not found and (has(a, "both") or has(b, "both")):
            unions = _with_unions(a), _with_unions(b)  # `x < a, x > b` may say `or`
            return None if _equal_everywhere(*unions, ends, same) else found
        return found
    order = _Order(same)
    for end in ends:
        if not order.add(end):
            return None
    row_a, row_b = order.row(a), order.row(b)
    return row_a == row_b and row_a is not None


def _with_unions(expression: Expression) -> Expression:
    if expression[0] == "pieces":
        return expression
    operator = "cup" if expression[0] == "both" else expression[0]
    return (operator, _with_unions(expression[1]), _with_unions(expression[2]))


def has_symbols(expression: Expression) -> bool:
    """Whether an end of the set is no number."""
    return any(symbols(end) for end in _ends(expression))


def _ends(expression: Expression) -> list[Node]:
    if expression[0] == "pieces":
        return [end for piece in expression[1] for end in (piece.low, piece.high)]
    return _ends(expression[1]) + _ends(expression[2])


MAX_OPEN_ENDS = 5


def _equal_everywhere(
    a: Expression, b: Expression, ends: Sequence[Node], same: Same
) -> bool | None:
    """With symbols in the ends: whether both hold the same numbers, wherever those lie to the ends; `None` if not proven.

    `a` is the reference: each of its intervals is taken to be one, with its lower end below its upper end.
    """
    points: list[Node] = []
    places: dict[Node, int] = {}
    for end in ends:
        if end in places or end in _INFINITIES:
            continue
        found = next((i for i, point in enumerate(points) if same(point, end)), None)
        if found is None:
            found = len(points)
            points.append(end)
        places[end] = found
    if len(points) > MAX_OPEN_ENDS or has(a, "both") or has(b, "both"):
        return None
    spans = [
        (places[piece.low], places[piece.high])
        for piece in _pieces(a)
        if piece.low in places and piece.high in places and piece.low != piece.high
    ]
    for sides in product((-1, 0, 1), repeat=len(points)):
        side = dict(zip(places, (sides[i] for i in places.values())))
        if any(sides[high] > sides[low] or sides[low] == sides[high] == 0 for low, high in spans):
            continue  # a number above the upper end is above the lower one too
        if _holds(a, side) != _holds(b, side):
            return None
    return True


_INFINITIES = (INF, MINUS_INF, ("+", INF))


def _pieces(expression: Expression) -> Iterator[Piece]:
    if expression[0] == "pieces":
        yield from expression[1]
    else:
        yield from _pieces(expression[1])
        yield from _pieces(expression[2])


def _holds(expression: Expression, side: Mapping[Node, int]) -> bool:
    """Whether a number is in the set that lies below (-1), at (0) or above (1) each end."""
    kind = expression[0]
    if kind == "pieces":
        return any(
            side.get(piece.low, 1) >= (0 if piece.low_closed else 1)
            and side.get(piece.high, -1) <= (0 if piece.high_closed else -1)
            for piece in expression[1]
        )
    x, y = _holds(expression[1], side), _holds(expression[2], side)
    return x or y if kind == "cup" else x and not y if kind == "setminus" else x and y


def _equal_pieces(a: Expression, b: Expression, same: Same) -> bool | None:
    """With symbols in the ends: equal when written with the same pieces, in any order."""
    a, b = _joined(a), _joined(b)
    if a[0] != b[0]:
        return False
    if a[0] != "pieces":
        parts = [_equal_pieces(x, y, same) for x, y in zip(a[1:], b[1:])]
        return False if False in parts else None if None in parts else True
    left = list(b[1])
    if len(a[1]) != len(left):
        return False
    for p in a[1]:
        found = [_equal_ends(p, q, same) for q in left]
        if True not in found:
            return None if None in found else False
        del left[found.index(True)]
    return True


def _joined(expression: Expression) -> Expression:
    """Write a union of pieces as pieces, and the part that a lower and an upper bound share as one piece."""
    if expression[0] not in ("cup", "cap", "both"):
        return expression
    first, second = _joined(expression[1]), _joined(expression[2])
    if first[0] == second[0] == "pieces":
        if expression[0] == "cup":
            return ("pieces", (*first[1], *second[1]))
        if len(first[1]) == len(second[1]) == 1:
            for low, high in ((first[1][0], second[1][0]), (second[1][0], first[1][0])):
                if low.high == INF and high.low == MINUS_INF:
                    return ("pieces", (low._replace(high=high.high, high_closed=high.high_closed),))
    return (expression[0], first, second)


def _equal_ends(p: Piece, q: Piece, same: Same) -> bool | None:
    if (p.low_closed, p.high_closed) != (q.low_closed, q.high_closed):
        return False
    found = [same(p.low, q.low), same(p.high, q.high)]
    return False if False in found else None if None in found else True


class _Order:
    """Finite end points in increasing order, equal ones merged."""

    def __init__(self, same: Same) -> None:
        self.same = same
        self.points: list[tuple[Any, Node]] = []
        self.places: dict[Node, int] = {}

    def add(self, end: Node) -> bool:
        if end in (INF, MINUS_INF, ("+", INF)):
            return True
        value = _real_value(end)
        if value is None:
            return False
        for i, (other, node) in enumerate(self.points):
            if value < other:
                self.points.insert(i, (value, end))
                return True
            if not value > other:
                merged = self.same(node, end)
                return bool(merged)
        self.points.append((value, end))
        return True

    def place(self, end: Node) -> int:
        """The index of the point atom of `end` (odd), -1 and beyond for the infinities."""
        if end == MINUS_INF:
            return -1
        if end == INF:
            return 2 * len(self.points) + 1
        value = _real_value(end)
        for i, (other, _) in enumerate(self.points):
            if value is not None and not value < other and not value > other:
                return 2 * i + 1
        return -1

    def row(self, expression: Expression) -> list[bool] | None:
        size = 2 * len(self.points) + 1
        if expression[0] == "pieces":
            result = [False] * size
            for piece in expression[1]:
                low, high = self.place(piece.low), self.place(piece.high)
                if low > high:
                    return None  # an interval written backwards is none
                start = low if piece.low_closed else low + 1
                stop = high if piece.high_closed else high - 1
                for i in range(max(0, start), min(size - 1, stop) + 1):
                    result[i] = True
            return result
        x, y = self.row(expression[1]), self.row(expression[2])
        if x is None or y is None:
            return None
        if expression[0] == "cup":
            return [p or q for p, q in zip(x, y)]
        if expression[0] == "setminus":
            return [p and not q for p, q in zip(x, y)]
        both = [p and q for p, q in zip(x, y)]
        if expression[0] == "both" and not any(both):
            return [p or q for p, q in zip(x, y)]  # "x < 1, x > 3": a list of what is allowed
        return both


def _real_value(node: Node) -> Any:
    from stepgym.envs.maths import balls, numeric  # loads python-flint

    try:
        value = exact(node)
        with balls.working_precision(128):
            ball = balls.to_ball(Fraction(value))
    except NotRational:
        ball = numeric.complex_value(node)
    if ball is None or not ball.imag.contains(0):
        return None
    return ball.real

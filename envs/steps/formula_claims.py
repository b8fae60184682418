"""Decides the relations of formulas: closed equalities and inequalities, identities, congruences, function values,
derivatives, integrals and matrices. Derivations of one equation from another are decided in `solutions.py`.

INCORRECT needs a proof that no reading of the formula makes it true. A chain whose sides depend on a letter is an
identity only if the letter is free: no equation about it was stated. Otherwise sides must differ by a constant, so
that no value of the letters makes them equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

from stepgym.envs.maths import matrices
from stepgym.envs.maths.effort import TooMuchWork
from stepgym.envs.maths.exact import NotRational, exact
from stepgym.envs.maths.tree import Node, has, substitute, symbols, walk
from stepgym.envs.steps.arithmetic import shown
from stepgym.envs.steps.claims import Claim, Kind
from stepgym.envs.steps.formulas import APPLIED, Relation, Side
from stepgym.envs.steps.functions import antiderivative_holds, called, note_definition, worked_out
from stepgym.envs.steps.readings import may_hold_in_base, may_hold_modulo
from stepgym.envs.steps.setting import Setting, denied, numbers_denied, tried
from stepgym.envs.steps.values import equal_sides, is_closed, less, num_operations, number, same
from stepgym.envs.types import Status

_POINTS = (Fraction(7, 3), Fraction(19, 5), Fraction(31, 7), Fraction(-17, 11), Fraction(41, 13))
_SAMPLES: tuple[tuple[Node, ...], ...] = tuple(
    tuple(("/", a, b) if b > 1 else a for a, b in sample)
    for sample in (
        (),
        (
            (1, 3),
            (5, 7),
            (0, 1),
            (1, 1),
            (2, 1),
            (3, 1),
            (7, 2),
            (4, 1),
            (5, 1),
            (-2, 5),
            (-2, 1),
            (-3, 1),
            (-7, 2),
            (-5, 1),
        ),
        ((1, 3), (2, 1), (4, 1), (5, 1), (-2, 5), (-2, 1), (-3, 1)),
        ((1, 3), (2, 1), (5, 1), (-2, 1)),
    )
)
"""Values for each of one, two or three letters."""
MAX_LETTERS = 3
_NEAR = Fraction(1, 10**15)
_OPEN_KINDS = (
    "call",
    "text",
    "dots",
    "list",
    "set",
    "group",
    "cases",
    "+-",
    "-+",
    "mat",
    "unit",
    "lim",
    "int",
    "sum",
    "prod",
    "seq",
    "mod",
    "deg",
    "%",
)


def formula_claims(step: str, relations: Sequence[Relation], setting: Setting) -> Iterator[Claim]:
    """Yield the claims of a step's formulas; note function definitions and letters that are bound."""
    for relation in relations:
        try:
            claims = list(_claims(step, relation, setting))
        except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
            claims = []
        for claim in claims:
            yield excused(step, claim, setting)
        note(relation, setting)


def plain_claims(step: str, relations: Sequence[Relation], setting: Setting) -> Iterator[Claim]:
    """Yield the claims of formulas that hold numbers only, before any excuse."""
    for relation in relations:
        try:
            yield from list(_claims(step, relation, setting))
        except (TooMuchWork, NotRational, ArithmeticError, RecursionError):
            continue


def _claims(step: str, relation: Relation, setting: Setting) -> Iterator[Claim]:
    sides = [
        side._replace(node=worked_out(side.node, setting.functions)) for side in relation.sides
    ]
    if "===" in relation.operators:
        yield from _congruences(step, relation)
        return
    before: tuple[int, Side] | None = None  # the last closed side of a chain of equal ones
    for i, operator in enumerate(relation.operators):
        left, right = sides[i], sides[i + 1]
        if is_closed(left.node):
            before = (i, left)
        if left.node is None or right.node is None:
            if operator not in ("=", "~"):
                before = None
            continue
        if operator in ("=", "~") and is_closed(right.node):
            if before is not None and before[0] == i:
                yield from _equality(step, before[1], right, relation, i, setting)
            elif called(relation.sides[i].node) is None:
                continue
        elif operator in ("<", ">", "<=", ">=") and is_closed(left.node) and is_closed(right.node):
            yield from _inequality(step, left, right, operator)
        elif operator == "=" and has(left.node, "mat") and has(right.node, "mat"):
            yield from _matrices(step, left, right)
        elif operator == "->" and has(left.node, "mat") and has(right.node, "mat"):
            yield from _row_operations(step, left, right)
        elif operator == "|" and is_closed(left.node) and is_closed(right.node):
            yield from _divides(step, left, right)
        elif operator == "=":
            yield from _open(step, relation, sides, i, setting)
        if operator not in ("=", "~"):
            before = None


def _equality(
    step: str, left: Side, right: Side, relation: Relation, at: int, setting: Setting
) -> Iterator[Claim]:
    kind = Kind.ARITHMETIC
    written = relation.sides[at].node
    if written is not None and has(written, "call"):
        kind = Kind.FUNCTION
    elif written is not None and has(written, "int"):
        kind = Kind.INTEGRAL
    elif not (num_operations(left.node or 0) or num_operations(right.node or 0)):
        return
    found = equal_sides(left, right, approximate=relation.operators[at] == "~", given=setting.given)
    if found is None and kind is Kind.FUNCTION and number(left.node or 0) is not None:
        x, y = number(left.node or 0), number(right.node or 0)
        found = False if x is not None and y is not None and abs(x - y) * 10 > abs(y) + 1 else None
    value = number(left.node or 0)
    reason = f"{left.text} is {shown(value) if value is not None else 'another number'}, not {right.text}"
    yield _claim(step, kind, left, right, found, reason)


def _inequality(step: str, left: Side, right: Side, operator: str) -> Iterator[Claim]:
    assert left.node is not None and right.node is not None
    if has(left.node, "unit", "%", "deg") or has(right.node, "unit", "%", "deg"):
        return
    smaller = less(left.node, right.node)
    if smaller is None:
        equal = same(left.node, right.node)
        found = None if equal is not True else operator in ("<=", ">=")
    else:
        found = smaller == (operator in ("<", "<="))
    reason = f"{left.text} is not {operator} {right.text}"
    yield _claim(step, Kind.INEQUALITY, left, right, found, reason)


def _congruences(step: str, relation: Relation) -> Iterator[Claim]:
    modulus = relation.modulus
    if not isinstance(modulus, int) or modulus < 2:
        return
    for (left, right), operator in zip(pairwise(relation.sides), relation.operators):
        if operator not in ("===", "=") or not (is_closed(left.node) and is_closed(right.node)):
            continue
        assert left.node is not None and right.node is not None
        remainders = [_residue(side.node, modulus) for side in (left, right)]
        if None in remainders:
            continue
        found = remainders[0] == remainders[1]
        reason = f"{left.text} is {remainders[0]} modulo {modulus}, not {remainders[1]}"
        yield _claim(step, Kind.CONGRUENCE, left, right, found, reason)


def _residue(node: Node | None, modulus: int) -> int | None:
    """Return a closed number modulo another one; a fraction by the inverse of its denominator."""
    try:
        value = Fraction(
            exact(("f", "mod", (node, modulus)))
        )  # a power may be too large for `exact(node)`
        if value.denominator > 1:
            value = Fraction(exact(node or 0))
        return value.numerator * pow(value.denominator, -1, modulus) % modulus
    except (NotRational, RecursionError, ValueError):  # no such power, or no inverse
        return None


def _divides(step: str, left: Side, right: Side) -> Iterator[Claim]:
    a, b = number(left.node or 0), number(right.node or 0)
    if not a or b is None or a.denominator != 1 or b.denominator != 1:
        return
    reason = f"{left.text} does not divide {right.text}"
    yield _claim(step, Kind.CONGRUENCE, left, right, b % a == 0, reason)


def _matrices(step: str, left: Side, right: Side) -> Iterator[Claim]:
    rows = [matrices.rows_of(matrices.determinants(side.node)) for side in (left, right)]
    if rows[0] is None or rows[1] is None or "{array}{c}" in left.text:
        return  # a binomial coefficient may be written as a column
    if [len(row) for row in rows[0]] != [len(row) for row in rows[1]]:
        return
    pairs = [(x, y) for a, b in zip(*rows) for x, y in zip(a, b)]
    if any(symbols(x) or symbols(y) for x, y in pairs):
        return
    entries = [same(x, y) for x, y in pairs]
    found = False if False in entries else (None if None in entries else True)
    wrong = next((i for i, entry in enumerate(entries) if entry is False), 0)
    width = len(rows[0][0])
    value = number(pairs[wrong][0])
    reason = f"the entry in row {wrong // width + 1}, column {wrong % width + 1} is {'another number' if value is None else shown(value)}"
    yield _claim(step, Kind.MATRIX, left, right, found, reason)


def _row_operations(step: str, left: Side, right: Side) -> Iterator[Claim]:
    """Row operations keep the reduced row echelon form."""
    reduced = [_reduced(side.node) for side in (left, right)]
    if None in reduced:
        return
    if [len(row) for row in reduced[0] or []] != [len(row) for row in reduced[1] or []]:
        return
    reason = "the two matrices have different reduced row echelon forms"
    yield _claim(step, Kind.MATRIX, left, right, reduced[0] == reduced[1], reason)


def _reduced(node: Node | None) -> list[list[Fraction]] | None:
    rows = matrices.rows_of(node) if isinstance(node, tuple) and node[0] == "mat" else None
    if rows is None or len({len(row) for row in rows}) != 1 or len(rows) > 12:
        return None
    try:
        table = [[Fraction(exact(entry)) for entry in row] for row in rows]
    except (NotRational, RecursionError):
        return None
    top = 0
    for column in range(len(table[0])):
        pivot = next((i for i in range(top, len(table)) if table[i][column]), None)
        if pivot is None:
            continue
        table[top], table[pivot] = table[pivot], table[top]
        table[top] = [entry / table[top][column] for entry in table[top]]
        for i, row in enumerate(table):
            if i != top and row[column]:
                table[i] = [x - row[column] * y for x, y in zip(row, table[top])]
        top += 1
        if top == len(table):
            break
    return table


def _open(
    step: str, relation: Relation, sides: Sequence[Side], at: int, setting: Setting
) -> Iterator[Claim]:
    """Decide a pair of neighbours of which at least one depends on a letter."""
    left, right = sides[at], sides[at + 1]
    assert left.node is not None and right.node is not None
    written = relation.sides[at].node
    if isinstance(left.node, tuple) and left.node[0] == "int" and left.node[2] is None:
        found = antiderivative_holds(left.node, right.node)
        reason = f"the derivative of {right.text} is not the integrand"
        yield _claim(step, Kind.INTEGRAL, left, right, found, reason)
        return
    if has(left.node, *_OPEN_KINDS) or has(right.node, *_OPEN_KINDS):
        return
    if _is_letter(left.node) or _is_letter(right.node):
        return
    names = symbols(left.node), symbols(right.node)
    if not (names[0] or names[1]):
        return
    equal = same(left.node, right.node)
    operator = left.text.startswith((r"\frac{d}{d", r"\dfrac{d}{d"))
    is_derivative = operator or (written is not None and _is_derivative_of_letter(written))
    if equal and names[0] and names[1]:
        kind = Kind.DERIVATIVE if is_derivative else Kind.IDENTITY
        yield _claim(step, kind, left, right, True, "")
    if equal is not False:
        return
    if is_derivative:
        if names[1] == names[0]:
            reason = f"{right.text} is not the derivative"
            yield _claim(step, Kind.DERIVATIVE, left, right, False, reason)
        return
    reason = "the sides differ by the same number for all values of the letters"
    comparable = names[0] == names[1] or not (names[0] and names[1])
    if comparable and APPLIED.search(left.text + right.text):
        return
    conditional = _is_conditional(left.node) or _is_conditional(right.node)
    if conditional and not _differ_everywhere(left.node, right.node, names[0] | names[1]):
        return
    if comparable and _differ_by_constant(left.node, right.node, names[0] | names[1]):
        yield _claim(step, Kind.IDENTITY, left, right, False, reason)
    elif _is_rewriting(relation, sides, at, setting):
        reason = f"the sides differ for most values of {min(names[0] | names[1])}"
        yield _claim(step, Kind.IDENTITY, left, right, False, reason)


def _is_letter(node: Node) -> bool:
    return isinstance(node, tuple) and node[0] == "v"


def _is_derivative_of_letter(node: Node) -> bool:
    head = called(node)
    return head is not None and "'" in head[0] and _is_letter(head[1])


def _is_conditional(node: Node) -> bool:
    """Say whether the form of an expression depends on conditions that words may state: roots, floors, `(-1)^n`."""
    return any(
        isinstance(part, tuple) and (part[0] == "f" or (part[0] == "^" and not _is_whole(part[2])))
        for part in walk(node)
    )


def _is_whole(node: Node) -> bool:
    value = None if symbols(node) else number(node)
    return value is not None and value.denominator == 1


def _differ_everywhere(a: Node, b: Node, names: set[str]) -> bool:
    """Say whether two forms differ for numbers of every kind: positive, negative, below 1, whole, in each quadrant."""
    if len(names) > MAX_LETTERS:
        return False
    num_compared = 0
    for numbers in product(_SAMPLES[len(names)], repeat=len(names)):
        point: dict[str, Node] = dict(zip(sorted(names), numbers))
        x, y = (number(substitute(node, point)) for node in (a, b))
        if x is None and y is None:
            continue
        if x is not None and y is not None and abs(x - y) <= _NEAR * (1 + abs(x)):
            return False
        num_compared += x is not None and y is not None
    return num_compared > 2


def _differ_by_constant(a: Node, b: Node, names: set[str]) -> bool:
    found = set()
    for shift in range(4):
        point = {name: _POINTS[(i + shift) % len(_POINTS)] for i, name in enumerate(sorted(names))}
        try:
            found.add(exact(a, point) - exact(b, point))
        except (NotRational, RecursionError):
            return False
        if len(found) > 1:
            return False
    return found != {0}


def _is_rewriting(relation: Relation, sides: Sequence[Side], at: int, setting: Setting) -> bool:
    """Say whether a chain rewrites one expression in free letters, which no equation was stated about.

    That is so if the chain has three sides besides a name in front (`z = ...`), or if the problem asks to rewrite its
    first side. In several letters, all other neighbours must be equal: a figure may tie the letters to each other.
    """
    body = sides[1:] if sides[0].node is not None and _is_letter(sides[0].node) else sides
    nodes = [side.node for side in body if side.node is not None and symbols(side.node)]
    letters = set[str]().union(*map(symbols, nodes))
    named = at < len(sides) - len(body)
    if len(nodes) != len(body) or letters & setting.bound or named:
        return False
    if set(relation.operators) != {"="} or not any(letters):
        return False
    lower = all(letter[0].islower() for letter in letters)  # capitals side by side name a segment
    if len(body) == 2:
        return (lower or len(letters) == 1) and setting.asks_to_rewrite(body[0].text)
    if len(letters) == 1:
        return True
    others = [pair for pair in pairwise(nodes) if pair != (sides[at].node, sides[at + 1].node)]
    alike = symbols(sides[at].node or 0) == symbols(sides[at + 1].node or 0)
    return lower and alike and at > len(sides) - len(body) and all(same(a, b) for a, b in others)


def excused(step: str, claim: Claim, setting: Setting, *, prose: bool = False) -> Claim:
    """Return a claim as UNDECIDED if it is false, but the words around it may mean something else than that it holds.

    In prose, fewer words count: `so she should pay 3 * 4 = 13` states what is.
    """
    if claim.status is not Status.INCORRECT:
        return claim
    numbers = claim.kind is Kind.ARITHMETIC
    otherwise = setting.defined or setting.quotes(claim.text)
    if setting.modular and claim.kind in (Kind.ARITHMETIC, Kind.IDENTITY):
        otherwise |= not numbers or not setting.moduli_known
        otherwise |= not numbers or may_hold_modulo(claim.text, setting.moduli)
    if setting.based:
        otherwise |= not numbers or may_hold_in_base(claim.text)
    if claim.kind is Kind.IDENTITY and tried(step, claim.start):
        otherwise = True
    if numbers and not prose:
        otherwise |= numbers_denied(step, claim.start, claim.end)
    elif denied(step, claim.start, claim.end, prose=prose):
        otherwise = True
    return replace(claim, status=Status.UNDECIDED, reason="") if otherwise else claim


def note(relation: Relation, setting: Setting) -> None:
    """Note a definition of a function, or the letters that an equation binds."""
    if note_definition(relation, setting):
        return
    if not relation.operators:
        return
    nodes = [side.node for side in relation.sides]
    letters = set[str]().union(*(symbols(node) for node in nodes if node is not None))
    known = [node for node in nodes if node is not None]
    open_sides = len(known) == len(nodes) and all(symbols(node) for node in known)
    if open_sides and all(same(a, b) for a, b in pairwise(known)):
        return
    setting.bound |= letters


def _claim(
    step: str, kind: Kind, left: Side, right: Side, holds: bool | None, reason: str
) -> Claim:
    status = {True: Status.CORRECT, False: Status.INCORRECT, None: Status.UNDECIDED}[holds]
    return Claim(
        kind=kind,
        start=left.start,
        end=right.end,
        text=step[left.start : right.end],
        status=status,
        reason=reason if holds is False else "",
    )

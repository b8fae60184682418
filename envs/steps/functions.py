"""Works out what a side leaves to be done: values of functions that were defined, derivatives, integrals.

`f(3)` becomes a number if the problem or an earlier step defines `f(x)` once; `f'(x)` and `d/dx` are differentiated; a
definite integral of a polynomial is integrated. What cannot be worked out stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from stepgym.envs.maths import matrices
from stepgym.envs.maths.derivatives import NoDerivative, derivative
from stepgym.envs.maths.effort import TooMuchWork, num_nodes
from stepgym.envs.maths.exact import NotRational
from stepgym.envs.maths.polynomials import coefficients
from stepgym.envs.maths.tree import Node, has, substitute, symbols, walk
from stepgym.envs.steps.formulas import Relation
from stepgym.envs.steps.setting import Setting
from stepgym.envs.steps.values import same

Functions = Mapping[str, tuple[str, Node] | None]
_CONDITION = re.compile(r"\b(?:such that|which|satisf\w*|if|when|find|solve|for)\b", re.I)
MAX_NODES = 2_000


def note_definition(relation: Relation, setting: Setting) -> bool:
    """Note `f(x) = ...`; return whether the relation is headed by a function of a letter."""
    head = called(relation.sides[0].node)
    for side in relation.sides:
        for part in walk(side.node) if side.node is not None else ():
            inner = called(part)
            if inner is None or part is relation.sides[0].node or not symbols(inner[1]):
                continue
            of_another = head is not None and head[0] != inner[0] and inner[1] == head[1]
            if not of_another:  # a functional equation, not `g(x) = f(x) + 1`
                setting.functions[inner[0].rstrip("'")] = None
    if head is None or len(relation.sides) < 2 or relation.operators[0] != "=":
        return False
    name, argument = head
    if not (isinstance(argument, tuple) and argument[0] == "v"):
        return False
    body = relation.sides[1].node
    plain = (
        body is not None
        and body != argument
        and symbols(body) == {argument[1]}
        and not has(body, "call", "text", "dots", "cases", "list", "+-")
        and not _CONDITION.search(relation.lead[-30:])
    )
    if name not in setting.functions:
        setting.functions[name] = (argument[1], body) if plain and body is not None else None
    else:
        known = setting.functions[name]
        again = (
            known is not None and body is not None and substitute(known[1], {known[0]: argument})
        )
        if not again or body is None or same(body, again) is not True:
            setting.functions[name] = None
    return True


def called(node: Any) -> tuple[str, Node] | None:
    """Return the name and the argument of `f(x)`, also if it was read as a product: `p(2)`."""
    if not isinstance(node, tuple):
        return None
    if node[0] == "call" and len(node[2]) == 1:
        return str(node[1]), node[2][0]
    return None


def worked_out(node: Any, functions: Functions) -> Any:
    """Return a side with function values, derivatives, integrals and short sums carried out."""
    if not isinstance(node, tuple) or not has(node, "call", "int", "mat", "sum", "prod"):
        return node
    try:
        found = matrices.determinants(_worked_out(_written_out(node), functions))
        num_nodes(found, MAX_NODES)
    except (TooMuchWork, RecursionError, NoDerivative, NotRational):
        return node
    return found


MAX_TERMS = 60


def _written_out(node: Any) -> Any:
    """Write out sums and products between whole numbers; a sum with more terms after it may hold them: `\\sum k + 1`."""
    if not isinstance(node, tuple) or node[0] in ("dec", "k", "v", "unit", "text", "base"):
        return node
    if node[0] == "+" and any(has(term, "sum", "prod") for term in node[1:-1]):
        return node
    if node[0] in ("sum", "prod"):
        _, letter, low, high, body = node
        is_short = type(low) is int and type(high) is int and 0 < high - low < MAX_TERMS
        if not is_short or symbols(body) != {letter} or has(body, "sum", "prod"):
            return node
        if node[0] == "prod" and _may_end_sooner(body):
            return node
        terms = (substitute(body, {letter: k}) for k in range(low, high + 1))
        return ("+" if node[0] == "sum" else "*", *terms)
    return tuple(_written_out(part) for part in node)


def _may_end_sooner(body: Any) -> bool:
    """Whether a factor of a product's body has no letter, and so may stand after the product: `\\prod k \\cdot 2`."""
    if not isinstance(body, tuple) or body[0] not in ("*", "/"):
        return False
    numerator, *rest = body[1:]
    return _may_end_sooner(numerator) or not all(map(symbols, body[1:] if body[0] == "*" else rest))


def _worked_out(node: Any, functions: Functions) -> Any:
    if not isinstance(node, tuple) or node[0] in ("dec", "k", "v", "unit", "text", "base"):
        return node
    if node[0] == "call" and len(node[2]) == 1:
        argument = _worked_out(node[2][0], functions)
        body = _body(str(node[1]), functions)
        if body is None:
            return ("call", node[1], (argument,))
        letter, value = body
        return substitute(value, {letter: argument})
    if node[0] == "int" and node[2] is not None and node[3] is not None:
        return _integral(node, functions)
    return tuple(_worked_out(part, functions) for part in node)


def _body(name: str, functions: Functions) -> tuple[str, Node] | None:
    order = name.count("'")
    found = functions.get(name.rstrip("'"))
    if found is None or order == 0 or order > 3:
        return found if order == 0 else None
    letter, body = found
    for _ in range(order):
        body = derivative(body, letter)
        num_nodes(body, MAX_NODES)
    return letter, body


def _integral(node: Any, functions: Functions) -> Any:
    """Return a definite integral of a polynomial as the difference of two values."""
    name, low, high = node[1], node[2], node[3]
    terms = coefficients(_worked_out(node[4], functions), name)
    if terms is None or (has(low, "k") and ("k", "inf") in (low, high)):
        return node
    antiderivative: Node = (
        "+",
        0,
        *(
            ("*", Fraction(c) / (i + 1), ("^", ("v", name), i + 1))
            for i, c in enumerate(terms)
            if c
        ),
    )
    ends = [substitute(antiderivative, {name: bound}) for bound in (high, low)]
    return ("+", ends[0], ("-", ends[1]))


def antiderivative_holds(integral: Any, claimed: Node) -> bool | None:
    """Say whether the derivative of what an indefinite integral is set equal to is the integrand."""
    name, integrand = integral[1], integral[4]
    if name not in symbols(claimed) or has(claimed, "int", "call", "text", "+-", "group", "list"):
        return None
    if has(claimed, "f") and has(claimed, "unit"):
        return None
    try:
        return same(derivative(claimed, name), integrand)
    except (NoDerivative, TooMuchWork, RecursionError):
        return None

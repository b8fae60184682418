"""Mutants: small changes to a function, each of which makes another function of it.

Operators: comparisons, arithmetic, boolean operators, constants one up or down, `min` and `max`, a condition that is
always true. A mutant that agrees with the original on all inputs tried is taken for equivalent and left out.

The functions here are this package's own, their loops are bounded, and nothing that a model wrote is run.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from typing import Any

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Mod: ast.FloorDiv,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.In: ast.NotIn,
}
NAMES = {"min": "max", "max": "min", "sum": "max"}


def mutants(source: str) -> list[str]:
    """Return every function that one change makes of a function, in the order of the changes."""
    tree = ast.parse(source)
    original = ast.unparse(tree)
    found: dict[str, None] = {}
    for node in list(ast.walk(tree)):
        for variant in range(2):
            before = {k: v[:] if isinstance(v, list) else v for k, v in vars(node).items()}
            changed = _change(node, variant)
            if changed:
                found[ast.unparse(tree)] = None
            node.__dict__.update(before)
            if not changed:
                break
    found.pop(original, None)
    return list(found)


def _change(node: ast.AST, variant: int) -> bool:
    """Change a node in place; say whether there is a change of that number for it."""
    if isinstance(node, ast.Constant) and type(node.value) is int:
        node.value += 1 if variant == 0 else -1
        return True
    if variant:
        return False
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.Name) and node.id in NAMES:
        node.id = NAMES[node.id]
    elif isinstance(node, ast.If | ast.IfExp):
        node.test = ast.Constant(True)
    else:
        return False
    return True


def outcomes(source: str, entry_point: str, inputs: Sequence[tuple[Any, ...]]) -> Iterator[str]:
    """Yield what a function of this package returns for each input, or the type of what it raises.

    The functions do not change their arguments.
    """
    names: dict[str, Any] = {}
    exec(compile(source, "<task>", "exec"), names)
    function: Callable[..., Any] = names[entry_point]
    for args in inputs:
        try:
            yield repr(function(*args))
        except Exception as error:  # noqa: BLE001 - a mutant may raise anything
            yield type(error).__name__


def differing(
    mutant: str, entry_point: str, inputs: Sequence[tuple[Any, ...]], expected: Sequence[str]
) -> int | None:
    """Return the index of the first input on which a mutant differs, `None` if it is taken for equivalent."""
    found = outcomes(mutant, entry_point, inputs)
    return next((i for i, pair in enumerate(zip(found, expected)) if not equal(*pair)), None)


def equal(a: str, b: str) -> bool:
    """Return whether two outcomes are equal as Python compares values: `True` is `1`, so no assert tells them apart."""
    if a == b or not ("True" in a + b or "False" in a + b):
        return a == b
    try:
        return bool(ast.literal_eval(a) == ast.literal_eval(b))
    except ValueError:  # the name of an exception
        return False

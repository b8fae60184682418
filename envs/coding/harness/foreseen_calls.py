"""Which calls of the candidate a run of tests makes for certain, so that they can be sent before they are made."""

import ast
import functools

from stepgym.envs.coding.harness.syntax import parsed


@functools.lru_cache(maxsize=512)
def certain_calls(source, function, name, line=None):
    """The calls of `name` that a run of the tests begins with for certain, as arguments and named arguments, in order.

    They are in the asserts that the body of a function (the undecorated one that begins at `line`) or of the module
    opens with, have literal arguments, and nothing decides whether they are evaluated.
    """
    body = parsed(source).body
    if function is not None:
        named = [
            n
            for n in body
            if isinstance(n, ast.FunctionDef) and n.name == function and n.lineno == line
        ]
        body = named[0].body if named and not named[0].decorator_list else []
    found = []
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom, ast.Pass)) or is_constant(node):
            continue
        calls = calls_in(node.test, name) if isinstance(node, ast.Assert) else None
        if calls is None:
            break
        found.extend(calls)
    return found


def is_constant(node):
    """A docstring, or another statement that is nothing but a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def calls_in(node, name):
    """The calls of `name` in an expression, in the order of their evaluation; `None` where that is not certain."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name:
        try:
            args = [ast.literal_eval(arg) for arg in node.args]
            named = {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.keywords}
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
        return None if None in named else [(args, named)]
    if not any(isinstance(inner, ast.Name) and inner.id == name for inner in ast.walk(node)):
        return []
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.BinOp):
        parts = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp):
        parts = [node.operand]
    elif isinstance(node, ast.Call):
        parts = [node.func, *node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, (ast.Tuple, ast.List)):
        parts = node.elts
    elif isinstance(node, ast.Subscript):
        parts = [node.value, node.slice]
    elif isinstance(node, ast.Attribute):
        parts = [node.value]
    else:
        return None
    found = [calls_in(part, name) for part in parts]
    return None if None in found else [call for calls in found for call in calls]

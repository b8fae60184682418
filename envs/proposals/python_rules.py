"""Which Python a proposed program may use, so that its result follows from its input alone.

An allow-list of modules, builtins and syntax. It leaves out clocks, random numbers, files, addresses (`id`, `hash`), names
with underscores at both ends, and modules that reach other modules. It is no security boundary: programs run in a sandbox.
Text formatting can still show an object's address; running the program several times finds that
(`stepgym.envs.proposals.programs`).
"""

from __future__ import annotations

import ast
import importlib
from types import ModuleType

MODULES = frozenset(
    {"bisect", "collections", "fractions", "functools", "heapq", "itertools", "math", "re"}
)
BUILTINS = frozenset(
    "abs all any bin bool chr dict divmod enumerate filter float frozenset int isinstance iter len list map max min next"
    " oct ord pow range reversed round set sorted str sum tuple zip"
    " ArithmeticError Exception IndexError KeyError StopIteration TypeError ValueError ZeroDivisionError".split()
)
ORDERLESS = frozenset({"len", "sorted", "min", "max", "sum", "any", "all"})
REFUSED_SYNTAX = (
    ast.ClassDef,
    ast.AsyncFunctionDef,
    ast.AsyncFor,
    ast.AsyncWith,
    ast.Await,
    ast.With,
    ast.Global,
)


def refusal(tree: ast.Module) -> str:
    """Return why a program is not allowed, or an empty text."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, REFUSED_SYNTAX):
            return f"{type(node).__name__} is not allowed"
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name not in MODULES:
                    return _module_refused(alias.name)
                modules.add(alias.asname or alias.name)
        if isinstance(node, ast.ImportFrom):
            name = node.module or "."
            if name not in MODULES or node.level:
                return _module_refused(name)
            for alias in node.names:
                if alias.name == "*" or not _is_plain(name, alias.name):
                    return f"`from {name} import {alias.name}` is not allowed"
    return _names_refused(tree, modules)


def order_refusal(tree: ast.Module) -> str:
    """Return why a result may depend on the order of a set, or an empty text.

    The order of texts in a set differs from process to process. So a set may only be made where its order does not matter:
    as the argument of `len`, `sorted`, `min`, `max`, `sum`, `any` or `all` without a key, or to the right of `in`. Views of
    dictionaries, from which operators make sets, may only be looped over or be an argument.
    """
    parents = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        parent = parents.get(id(node))
        if isinstance(node, ast.Name) and node.id in ("set", "frozenset"):
            if not isinstance(parent, ast.Call) or parent.func is not node:
                return f"{node.id!r} may only be called"
        elif _makes_set(node) and not _is_orderless(node, parent):
            return "the order of a set may decide the result; use sorted(...)"
        elif isinstance(node, ast.Attribute) and node.attr in ("keys", "items"):
            outer = parents.get(id(parent))
            loops = isinstance(outer, ast.For | ast.comprehension) and outer.iter is parent
            if not isinstance(parent, ast.Call) or not (loops or isinstance(outer, ast.Call)):
                return f"{node.attr}() may only be looped over or be an argument"
    return ""


def _makes_set(node: ast.AST) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return isinstance(node, ast.Set | ast.SetComp) or (
        called and node.func.id in ("set", "frozenset")  # type: ignore[attr-defined]
    )


def _is_orderless(node: ast.AST, parent: ast.AST | None) -> bool:
    if isinstance(parent, ast.Compare):
        return node is not parent.left and all(
            isinstance(o, ast.In | ast.NotIn) for o in parent.ops
        )
    return (
        isinstance(parent, ast.Call)
        and isinstance(parent.func, ast.Name)
        and parent.func.id in ORDERLESS
        and not parent.keywords
    )


def _module_refused(name: str) -> str:
    return f"the module {name!r} is not allowed; allowed: {', '.join(sorted(MODULES))}"


def _names_refused(tree: ast.Module, modules: set[str]) -> str:
    known = BUILTINS | _defined(tree)
    of_modules = {
        id(node.value): node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            return f"the attribute {node.attr!r} is not allowed"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "__" in node.value:
            return "text with two underscores is not allowed"
        if not isinstance(node, ast.Name):
            continue
        if node.id in modules:
            within = of_modules.get(id(node))
            if within is None or not _is_plain(_imported_as(tree, node.id), within.attr):
                return f"the module {node.id!r} may only be used for its functions"
        elif node.id.startswith("__") or (isinstance(node.ctx, ast.Load) and node.id not in known):
            return f"the name {node.id!r} is not allowed"
    return ""


def _defined(tree: ast.Module) -> set[str]:
    """Return the names that a program gives a meaning itself, without modules."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
    return found


def _imported_as(tree: ast.Module, name: str) -> str:
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    return next(a.name for node in imports for a in node.names if (a.asname or a.name) == name)


def _is_plain(module: str, name: str) -> bool:
    """Return whether a module has something public of that name that is no module."""
    found = getattr(importlib.import_module(module), name, None)
    return not name.startswith("_") and found is not None and not isinstance(found, ModuleType)

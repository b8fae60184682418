"""Changed code for `scripts/mutants`: probes before the drawn statements, and the functions that a mutant changes."""

from __future__ import annotations

import ast
import gc
import types
from pathlib import Path


def instrumented(source: str, places: dict[int, tuple[int, int]], flags: Path) -> str:
    """`source` with a probe before the statement at each place; none for a statement outside functions."""
    tree = ast.parse(source)
    for number, place in places.items():
        block, inside = tree.body, False
        found = None
        while block:
            held = [
                s for s in block if _start(s) <= place < (s.end_lineno or 0, s.end_col_offset or 0)
            ]
            if not held:
                break
            if inside:
                found = (block, held[0])
            inside = inside or isinstance(held[0], ast.FunctionDef | ast.AsyncFunctionDef)
            block = next((b for b in _blocks(held[0]) if _start(b[0]) <= place <= _end(b[-1])), [])
        if found is not None:
            found[0].insert(
                found[0].index(found[1]), ast.parse(f"_mutant_flags[{number}] = 1").body[0]
            )
    opened = f"import mmap\nwith open({str(flags)!r}, 'r+b') as file:\n    _mutant_flags = mmap.mmap(file.fileno(), 0)"
    at = sum(
        isinstance(s, ast.Expr) or getattr(s, "module", "") == "__future__" for s in tree.body[:2]
    )
    tree.body[at:at] = ast.parse(opened).body
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _start(node: ast.stmt) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _end(node: ast.stmt) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The blocks of statements that a statement holds."""
    holders = [statement, *getattr(statement, "handlers", []), *getattr(statement, "cases", [])]
    blocks = [getattr(h, name, None) for h in holders for name in ("body", "orelse", "finalbody")]
    return [block for block in blocks if block]


def changed_functions(
    before: str, after: str, path: str
) -> dict[tuple[str, int], types.CodeType] | None:
    """The code of the outermost functions that differ, by name and line; `None` if code outside functions differs."""
    old, new = compile(before, path, "exec"), compile(after, path, "exec")
    found: dict[tuple[str, int], types.CodeType] = {}
    return found if _compare(old, new, found) else None


def _compare(
    old: types.CodeType, new: types.CodeType, found: dict[tuple[str, int], types.CodeType]
) -> bool:
    """Whether two bodies of a module or class differ only in functions."""
    inner = [c for c in old.co_consts if isinstance(c, types.CodeType)]
    changed = [c for c in new.co_consts if isinstance(c, types.CodeType)]
    outside = [
        [repr(c) for c in code.co_consts if not isinstance(c, types.CodeType)]
        for code in (old, new)
    ]
    if len(inner) != len(changed) or outside[0] != outside[1] or old.co_code != new.co_code:
        return False
    for a, b in zip(inner, changed):
        if a == b:
            continue
        is_body = (
            not a.co_flags & 0x2
        )  # CO_NEWLOCALS: a function, a lambda or a comprehension; not the body of a class
        if is_body:
            if not _compare(a, b, found):
                return False
        elif a.co_name.startswith("<") and a.co_name != "<lambda>":
            return False  # a comprehension outside functions
        else:
            found[a.co_qualname, a.co_firstlineno] = b
    return True


def swap(before: str, after: str, path: str) -> None:
    """Replace the code of the functions that a mutant changed, and forget cached results."""
    changed = changed_functions(before, after, path)
    assert changed is not None
    for value in gc.get_objects():
        if isinstance(value, types.FunctionType) and value.__code__.co_filename.endswith(
            f"/{path}"
        ):
            code = changed.get((value.__code__.co_qualname, value.__code__.co_firstlineno))
            if code is not None:
                value.__code__ = code
        elif hasattr(type(value), "cache_clear") and str(value.__module__).startswith("stepgym."):
            value.cache_clear()

"""Which names of a task's tests come from where: the tests, the prompt, the standard library, or the candidate.

Only the entry point and names that the task declares are taken from the candidate. A name that a test file forgot to
import is the tester's own module; a helper that exists nowhere makes the tests unusable. If the task names no entry
point, the one name that nobody defines is taken for it.
"""

import ast
import builtins
import collections
import functools
import importlib
import re
import sys
import types
import typing

from stepgym.envs.coding.harness import pytest_stand_in
from stepgym.envs.coding.harness.syntax import parsed

ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "nx": "networkx",
    "sp": "scipy",
    "dt": "datetime",
}
"""Customary short names of modules."""


FUNCTION_HEAD = re.compile(r"^(?:async\s+)?def\s+(\w+)", re.MULTILINE)
CLASS_HEAD = re.compile(r"^class\s+(\w+)", re.MULTILINE)
DEFINITION = re.compile(r"^(?:(\w+)\s*=|(?:def|class|import)\s+(\w+))", re.MULTILINE)
NAME = re.compile(r"(?<![.\w])[^\W\d]\w*")
CAPITAL = re.compile(r"\b[A-Z]\w*")


class UnusableTestsError(Exception):
    """The tests are at fault, not the candidate; or they need what this harness does not have."""


class Declared(typing.NamedTuple):
    """What a task says of its solution."""

    entry_point: str | None = None
    prompt: str | None = None
    names: tuple[str, ...] = ()
    """Further names that tests take from the solution."""
    modules: tuple[str, ...] = ()
    """Names by which tests import the solution, besides `solution` and the entry point's own."""

    def takes(self, name: str) -> bool:
        """Whether tests take this name from the solution."""
        return name == self.entry_point or name in self.names

    def is_function(self, name: str | None = None) -> bool:
        """Whether the prompt defines a name, the entry point by default, as a function."""
        return (name or self.entry_point) in FUNCTION_HEAD.findall(self.prompt or "")


def bind_missing(remote, code, source, names, declared):
    """Bind what the tests read and do not define; see the module's docstring."""
    missing = unbound(code, source, frozenset(names))
    trusted = prompt_names(declared.prompt) if missing else {}
    unknown = []
    for name in sorted(missing):
        if declared.takes(name):
            _take(remote, name, names)
        elif name in trusted:
            names[name] = trusted[name]
        elif not _bind_standard(name, names):
            unknown.append(name)
    if declared.entry_point is None and not declared.names:
        _infer(remote, source, unknown, names)


def _take(remote, name, names):
    try:
        names[name] = remote.get(name)
    except (
        Exception
    ):  # a candidate may raise anything when it is read; what cannot be read is not defined
        pass


def _infer(remote, source, unknown, names):
    """Take the solution's name from the tests' text, because the task names none."""
    if len(unknown) > 1:
        raise UnusableTestsError(
            f"the tests use several names that nobody defines ({', '.join(unknown)}); "
            "name the entry point, or declare the names that come from the solution"
        )
    if unknown:
        _take(remote, unknown[0], names)
        return
    if not any(_is_solution_import(node) for node in ast.walk(parsed(source))):
        called = remote.defined(innermost_builtins(source))
        if len(called) == 1:
            _take(remote, called[0], names)


def _is_solution_import(node):
    return isinstance(node, ast.ImportFrom) and (node.module == "solution" or node.level > 0)


def innermost_builtins(source):
    """Return the built-in names that asserts call with arguments in which nothing is called."""
    found = []
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            inner = [part for argument in node.args for part in ast.walk(argument)]
            if hasattr(builtins, node.func.id) and not any(isinstance(p, ast.Call) for p in inner):
                found.append(node.func.id)
    return list(dict.fromkeys(found))


def _bind_standard(name, names):
    """Bind a module that the tests forgot to import, or a name of `typing` or `collections`; return whether there is one."""
    if name == "pytest":
        names[name] = pytest_stand_in.make_pytest()
        return True
    module = ALIASES.get(name, name if name in sys.stdlib_module_names else None)
    if module is not None:
        try:
            importlib.import_module(module)
        except ImportError:
            raise UnusableTestsError(
                f"the tests need the module {module!r}, which is not installed here"
            ) from None
        names[name] = sys.modules[module]
        return True
    for home in (typing, collections):
        if name in home.__all__:
            names[name] = getattr(home, name)
            return True
    return False


@functools.lru_cache(maxsize=512)
def unbound(code, source, names):
    """Return the global names that the tests read and do not define; the costly look at the code is for suspects only."""
    wanted, todo = set(), [code]
    while todo:
        block = todo.pop()
        wanted.update(block.co_names)
        todo.extend(const for const in block.co_consts if isinstance(const, types.CodeType))
    suspects = {name for name in wanted if name not in names and not hasattr(builtins, name)}
    if suspects:
        suspects &= set(NAME.findall(source))
        suspects -= {name for pair in DEFINITION.findall(source) for name in pair}
    return frozenset(suspects) & global_loads(code) if suspects else frozenset()


def global_loads(code):
    """Return the global names that some block of the code loads, less those that the module itself stores first."""
    import dis

    loads, stores = set(), set()
    todo = [(code, True)]
    while todo:
        block, top = todo.pop()
        for step in dis.get_instructions(block):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loads.add(step.argval)
            elif step.opname in ("STORE_GLOBAL", "STORE_NAME") and (
                top or step.opname == "STORE_GLOBAL"
            ):
                stores.add(step.argval)
        todo.extend(
            (const, False) for const in block.co_consts if isinstance(const, types.CodeType)
        )
    return loads - stores


def prompt_names(prompt):
    """Return what the task's own prompt defines (helper functions, imports); a prompt that is no program defines nothing."""
    names = {"__name__": "prompt"}
    try:
        exec(compile(prompt or "", "<prompt>", "exec", dont_inherit=True), names)
    except Exception:  # a prompt that is no program, or half of one, defines what it came to
        pass
    return names


def class_names(source, declared):
    """Return the names of the solution that the tests use as classes, not as functions.

    Objects of a class see the operands that tests give them (`Vector(1, 2) * 3`); what a function returns must not,
    because an operand may be the expected value. The prompt decides if it defines the name. If it does not, a name is
    a class if it has a capital and the tests use it as only a class can be used: as a base, with `isinstance`, or by
    an attribute of its objects that no built-in value has.
    """
    defined = set(CLASS_HEAD.findall(declared.prompt or ""))
    wanted = {declared.entry_point, *declared.names, *CAPITAL.findall(source)} - {None}
    found = wanted & defined
    for name in wanted - defined:
        capital = name[:1].isupper() and not declared.is_function(name)
        if capital and _used_as_class(source, name, name == declared.entry_point):
            found.add(name)
    return found


@functools.lru_cache(maxsize=512)
def _used_as_class(source, name, is_entry_point):
    try:
        tree = parsed(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {name, "candidate"} if is_entry_point else {name}
    made = set()
    """Variables that hold what calling the name returned."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _calls(node.value, names):
            made.update(target.id for target in node.targets if isinstance(target, ast.Name))
            made.update(target.attr for target in node.targets if isinstance(target, ast.Attribute))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_is_named(base, names) for base in node.bases):
            return True
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            asks = node.func.id in ("isinstance", "issubclass") and len(node.args) == 2
            if asks and _is_named(node.args[1], names):
                return True
        if isinstance(node, ast.Attribute) and node.attr not in BUILTIN_ATTRIBUTES:
            value = node.value
            held = isinstance(value, ast.Name) and value.id in made
            held = held or (isinstance(value, ast.Attribute) and value.attr in made)
            if held or _calls(value, names):
                return True
    return False


def _calls(node, names):
    """Whether an expression is a call of a name, or an operator on such a call."""
    if isinstance(node, ast.BinOp):
        return _calls(node.left, names) or _calls(node.right, names)
    return isinstance(node, ast.Call) and _is_named(node.func, names)


def _is_named(node, names):
    return (isinstance(node, ast.Name) and node.id in names) or (
        isinstance(node, ast.Attribute) and node.attr in names
    )


BUILTIN_ATTRIBUTES = frozenset(
    name
    for kind in (str, bytes, bytearray, int, float, complex, list, tuple, dict, set, frozenset)
    for name in dir(kind)
) | {"shape", "dtype", "size", "ndim", "T", "all", "any", "sum", "mean", "tolist", "columns"}
"""Attributes that results of functions have: of built-in values, and the most used ones of arrays and tables."""

"""Tests that are plain code: `check(candidate)` as in HumanEval, bare asserts as in MBPP."""

import ast
import functools
import types
from time import perf_counter

from stepgym.envs.coding.harness.binding import UnusableTestsError, bind_missing, class_names
from stepgym.envs.coding.harness.candidate_access import read_candidate
from stepgym.envs.coding.harness.failures import (
    describe,
    fault_of_tests,
    numbered_asserts,
    row_of,
    rows_by_assert,
    since,
)
from stepgym.envs.coding.harness.foreseen_calls import certain_calls
from stepgym.envs.coding.harness.syntax import parsed

PASSED = "__assert_passed__"
"""The name of the tests' module that is called after each assert that passed."""


@functools.lru_cache(maxsize=1)
def with_clock(source):
    """Return the syntax tree of tests in which each assert of the module, or of a `check`, is followed by a call of `PASSED`."""
    tree = parsed(source)
    body = [
        with_body(node, followed_by_clock(node.body))
        if isinstance(node, ast.FunctionDef) and node.name == "check"
        else node
        for node in tree.body
    ]
    return with_body(tree, followed_by_clock(body))


def with_body(node, body):
    """Return a shallow copy of a syntax node with another body."""
    return type(node)(**{**vars(node), "body": body})


def followed_by_clock(body):
    """Return statements with a call of `PASSED`, given the assert's first line, after each assert."""
    found = []
    for node in body:
        found.append(node)
        if isinstance(node, ast.Assert):
            call = ast.Call(ast.Name(PASSED, ast.Load()), [ast.Constant(node.lineno)], [])
            for each in ast.walk(statement := ast.Expr(call)):
                each.lineno = each.end_lineno = node.end_lineno
                each.col_offset = each.end_col_offset = node.end_col_offset
            found.append(statement)
    return found


def compile_tests(remote, source):
    """Compile tests; raises `UnusableTestsError`."""
    try:
        return remote.compile(source, "<tests>", with_clock)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnusableTestsError(f"the tests do not compile: {error}") from None


def prepare(remote, source, names, declared):
    """Compile tests and bind the names that they do not define; return the code."""
    code = compile_tests(remote, source)
    remote.share_state(source)
    remote.declare_classes(class_names(source, declared))
    names.setdefault("__name__", "tests")
    remote.passed = []
    names[PASSED] = lambda line: remote.passed.append((line, perf_counter()))
    bind_missing(remote, code, source, names, declared)
    remote.names_of_tests = names
    return code


def execute(remote, source, names, declared):
    """Run the tests' module; return the row of a failure that is the candidate's, `None` if there is none.

    Any other failure makes the tests unusable.
    """
    code = prepare(remote, source, names, declared)
    try:
        exec(code, names)
    except Exception as error:  # whatever a task's tests raise while they load is the task's fault
        why = fault_of_tests(remote, error, declared)
        if not why and is_the_candidates(remote, error, declared):
            return ["module", "failed", describe(error)]
        raise UnusableTestsError(why or f"the tests do not load: {describe(error)}") from None
    return None


def is_the_candidates(remote, error, declared):
    """Whether tests did not load because of the candidate: it raised, answered wrongly, or lacks what they import."""
    if getattr(error, "_raised_by_candidate", False) or type(error) is AssertionError:
        return True
    if isinstance(error, (ImportError, AttributeError)):
        return getattr(remote, "lacking", None) is not None
    return isinstance(error, NameError) and declared.takes(error.name)


def run_check(remote, declared, *, source):
    """HumanEval's style: the tests define `check(candidate)`."""
    names = {}
    failed = execute(remote, source, names, declared)
    if failed is not None:
        return [failed]
    check = names.get("check")
    if not callable(check):
        raise UnusableTestsError("the tests define no function check(candidate)")
    candidate, fault = read_candidate(remote, declared.entry_point)
    if fault:
        return [["check", "failed", fault]]
    code = check.__code__ if isinstance(check, types.FunctionType) else None
    own = code is not None and code.co_filename == "<tests>" and code.co_argcount
    if own and remote.names_got == {declared.entry_point}:
        remote.foresee_calls(
            candidate, certain_calls(source, "check", code.co_varnames[0], code.co_firstlineno)
        )
    return attempt(remote, declared, source, "check", lambda: check(candidate))


def run_asserts(remote, declared, *, source):
    """Bare statements, each assert a test, as in MBPP."""
    remote.load()
    tree = parsed(source) if compile_tests(remote, source) else None
    if not any(isinstance(node, (ast.Assert, ast.Raise)) for node in ast.walk(tree)):
        raise UnusableTestsError(
            "no test was found: no check(candidate), no TestCase, no test function and no assert"
        )
    names = {}
    code = prepare(remote, source, names, declared)
    entry_point = declared.entry_point
    if entry_point:
        candidate, fault = read_candidate(remote, entry_point)
        if fault:
            return [["module", "failed", fault]]
        names["candidate"] = candidate
        if entry_point.isidentifier():
            names[entry_point] = candidate
        if remote.names_got == {entry_point}:
            remote.foresee_calls(candidate, certain_calls(source, None, entry_point))
    return attempt(remote, declared, source, None, lambda: exec(code, names))


def attempt(remote, declared, source, function, action):
    """Run tests that stop at their first failure; return one row per assert."""
    if numbered_asserts(source, function) == [] and remote.broken is None:
        asked = remote.sequence
    else:
        asked = None
    remote.passed.clear()
    begin = perf_counter()
    try:
        action()
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        row = row_of(remote, function or "module", error, declared)
        return rows_by_assert(source, function, (error, row), seconds_by_line(remote, begin))
    if asked is not None and remote.sequence == asked:
        raise UnusableTestsError("the tests never call the solution")
    return rows_by_assert(source, function, None, seconds_by_line(remote, begin))


def seconds_by_line(remote, begin):
    """Return the seconds from each assert's predecessor to its own end, and under `None` those after the last one."""
    found = {}
    for line, at in remote.passed:
        found[line] = [round(at - begin, 6)]
        begin = at
    return {**found, None: [since(begin)]}

"""Tester's side: run tests of the simple styles against the candidate and report one row per test.

A report is `{"tests": [[name, "passed" | "failed" | "skipped", message]], "undecided": reason, "broken": [kind, reason]}`.
"undecided" means that the tests themselves are at fault; "broken" that the candidate's end was lost.
"""

import ast
import builtins
import functools
import re
import sys
import types

FORESEEN = 16
"""So many calls of a table are sent ahead."""


class Unusable(Exception):
    """The tests are at fault, not the candidate."""


def execute(remote, source, names):
    """Run the tests' module; a failure that is not the candidate's makes the tests unusable."""
    try:
        code = remote.compile(source, "<tests>")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unusable(f"the tests do not compile: {error}") from None
    names.setdefault("__name__", "tests")
    bind_missing(remote, code, source, names)
    try:
        exec(code, names)
    except Exception as error:  # whatever a task's tests raise while they load is the task's fault
        raise Unusable(f"the tests do not load: {describe(error)}") from None


def bind_missing(remote, code, source, names):
    """Bind what the tests read but nobody defines: from the prompt if that defines it, else from the candidate."""
    missing = unbound(code, source, names)
    trusted = prompt_names(names.get("__prompt__")) if missing else {}
    for name in missing:
        if name in trusted and name != names.get("__entry_point__"):
            names[name] = trusted[name]
            continue
        try:
            names[name] = remote.get(name)
        except (
            Exception
        ):  # a candidate may raise anything when it is read; what cannot be read is not defined
            pass


def unbound(code, source, names):
    """The global names that the tests read and do not define."""
    return _unbound(code, source, frozenset(names))


@functools.lru_cache(maxsize=512)
def _unbound(code, source, names):
    """As above, remembered for the next sample of the task; the costly look at the code is for suspects only."""
    wanted, todo = set(), [code]
    while todo:
        block = todo.pop()
        wanted.update(block.co_names)
        todo.extend(const for const in block.co_consts if isinstance(const, types.CodeType))
    suspects = [
        name
        for name in wanted
        if name not in names
        and not hasattr(builtins, name)
        and re.search(rf"(?<![.\w]){name}\b", source)
        and not re.search(rf"^(?:{name}\s*=|(?:def|class|import)\s+{name}\b)", source, re.MULTILINE)
    ]
    return set(suspects) & global_loads(code) if suspects else set()


def global_loads(code):
    """The global names that some block of the code loads, less those that the module itself stores first."""
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
    """What the task's own prompt defines (helper functions, imports); a prompt that is no program defines nothing."""
    names = {"__name__": "prompt"}
    try:
        exec(compile(prompt or "", "<prompt>", "exec", dont_inherit=True), names)
    except Exception:  # a prompt that is no program (or half of one) defines what it came to
        pass
    return names


def describe(error):
    """A failure in one line."""
    text = " ".join(str(error)[:600].split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def failure_line(error):
    """The line of the tests that failed, 0 if none."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
            if trace.tb_frame.f_code.co_name == "check":
                return line
        trace = trace.tb_next
    return line


@functools.lru_cache(maxsize=512)
def numbered_asserts(source, function=None):
    """The first and last lines of the asserts directly in a function's body (or in the module's)."""
    body = ast.parse(source).body
    if function is not None:
        body = next(
            (
                n.body
                for n in reversed(body)
                if isinstance(n, ast.FunctionDef) and n.name == function
            ),
            [],
        )
    return [(n.lineno, n.end_lineno) for n in body if isinstance(n, ast.Assert)]


def rows_by_assert(source, function, error):
    """One row per assert: those before the failure passed, the rest did not."""
    spans = numbered_asserts(source, function)
    line = failure_line(error) if error is not None else None
    message = describe(error) if error is not None else ""
    if not spans:
        return [[function or "module", "failed" if error is not None else "passed", message]]
    rows = []
    for start, end in spans:
        if line is None or end < line:
            rows.append([f"line {start}", "passed", ""])
        else:
            rows.append(
                [f"line {start}", "failed", message if start <= line <= end else "not reached"]
            )
    if line is not None and not any(row[1] == "failed" for row in rows):
        rows.append([f"line {line}", "failed", message])
    return rows


@functools.lru_cache(maxsize=512)
def certain_calls(source, function, name, line=None):
    """The calls of `name` that a run of the tests begins with for certain, as arguments and named arguments, in order.

    They stand in the asserts that the body of a function (the undecorated one that begins at `line`) or of the module
    opens with, have literal arguments, and nothing decides whether they are evaluated.
    """
    body = ast.parse(source).body
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


def read_candidate(remote, entry_point):
    """What the candidate has under this name, and what is wrong with it in a line, empty if nothing."""
    try:
        return remote.get(entry_point), ""
    except AttributeError:
        return None, f"it defines no {entry_point!r}"
    except Exception as error:  # a candidate may raise anything when it is read
        return None, describe(error)


def run_check(remote, source, entry_point, prompt=None):
    """HumanEval's style: the tests define `check(candidate)`."""
    names = {"__prompt__": prompt, "__entry_point__": entry_point}
    execute(remote, source, names)
    check = names.get("check")
    if not callable(check):
        raise Unusable("the tests define no function check(candidate)")
    candidate, fault = read_candidate(remote, entry_point)
    if fault:
        return [["check", "failed", fault]]
    code = check.__code__ if isinstance(check, types.FunctionType) else None
    own = code is not None and code.co_filename == "<tests>" and code.co_argcount
    if own and remote.names_got == {entry_point}:
        remote.foresee_calls(
            candidate, certain_calls(source, "check", code.co_varnames[0], code.co_firstlineno)
        )
    return attempt(source, "check", lambda: check(candidate))


def run_asserts(remote, source, entry_point, prompt=None):
    """Bare statements, each assert a test, as in MBPP."""
    remote.load()
    try:
        code = remote.compile(source, "<tests>")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unusable(f"the tests do not compile: {error}") from None
    names = {"__name__": "tests", "__prompt__": prompt, "__entry_point__": None}
    if not numbered_asserts(source):
        raise Unusable(
            "no test was found: no check(candidate), no TestCase, no test function and no assert"
        )
    bind_missing(remote, code, source, names)
    if entry_point:
        names["candidate"], fault = read_candidate(remote, entry_point)
        if fault:
            return [["module", "failed", fault]]
        names[entry_point] = names["candidate"]
        if remote.names_got == {entry_point}:
            remote.foresee_calls(names[entry_point], certain_calls(source, None, entry_point))
    return attempt(source, None, lambda: exec(code, names))


def attempt(source, function, action):
    """Run tests that stop at their first failure; one row per assert."""
    try:
        action()
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        return rows_by_assert(source, function, error)
    return rows_by_assert(source, function, None)


def run_calls(remote, cases, entry_point, lenient=False, tolerance=None):
    """Call tables: rows of [[args, kwargs], expected]; `lenient` lets a tuple pass for the list JSON writes."""
    remote.load()
    candidate, fault = read_candidate(remote, entry_point)
    if fault:
        return [[f"case {i}", "failed", fault] for i in range(len(cases))]
    rows = []
    for i, ((args, kwargs), expected) in enumerate(cases):
        shown = ""
        if i % FORESEEN == 0:
            remote.foresee_calls(candidate, [call for call, _ in cases[i : i + FORESEEN]])
        try:
            got = candidate(*args, **kwargs)
            remote.write_back()
            good = agrees(got, expected, lenient, tolerance)
            shown = "" if good else f"expected {short(expected)}, got {short(got)}"
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            good, shown = False, describe(error)
        rows.append([f"case {i}", "passed" if good else "failed", shown])
        if remote.broken is not None:
            raise remote.broken
    return rows


def agrees(got, expected, lenient, tolerance):
    """Equality of values, types included; an int and a float may be equal, a bool is only a bool."""
    if lenient and type(got) is tuple and type(expected) is list:
        got = list(got)
    if type(got) is not type(expected):
        both_numbers = isinstance(got, (int, float)) and isinstance(expected, (int, float))
        if not both_numbers or isinstance(got, bool) != isinstance(expected, bool):
            return False
    if isinstance(expected, float) or isinstance(got, float):
        return (
            got == expected
            or (got != got and expected != expected)
            or near(got, expected, tolerance)
        )
    if type(expected) in (list, tuple):
        return len(got) == len(expected) and all(
            agrees(a, b, lenient, tolerance) for a, b in zip(got, expected)
        )
    if type(expected) is dict:
        return len(got) == len(expected) and all(
            key in got and agrees(got[key], expected[key], lenient, tolerance) for key in expected
        )
    return got == expected


def near(a, b, tolerance):
    """Whether two numbers differ by no more than a tolerance, if there is one."""
    return tolerance is not None and abs(a - b) <= tolerance * max(1.0, abs(b))


def short(value):
    """A value in at most 200 characters."""
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "..."


def judge(remote, broken_type, budget_s, run, *args, **options):
    """Run one style's tests and report, whatever happens."""
    remote.budget_s = budget_s
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    report = {"tests": [], "undecided": None, "broken": None}
    try:
        report["tests"] = run(remote, *args, **options)
    except Unusable as error:
        report["undecided"] = str(error)
    except broken_type:
        pass
    except (
        BaseException
    ) as error:  # tests may call sys.exit; a report must leave this process all the same
        report["undecided"] = f"the tests ended unexpectedly: {describe(error)}"
    finally:
        sys.set_int_max_str_digits(limit)
    report.update(getattr(remote, "findings", None) or {})
    if remote.broken is not None:
        report["broken"] = [remote.broken.kind, remote.broken.reason]
    remote.report(report)


def unpack_cases(remote, options):
    """Call tables arrive packed, so that tuples, sets and NaN stay what they are."""
    unpacker = remote.unpacker()
    return {**options, "cases": unpacker.unpack(options["cases"])}

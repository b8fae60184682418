"""unittest and pytest files. The classes and functions that the tests define are the tests; nothing that a candidate
exports can add, skip or replace one. Supported fixtures: the file's own (also with `params` and `yield`), capsys, capfd,
monkeypatch, request, tmp_path, tmpdir. Not supported: plugins, `conftest.py`, caplog.
"""

import ast
import builtins
import inspect
import io
import itertools
import os
import pathlib
import sys
import tempfile
import types
import unittest
from time import perf_counter

from stepgym.envs.coding.harness.assert_styles import compile_tests, execute
from stepgym.envs.coding.harness.binding import UnusableTestsError
from stepgym.envs.coding.harness.failures import describe, row_of, since
from stepgym.envs.coding.harness.pytest_stand_in import MonkeyPatch, Skipped, make_pytest
from stepgym.envs.coding.harness.syntax import parsed

PROTOCOL_NAMES = (
    "load_tests",
    "pytestmark",
    "setUpModule",
    "tearDownModule",
    "setup_module",
    "teardown_module",
)


class CandidateModule(types.ModuleType):
    """What `import solution` gives the tests: every name is asked of the candidate.

    `prefix` precedes the names of a module that lies in the candidate's folder.
    """

    def __init__(self, name, remote, prefix=""):
        super().__init__(name)
        self.__dict__["_remote"] = remote
        self.__dict__["_prefix"] = prefix
        self.__dict__["__path__"] = []

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        inner = sys.modules.get(f"{self.__name__}.{name}")
        if self._prefix and isinstance(inner, CandidateModule):
            return inner
        try:
            return self._remote.get(self._prefix + name)
        except AttributeError:
            self._remote.lacking = name
            raise

    def __setattr__(self, name, value):
        self._remote.ask("setattr", 0, (self._prefix + name, value))

    def __delattr__(self, name):
        self._remote.ask("delattr", 0, (self._prefix + name,))


class TestFile:
    """A test file and what running its tests needs."""

    def __init__(self, remote, declared):
        self.remote, self.declared = remote, declared
        self.names = {}
        self.patches = remote.patches

    def failed(self, name, error, message=None):
        """Return the row of a test that failed with an exception."""
        return row_of(self.remote, name, error, self.declared, message=message)


def solution_modules(tree, declared, remote):
    """Return the imported modules that are the candidate's: `solution`, the entry point's name, declared ones.

    Relative imports name the solution. Any other module is the tester's own, or missing.
    """
    own = {"solution", *declared.modules}
    if declared.entry_point:
        own.add(declared.entry_point.partition("(")[0])
    own -= set(sys.stdlib_module_names)
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                node.level, node.module = 0, "solution"
            found.add(node.module)
    return {name for name in found if name.partition(".")[0] in own or name in own}


def star_names(module, tree, declared):
    """Return what a star import of a candidate's module may bring: names the tests read, no built-in and nothing that steers a test run."""
    read, bound = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            bound.update((alias.asname or alias.name).partition(".")[0] for alias in node.names)
    wanted = []
    for name in sorted(read - bound):
        steering = name in PROTOCOL_NAMES or name.startswith(("pytest", "test", "Test"))
        known = hasattr(builtins, name) or name in sys.stdlib_module_names
        if not declared.takes(name) and (known or steering):
            continue
        if hasattr(module, name):
            wanted.append(name)
    return wanted


def folder_parts(modules, imported):
    """Return the candidate's modules that share their first part with an imported one, and the packages they lie in."""
    tops = {name.partition(".")[0] for name in imported}
    found = set()
    for name in modules:
        parts = name.split(".")
        if parts[0] in tops:
            found.update(".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    return found | imported


def load_tests_module(test_file, source, support, folder, saved):
    """Execute a test file as a module of its own; `saved` receives what it displaced in `sys.modules`.

    Returns the row of a failure that is the candidate's, `None` if there is none.
    """
    remote, declared = test_file.remote, test_file.declared
    compile_tests(remote, source)
    tree = parsed(source)
    modules = solution_modules(tree, declared, remote)
    module = types.ModuleType("tests")
    added = {"pytest": make_pytest(), "tests": module}
    for name in folder_parts(declared.modules, modules) if folder else modules:
        for depth in range(1, name.count(".") + 2):
            part = ".".join(name.split(".")[:depth])
            added[part] = CandidateModule(part, remote, f"{part}:" if folder else "")
    for name in support:
        added[name] = types.ModuleType(name)
    saved.update({name: sys.modules.get(name) for name in added})
    sys.modules.update(added)
    for node in ast.walk(tree):
        star = isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        if star and node.module in modules:
            starred = added[node.module]
            starred.__dict__["__all__"] = star_names(starred, tree, declared)
    for name in support:
        added[name] = types.ModuleType(name)
    saved.update({name: sys.modules.get(name) for name in added})
    sys.modules.update(added)
    for name, text in support.items():
        exec(compile(text, f"<{name}>", "exec", dont_inherit=True), vars(added[name]))
    test_file.names = module.__dict__
    module.__dict__["__file__"] = os.path.join(os.getcwd(), "test_solution.py")
    if declared.entry_point and declared.entry_point.isidentifier():
        try:
            module.__dict__[declared.entry_point] = remote.get(declared.entry_point)
        except AttributeError:
            pass
    return execute(remote, source, module.__dict__, declared)


def run_files(remote, declared, *, source, support=None, folder=False):
    """Run unittest and pytest files: one row per test method, test function and parameter set.

    `support` maps names of modules of the tests to their source. With `folder`, the candidate's modules lie in a folder.
    """
    remote.load()
    saved = {}
    test_file = TestFile(remote, declared)
    try:
        failed = load_tests_module(test_file, source, support or {}, folder, saved)
        if failed is not None:
            return [failed]
        rows = []
        call_hook(test_file.names, "setUpModule", "setup_module")
        for name, thing in list(test_file.names.items()):
            if remote.broken is not None:
                break
            rows.extend(run_definition(test_file, name, thing))
            if any(row[1] == "failed" for row in rows):
                remote.report_failure(rows)
        call_hook(test_file.names, "tearDownModule", "teardown_module")
    finally:
        for name, old in saved.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old
    if not rows:
        raise UnusableTestsError("no test was found")
    return rows


def run_definition(test_file, name, thing):
    """Run the tests that one definition of the file stands for."""
    if isinstance(thing, type) and thing.__module__ == "tests":
        if issubclass(thing, unittest.TestCase):
            return run_test_case(test_file, thing)
        return run_test_class(test_file, name, thing) if name.startswith("Test") else []
    if isinstance(thing, types.FunctionType) and name.startswith("test"):
        return run_function(test_file, name, thing, None)
    return []


def call_hook(names, *hooks):
    """Call module-level hooks, if the tests themselves define them."""
    for hook in hooks:
        if isinstance(names.get(hook), types.FunctionType):
            names[hook]()


class Rows(unittest.TestResult):
    """Collects rows; a test passed only if its success was reported and no failure of a part of it was."""

    def __init__(self, test_file):
        super().__init__()
        self.test_file = test_file
        self.rows = []
        self.begin = perf_counter()

    def startTest(self, test):
        super().startTest(test)
        self.begin = perf_counter()

    def add(self, test, outcome, message=""):
        name = getattr(test, "_testMethodName", str(test))
        self.rows.append([name, outcome, message, since(self.begin)])

    def addSuccess(self, test):
        self.add(test, "passed")

    def addError(self, test, error):
        self.add(test, *self.test_file.failed("", error[1])[1:])

    addFailure = addError

    def addSubTest(self, test, subtest, error):
        if error is not None:
            message = f"{subtest._subDescription()} {describe(error[1])}"
            self.add(test, *self.test_file.failed("", error[1], message)[1:])

    def addSkip(self, test, reason):
        self.add(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.add(test, "skipped", "expected failure")

    def addUnexpectedSuccess(self, test):
        self.add(test, "failed", "unexpected success")


def run_test_case(test_file, kind):
    """Run one unittest class."""
    if test_file.remote.uses_logs:
        test_file.remote.observe("unseen", "what the candidate logs")
    result = Rows(test_file)
    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
    return [[f"{kind.__name__}.{name}", *rest] for name, *rest in result.rows]


def run_test_class(test_file, name, kind):
    """Run the test methods of one plain class, as pytest does."""
    rows = []
    if "__init__" in vars(kind):
        return rows
    for method in [attribute for attribute in dir(kind) if attribute.startswith("test")]:
        if callable(getattr(kind, method)):
            rows.extend(run_function(test_file, f"{name}.{method}", getattr(kind, method), kind))
    return rows


def run_function(test_file, name, function, kind):
    """Run a test function once per parameter set, and per parameter of the fixtures that it uses."""
    marks = [*getattr(kind, "pytestmark", []), *getattr(function, "pytestmark", [])]
    for mark in marks:
        if mark.name == "skip" or (mark.name == "skipif" and mark.args and mark.args[0] is True):
            return [[name, "skipped", str(mark.kwargs.get("reason", ""))]]
    sets = [
        indirect_sets(test_file, kind, mark, parameter_sets(mark))
        for mark in marks
        if mark.name == "parametrize"
    ]
    sets += [
        [(str(i), {fixture: value}) for i, value in enumerate(fixture.params)]
        for fixture in fixtures_with_parameters(test_file, function, kind)
    ]
    may_fail = any(mark.name == "xfail" for mark in marks)
    rows = []
    for combined in itertools.product(*sets):
        values, labels = {}, []
        for label, part in combined:
            values.update(part)
            labels.append(label)
        shown = f"{name}[{'-'.join(labels)}]" if labels else name
        begin = perf_counter()
        row = run_once(test_file, shown, function, kind, values, may_fail)
        rows.append([*row, since(begin)])
    return rows


def fixtures_with_parameters(test_file, function, kind):
    """Return the fixtures with `params` that a test uses, directly or through other fixtures."""
    found, todo, seen = [], list(inspect.signature(function).parameters), set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        owned = getattr(kind, name, None) if kind is not None else None
        fixture = owned if type(owned).__name__ == "Fixture" else find_fixture(test_file, name)
        if fixture is None:
            continue
        if fixture.params is not None:
            found.append(fixture)
        todo.extend(inspect.signature(fixture.function).parameters)
    return found


def parameter_sets(mark):
    """Return the sets of arguments of one `parametrize` mark, each with its label."""
    argnames, argvalues = mark.args[0], mark.args[1]
    argnames = (
        [n.strip() for n in argnames.split(",") if n.strip()]
        if isinstance(argnames, str)
        else list(argnames)
    )
    sets = []
    for i, values in enumerate(argvalues):
        row = getattr(values, "values", None) if type(values).__name__ == "Param" else None
        row = row if row is not None else (values,) if len(argnames) == 1 else tuple(values)
        sets.append((str(i), dict(zip(argnames, row))))
    return sets


def indirect_sets(test_file, kind, mark, sets):
    """Hand the arguments that a mark calls indirect to their fixtures, as `request.param`."""
    indirect = mark.kwargs.get("indirect", False)
    if not indirect:
        return sets
    found = []
    for label, values in sets:
        keys = {name: name for name in values}
        for name in values if indirect is True else indirect:
            owned = getattr(kind, name, None) if kind is not None else None
            fixture = owned if type(owned).__name__ == "Fixture" else find_fixture(test_file, name)
            keys[name] = fixture or name
        found.append((label, {keys[name]: value for name, value in values.items()}))
    return found


def run_once(test_file, shown, function, kind, values, may_fail):
    """Run a test function with one set of arguments, its fixtures around it; return its row."""
    stack = []
    names = test_file.names
    try:
        instance = kind() if kind is not None else None
        if instance is not None and hasattr(instance, "setup_method"):
            call_with(instance.setup_method, function)
            if hasattr(instance, "teardown_method"):
                stack.append(lambda: call_with(instance.teardown_method, function))
        fixtures = Fixtures(test_file, instance, kind, values, stack)
        if kind is None:
            call_hook(names, "setup_function")
        own = [getattr(kind, attribute) for attribute in dir(kind)] if kind is not None else []
        for other in [*names.values(), *own]:
            if type(other).__name__ == "Fixture" and other._autouse is True:
                fixtures.value(other.__name__)
        wanted = [
            p
            for p in inspect.signature(function).parameters
            if not (instance is not None and p == "self")
        ]
        args = {p: fixtures.value(p) for p in wanted}
        outcome = function(instance, **args) if instance is not None else function(**args)
        if inspect.iscoroutine(outcome):
            import asyncio

            asyncio.run(outcome)
        row = [shown, "passed", ""]
    except UnusableTestsError:
        raise
    except Skipped as skip:
        row = [shown, "skipped", str(skip)]
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        failed = test_file.failed(shown, error)
        row = [shown, "skipped", describe(error)] if may_fail else failed
    for undo in reversed(stack):
        try:
            undo()
        except Exception as error:  # a tear-down that raises fails its own test, and no other
            failed = test_file.failed(shown, error, f"tear-down: {describe(error)}")
            row = failed if row[1] == "passed" else row
    return row


def call_with(method, function):
    """Call a set-up method that may or may not take the test function."""
    method(function) if inspect.signature(method).parameters else method()


def find_fixture(test_file, name):
    """Return the test file's own fixture of this name, `None` if there is none."""
    for thing in test_file.names.values():
        if type(thing).__name__ == "Fixture" and thing.__name__ == name:
            return thing
    return None


class Request:
    """The fixture `request`, as a fixture with parameters uses it."""

    def __init__(self, param, fixtures, stack):
        self.param, self._fixtures, self._stack = param, fixtures, stack

    def getfixturevalue(self, name):
        return self._fixtures.value(name)

    def addfinalizer(self, function):
        self._stack.append(function)


class Fixtures:
    """The values of fixtures during one test."""

    def __init__(self, test_file, instance, kind, values, stack):
        self.test_file, self.instance, self.kind, self.stack = test_file, instance, kind, stack
        self.values = {name: value for name, value in values.items() if isinstance(name, str)}
        self.parameters = {f: value for f, value in values.items() if not isinstance(f, str)}

    def value(self, name, requested_by=None):
        """Return the value of a fixture, made once per test."""
        if name == "request":
            return Request(self.parameters.get(requested_by), self, self.stack)
        if name not in self.values:
            self.values[name] = self._make(name)
        return self.values[name]

    def _make(self, name):
        owned = getattr(self.kind, name, None) if self.kind is not None else None
        fixture = owned if type(owned).__name__ == "Fixture" else find_fixture(self.test_file, name)
        if fixture is None:
            return self._built_in(name)
        parameters = [p for p in inspect.signature(fixture.function).parameters if p != "self"]
        args = {p: self.value(p, fixture) for p in parameters}
        made = (
            fixture.function(self.instance, **args)
            if owned is fixture
            else fixture.function(**args)
        )
        if inspect.isgenerator(made):
            generator = made
            made = next(generator)
            self.stack.append(lambda: next(generator, None))
        return made

    def _built_in(self, name):
        if name in ("capsys", "capfd"):
            return Captured(self.stack)
        if name == "monkeypatch":
            return MonkeyPatch(self.stack, self.test_file.patches)
        if name in ("tmp_path", "tmpdir"):
            import shutil

            folder = tempfile.mkdtemp(dir=os.getcwd())
            self.stack.append(lambda: shutil.rmtree(folder, ignore_errors=True))
            return pathlib.Path(folder) if name == "tmp_path" else LocalPath(folder)
        if name == "tmp_path_factory":
            return PathFactory()
        raise UnusableTestsError(f"no fixture {name!r} is known here")


class LocalPath(type(pathlib.Path())):
    """The older `tmpdir`: a path with `join`, `mkdir(name)`, `read` and `write`."""

    def join(self, *parts):
        return LocalPath(os.path.join(self, *parts))

    def mkdir(self, *parts, **options):
        made = self.join(*parts)
        os.makedirs(made, exist_ok=True)
        return made

    def read(self, mode="r"):
        with open(self, mode) as stream:
            return stream.read()

    def write(self, data, mode="w"):
        with open(self, mode) as stream:
            stream.write(data)

    @property
    def strpath(self):
        return str(self)


class PathFactory:
    """The fixture `tmp_path_factory`."""

    def mktemp(self, name, numbered=True):
        return pathlib.Path(tempfile.mkdtemp(prefix=name, dir=os.getcwd()))


class Captured:
    """capsys: what was printed, the candidate's printing included."""

    def __init__(self, stack):
        self.streams = io.StringIO(), io.StringIO()
        saved = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = self.streams
        stack.append(lambda: restore(saved))

    def readouterr(self):
        texts = [stream.getvalue() for stream in self.streams]
        for stream in self.streams:
            stream.seek(0)
            stream.truncate()
        return Output(*texts)


def restore(saved):
    """Put the standard streams back."""
    sys.stdout, sys.stderr = saved


class Output(tuple):
    """What `capsys.readouterr` returns."""

    def __new__(cls, out, err):
        return tuple.__new__(cls, (out, err))

    out = property(lambda self: self[0])
    err = property(lambda self: self[1])

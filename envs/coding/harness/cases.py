"""Tester's side: unittest and pytest files. The classes and functions that the tests define are the tests; nothing
that a candidate exports can add, skip or replace one. Fixtures of the simplest sort are supported: see `fixture_value`.
"""

import importlib.util
import inspect
import io
import itertools
import os
import tempfile
import unittest

PROTOCOL_NAMES = (
    "load_tests",
    "pytestmark",
    "setUpModule",
    "tearDownModule",
    "setup_module",
    "teardown_module",
)


class CandidateModule(types.ModuleType):
    """What `import solution` gives the tests: every name is asked of the candidate."""

    def __init__(self, name, remote, exported):
        super().__init__(name)
        self.__dict__["_remote"] = remote
        self.__dict__["__all__"] = exported
        self.__dict__["__path__"] = []

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._remote.get(name)

    def __setattr__(self, name, value):
        self._remote.ask("setattr", 0, (name, value))

    def __delattr__(self, name):
        self._remote.ask("delattr", 0, (name,))


def candidate_modules(tree):
    """The modules that the tests import and this machine does not have: they must be the candidate's."""
    found = set()
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module and not node.level else ["solution"]
            node.level = 0
            node.module = names[0]
        for name in names:
            top = name.partition(".")[0]
            if top == "pytest":
                continue
            if top == "solution" or (
                top not in sys.modules and importlib.util.find_spec(top) is None
            ):
                found.add(name)
    return found


def star_names(remote, tree, entry_point):
    """What a star import may bring: names the tests read, no built-in and nothing that steers a test run."""
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
        if name != entry_point and (hasattr(builtins, name) or steering):
            continue
        try:
            remote.get(name)
        except AttributeError:
            continue
        wanted.append(name)
    return wanted


def load_tests_module(remote, source, entry_point, prompt, saved):
    """Execute a test file as a module of its own; `saved` receives what it displaced in `sys.modules`."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise Unusable(f"the tests do not compile: {error}") from None
    pytest = make_pytest()
    uses_star = any(
        isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree)
    )
    exported = star_names(remote, tree, entry_point) if uses_star else []
    module = types.ModuleType("tests")
    added = {"pytest": pytest, "tests": module}
    for name in candidate_modules(tree):
        for depth in range(1, name.count(".") + 2):
            part = ".".join(name.split(".")[:depth])
            added[part] = CandidateModule(part, remote, exported)
    saved.update({name: sys.modules.get(name) for name in added})
    sys.modules.update(added)
    module.__dict__.update(__prompt__=prompt, __entry_point__=entry_point)
    if entry_point:
        try:
            module.__dict__[entry_point] = remote.get(entry_point)
        except AttributeError:
            pass
    execute(remote, source, module.__dict__)
    return module


def run_files(remote, source, entry_point, prompt=None):
    """unittest and pytest styles: one row per test method, test function and parameter set."""
    remote.load()
    saved = {}
    try:
        module = load_tests_module(remote, source, entry_point, prompt, saved)
        names = module.__dict__
        rows = []
        call_hook(names, "setUpModule", "setup_module")
        for name, thing in list(names.items()):
            if remote.broken is not None:
                break
            if (
                isinstance(thing, type)
                and issubclass(thing, unittest.TestCase)
                and thing.__module__ == "tests"
            ):
                rows.extend(run_test_case(thing))
            elif (
                isinstance(thing, type) and name.startswith("Test") and thing.__module__ == "tests"
            ):
                rows.extend(run_test_class(name, thing, names))
            elif isinstance(thing, types.FunctionType) and name.startswith("test"):
                rows.extend(run_function(name, thing, names, None))
        call_hook(names, "tearDownModule", "teardown_module")
    finally:
        for name, old in saved.items():
            if old is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = old
    if not rows:
        raise Unusable("no test was found")
    return rows


def call_hook(names, *hooks):
    """Call module-level hooks, if the tests themselves define them."""
    for hook in hooks:
        if isinstance(names.get(hook), types.FunctionType):
            names[hook]()


class Rows(unittest.TestResult):
    """Collects rows; a test passed only if its success was told and no failure of a part of it was."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def add(self, test, outcome, message=""):
        self.rows.append([getattr(test, "_testMethodName", str(test)), outcome, message])

    def addSuccess(self, test):
        self.add(test, "passed")

    def addError(self, test, error):
        self.add(test, "failed", describe(error[1]))

    addFailure = addError

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.add(test, "failed", f"{subtest._subDescription()} {describe(error[1])}")

    def addSkip(self, test, reason):
        self.add(test, "skipped", reason)

    def addExpectedFailure(self, test, error):
        self.add(test, "skipped", "expected failure")

    def addUnexpectedSuccess(self, test):
        self.add(test, "failed", "unexpected success")


def run_test_case(kind):
    """Run one unittest class."""
    result = Rows()
    unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
    return [[f"{kind.__name__}.{name}", outcome, message] for name, outcome, message in result.rows]


def run_test_class(name, kind, names):
    """Run the test methods of one plain class, as pytest does."""
    rows = []
    if "__init__" in vars(kind):
        return rows
    for method in [attribute for attribute in dir(kind) if attribute.startswith("test")]:
        if callable(getattr(kind, method)):
            rows.extend(run_function(f"{name}.{method}", getattr(kind, method), names, kind))
    return rows


def run_function(name, function, names, kind):
    """Run a test function once per parameter set."""
    marks = [*getattr(kind, "pytestmark", []), *getattr(function, "pytestmark", [])]
    for mark in marks:
        if mark.name == "skip" or (mark.name == "skipif" and mark.args and mark.args[0] is True):
            return [[name, "skipped", str(mark.kwargs.get("reason", ""))]]
    sets = [parameter_sets(mark) for mark in marks if mark.name == "parametrize"]
    rows = []
    for combined in itertools.product(*sets):
        values, labels = {}, []
        for label, part in combined:
            values.update(part)
            labels.append(label)
        shown = f"{name}[{'-'.join(labels)}]" if labels else name
        rows.append(
            run_once(
                shown, function, names, kind, values, any(mark.name == "xfail" for mark in marks)
            )
        )
    return rows


def parameter_sets(mark):
    """The sets of arguments of one `parametrize` mark, each with its label."""
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


def run_once(shown, function, names, kind, values, may_fail):
    """Run a test function with one set of arguments, its fixtures around it; one row."""
    stack = []
    try:
        instance = kind() if kind is not None else None
        if instance is not None and hasattr(instance, "setup_method"):
            call_with(instance.setup_method, function)
            if hasattr(instance, "teardown_method"):
                stack.append(lambda: call_with(instance.teardown_method, function))
        cache = dict(values)
        call_hook(names, "setup_function") if kind is None else None
        for other in list(names.values()):
            if getattr(other, "_autouse", False) is True and type(other).__name__ == "Fixture":
                fixture_value(other.__name__, names, kind, cache, stack)
        wanted = [
            p
            for p in inspect.signature(function).parameters
            if not (instance is not None and p == "self")
        ]
        args = {p: fixture_value(p, names, kind, cache, stack) for p in wanted}
        outcome = function(instance, **args) if instance is not None else function(**args)
        if inspect.iscoroutine(outcome):
            import asyncio

            asyncio.run(outcome)
        row = [shown, "passed", ""]
    except Unusable:
        raise
    except Skipped as skip:
        row = [shown, "skipped", str(skip)]
    except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
        row = [shown, "skipped" if may_fail else "failed", describe(error)]
    for undo in reversed(stack):
        try:
            undo()
        except Exception as error:  # a tear-down that raises fails its own test, and no other
            row = [shown, "failed", f"tear-down: {describe(error)}"] if row[1] == "passed" else row
    return row


def call_with(method, function):
    """Call a set-up method that may or may not take the test function."""
    method(function) if inspect.signature(method).parameters else method()


def fixture_value(name, names, kind, cache, stack):
    """The value of a fixture: the test file's own (plain or with yield), or one of capsys, monkeypatch, tmp_path."""
    if name in cache:
        return cache[name]
    if name == "capsys":
        cache[name] = Captured(stack)
    elif name == "monkeypatch":
        cache[name] = MonkeyPatch(stack)
    elif name == "tmp_path":
        import pathlib
        import shutil

        folder = tempfile.mkdtemp(dir=os.getcwd())
        stack.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        cache[name] = pathlib.Path(folder)
    else:
        owner = getattr(kind, name, None) if kind is not None else None
        fixture = owner if type(owner).__name__ == "Fixture" else fixture_named(name, names)
        parameters = [p for p in inspect.signature(fixture.function).parameters if p != "self"]
        args = {p: fixture_value(p, names, kind, cache, stack) for p in parameters}
        made = fixture.function(kind(), **args) if owner is fixture else fixture.function(**args)
        if inspect.isgenerator(made):
            generator = made
            made = next(generator)
            stack.append(lambda: next(generator, None))
        cache[name] = made
    return cache[name]


def fixture_named(name, names):
    """The test file's own fixture of this name."""
    for thing in names.values():
        if type(thing).__name__ == "Fixture" and thing.__name__ == name:
            return thing
    raise Unusable(f"no fixture {name!r} is known here")


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

"""A small `pytest` for test files: raises, approx, mark, fixture, param, fail, skip and what goes with them."""

import contextlib
import importlib
import math
import re
import types


class Skipped(Exception):
    """Raised by `pytest.skip`."""


class Mark:
    """A mark with its arguments; a test it is applied to lists it."""

    def __init__(self, name, args, kwargs):
        self.name, self.args, self.kwargs = name, args, kwargs

    def __call__(self, thing):
        thing.pytestmark = [self, *getattr(thing, "pytestmark", [])]
        return thing


class Marks:
    """`pytest.mark`: any name is a mark."""

    def __getattr__(self, name):
        def make(*args, **kwargs):
            if (
                len(args) == 1
                and not kwargs
                and name != "parametrize"
                and (isinstance(args[0], type) or callable(args[0]))
            ):
                return Mark(name, (), {})(args[0])
            return Mark(name, args, kwargs)

        make.name, make.args, make.kwargs = name, (), {}
        return make


class Param:
    """`pytest.param`."""

    def __init__(self, *values, id=None, marks=()):
        self.values = values


class Fixture:
    """A fixture function; asked for by name, never called as a test."""

    def __init__(self, function, autouse, name, params):
        self.function, self._autouse = function, autouse
        self.__name__ = name or function.__name__
        self.params = None if params is None else list(params)


def fixture(function=None, *, scope="function", params=None, autouse=False, name=None, ids=None):
    """`pytest.fixture`."""
    if function is not None:
        return Fixture(function, autouse, name, params)
    return lambda f: Fixture(f, autouse, name, params)


class ExceptionInfo:
    """What `raises` hands out: the exception, once there is one."""

    value = None

    @property
    def type(self):
        return type(self.value)

    def match(self, pattern):
        assert re.search(pattern, str(self.value)), (
            f"{pattern!r} does not match {str(self.value)!r}"
        )
        return True


class Raises:
    """The context manager behind `raises`."""

    def __init__(self, expected, match):
        self.expected, self.match, self.info = expected, match, ExceptionInfo()

    def __enter__(self):
        return self.info

    def __exit__(self, kind, error, trace):
        assert kind is not None, f"did not raise {self.expected}"
        if not issubclass(kind, self.expected):
            return False
        self.info.value = error
        if self.match is not None:
            self.info.match(self.match)
        return True


def raises(expected, *args, match=None, **kwargs):
    """`pytest.raises`, as a context manager or with a callable."""
    context = Raises(expected, match)
    if not args:
        return context
    with context as info:
        args[0](*args[1:], **kwargs)
    return info


class Approx:
    """Equal within a relative or absolute tolerance; for numbers, and lists, tuples and dicts of numbers."""

    __array_ufunc__ = None

    def __init__(self, expected, rel=None, abs=None, nan_ok=False):
        self.expected, self.rel, self.abs, self.nan_ok = expected, rel, abs, nan_ok

    def __eq__(self, actual):
        return self._agrees(actual, self.expected)

    def __repr__(self):
        return f"approx({self.expected!r})"

    __hash__ = None

    def _agrees(self, actual, expected):
        if type(expected) is dict:
            same = type(actual) is dict and actual.keys() == expected.keys()
            return same and all(self._agrees(actual[key], expected[key]) for key in expected)
        if type(expected) in (list, tuple):
            same = type(actual) is type(expected) and len(actual) == len(expected)
            return same and all(self._agrees(a, b) for a, b in zip(actual, expected))
        if type(actual) not in (int, float, complex, bool) and type(actual).__name__ not in (
            "Decimal",
            "Fraction",
        ):
            return False
        if actual == expected:
            return True
        if actual != actual or expected != expected:
            return self.nan_ok and actual != actual and expected != expected
        if math.isinf(abs(actual)) or math.isinf(abs(expected)):
            return False
        absolute = 1e-12 if self.abs is None else self.abs
        relative = (1e-6 if self.abs is None else 0.0) if self.rel is None else self.rel
        return abs(actual - expected) <= max(absolute, relative * abs(expected))


class MonkeyPatch:
    """`monkeypatch`: changes that are undone after the test."""

    def __init__(self, stack, patches):
        self.stack, self.patches = stack, patches

    def setattr(self, target, name, value=None, raising=True):
        if isinstance(target, str):
            value, (module, _, name) = name, target.rpartition(".")
            target = importlib.import_module(module)
        old = getattr(target, name, None) if not raising else getattr(target, name)
        setattr(target, name, value)
        undo = self.patches.made(target, name)
        self.stack.append(lambda: (setattr(target, name, old), undo()))

    def delattr(self, target, name, raising=True):
        old = getattr(target, name)
        delattr(target, name)
        self.stack.append(lambda: setattr(target, name, old))

    def delenv(self, name, raising=True):
        import os

        if name in os.environ:
            old = os.environ.pop(name)
            self.stack.append(lambda: os.environ.__setitem__(name, old))

    def setitem(self, table, key, value):
        had, old = key in table, table.get(key)
        table[key] = value
        self.stack.append(lambda: table.__setitem__(key, old) if had else table.pop(key, None))

    def delitem(self, table, key, raising=True):
        if key in table or raising:
            old = table.pop(key)
            self.stack.append(lambda: table.__setitem__(key, old))

    def setenv(self, name, value, prepend=None):
        import os

        if prepend and name in os.environ:
            value = f"{value}{prepend}{os.environ[name]}"
        self.setitem(os.environ, name, str(value))

    def chdir(self, path):
        import os

        old = os.getcwd()
        os.chdir(path)
        self.stack.append(lambda: os.chdir(old))


def fail(reason="", pytrace=True):
    """`pytest.fail`."""
    raise AssertionError(reason)


def skip(reason="", **options):
    """`pytest.skip`."""
    raise Skipped(reason)


def importorskip(name, **options):
    """`pytest.importorskip`."""
    try:
        return __import__(name)
    except ImportError as error:
        raise Skipped(str(error)) from None


@contextlib.contextmanager
def warns(expected=Warning, match=None):
    """`pytest.warns`."""
    import warnings

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    assert any(issubclass(warning.category, expected) for warning in caught), (
        f"did not warn {expected}"
    )


def make_pytest():
    """Return the module that `import pytest` gives the tests."""
    module = types.ModuleType("pytest")
    module.__dict__.update(
        raises=raises,
        approx=Approx,
        mark=Marks(),
        fixture=fixture,
        param=Param,
        fail=fail,
        skip=skip,
        importorskip=importorskip,
        warns=warns,
        main=lambda *args, **kwargs: 0,
    )
    return module

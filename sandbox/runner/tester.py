"""The tester's end: runs the tests, which call the candidate through `remote`.

What the candidate may ask back is little: to call a function it was given, to read and set public attributes of
an object of a class that the tests define, and the special methods of these. Frames, code, globals and modules are
never within reach, so the tests cannot be read from there.

Arguments that a call changed are written back. After a call that returned `None` or raised they are written at
once; otherwise the test sees the change from its next statement on. Thus `k = f(xs); assert xs[:k] == ...` is graded
right, while in `assert f(xs) == sorted(xs)` a candidate that empties `xs` gains nothing.
"""

from __future__ import annotations

import ast
import json
import socket
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from stepgym.sandbox.runner.candidate import adopt, refill
from stepgym.sandbox.runner.codec import Malformed, Unpacker
from stepgym.sandbox.runner.handles import (
    EXCEPTIONS,
    SPECIAL,
    Handle,
    features,
    number_of,
    set_mark,
    short_name,
)
from stepgym.sandbox.runner.link import MAX_TEXT, Broken, Link

HEAP_TYPE = 1 << 9
ENDING = (StopIteration, StopAsyncIteration, GeneratorExit, KeyboardInterrupt)
"""Raised by a call they would end a loop of the tests, or the whole run, quietly; only an iterator's next may raise them."""
NEXT = ("__next__", "__anext__")
RUNNER_MODULES = frozenset(name for name in (__name__, Handle.__module__, Link.__module__))

MAX_KEPT_SOURCE = 1 << 15
"""Longer tests are compiled each time, so that a tester that stays does not grow."""

_LIBRARIES: dict[str, dict[str, Any]] = {}


class CandidateError(Exception):
    """The candidate raised something that derives from no exception the tests could name."""


class Remote(Link):
    """What the tests see of the candidate."""

    def __init__(self, channel: socket.socket) -> None:
        super().__init__(channel)
        self.last_report: str | None = None
        self.pending: list[tuple[Any, Any]] = []
        self.watched: types.FrameType | None = None
        self.statement: tuple[int, int] = (0, 0)
        self.sources: dict[str, str] = {}
        self.spans: dict[str, list[tuple[int, int]]] = {}
        self.error_classes: dict[int, type[BaseException]] = {}
        self.own_stdout: Any = sys.stdout
        self.capturing = False
        self.names_got: set[str] = set()

    # What the tests call.

    def get(self, name: str) -> Any:
        """Return the candidate's object of this name: data as it is, else a stand-in. `AttributeError` if there is none."""
        self.names_got.add(name)
        thing = self.ask("get", name)
        named_class = isinstance(thing, Handle) and name[:1].isupper()
        return set_mark(thing, "class") if named_class else thing

    def foresee_calls(
        self, function: Any, calls: Sequence[tuple[Sequence[Any], dict[str, Any]]]
    ) -> None:
        """Say which calls of a function, positional and named arguments, are certain to come next, in this order.

        The candidate then works through them while the tests look at the first answers. It still learns nothing but
        arguments.
        """
        if isinstance(function, Handle):
            number = number_of(function)
            self.foresee(
                [("special", number, ("__call__", *args), kwargs) for args, kwargs in calls]
            )

    def load(self) -> None:
        """Wait until the candidate is loaded; raises `Broken` of kind "load" with what it raised."""
        self.ask("load", "")

    def report(self, finding: Any) -> None:
        """Hand over a finding (JSON-able); the last one counts."""
        self.last_report = json.dumps(finding)

    def compile(self, source: str, name: str) -> types.CodeType:
        """Compile tests so that the statements of `source` are known to `settle`."""
        self.sources[name] = source
        return compiled(source, name)

    def cached(self, source: str) -> dict[str, Any]:
        """Execute the tests' own library once per process and return its names; a tester that stays keeps it."""
        names = _LIBRARIES.get(source)
        if names is None:
            names = {"__name__": "__library__"}
            exec(compile(source, "<library>", "exec", dont_inherit=True), names)
            _LIBRARIES[source] = names
        return names

    def unpacker(self) -> Unpacker:
        """Return an unpacker for data that the tests' author packed."""
        return Unpacker(self.adopt)

    def statement_at(self, name: str, line: int) -> tuple[int, int]:
        """Return the first and last line of the innermost statement of compiled tests at this line."""
        if name in self.sources and name not in self.spans:
            nodes = ast.walk(ast.parse(self.sources[name]))
            self.spans[name] = [
                _span(node) for node in nodes if isinstance(node, ast.stmt | ast.ExceptHandler)
            ]
        around = [span for span in self.spans.get(name, ()) if span[0] <= line <= span[1]]
        return min(around, key=lambda span: span[1] - span[0], default=(line, line))

    def ask(
        self,
        operation: str,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.write_back()
        capture = sys.stdout is not self.own_stdout
        if capture != self.capturing and self.broken is None:
            self.capturing = capture
            super().ask("capture", "", (capture,))
        return super().ask(operation, target, args, kwargs)

    def heard(self, output: Any) -> None:
        if self.capturing and type(output) is str:
            sys.stdout.write(output)

    # What the candidate may know and ask.

    def describe(self, thing: Any) -> Any:
        if isinstance(thing, Handle):
            return ["w", number_of(thing)]
        if isinstance(thing, type):
            for number, kind in self.error_classes.items():
                if kind is thing:
                    return ["w", number]
        open_to_questions = not isinstance(
            thing, types.ModuleType | types.FrameType | types.CodeType | types.TracebackType
        )
        offered = features(thing) if open_to_questions else []
        name = thing.__name__ if isinstance(thing, type) else type(thing).__name__
        return ["h", self.objects.number(thing), name, offered, "object", None]

    def perform(self, operation: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        thing = self.objects.by_number[target]
        if operation == "special" and args[0] in SPECIAL and args[0] in features(thing):
            if args[0] == "__call__":
                return thing(*args[1:], **kwargs)
            return getattr(type(thing), args[0])(thing, *args[1:])
        if operation == "equal":
            return bool(thing == args[0])
        if operation == "hash":
            return hash(thing)
        if operation == "repr":
            return f"<{type(thing).__name__}>"
        if (
            operation in ("attr", "setattr")
            and has_attributes(thing)
            and not args[0].startswith("_")
        ):
            return (
                getattr(thing, args[0]) if operation == "attr" else setattr(thing, args[0], args[1])
            )
        raise AttributeError(
            f"{type(thing).__name__!r} object has no attribute {args[0] if args else operation!r}"
        )

    def describe_error(self, error: BaseException) -> list[Any]:
        lineage = [
            [kind.__name__, 0]
            for kind in type(error).__mro__
            if EXCEPTIONS.get(kind.__name__) is kind
        ]
        return [lineage, str(error)[:MAX_TEXT], None, 0, False]

    # What comes back.

    def adopt(self, tree: list[Any]) -> Any:
        if tree[0] == "h" and tree[4] == "class" and tree[5]:
            return self.error_class(tree[5])
        if tree[0] == "S" and type(tree[3]) is type(None):
            raise Malformed("a subclass of nothing")
        return adopt(self, tree)

    def error_class(self, lineage: list[Any]) -> type[BaseException]:
        """Return the local class for an exception class, told from the class itself up to `BaseException`."""
        found: type[BaseException] = BaseException
        for name, number in reversed(lineage):
            if number == 0:
                kind = EXCEPTIONS[name]
                found = kind if issubclass(kind, found) else found
            elif type(number) is int:
                if number not in self.error_classes:
                    base = found if issubclass(found, Exception) else CandidateError
                    self.error_classes[number] = type(
                        short_name(name), (base,), {"__getattr__": _error_attribute}
                    )
                found = self.error_classes[number]
        return found

    def raise_theirs(self, error: list[Any], operation: str) -> Any:
        try:
            lineage, message, args, number, while_loading = error
            kind = self.error_class(lineage)
            if issubclass(kind, ENDING) and operation not in NEXT:
                kind, args, message = RuntimeError, None, f"{kind.__name__}: {message}"
            raised = make_error(kind, args if args is not None else [message])
            if number:
                raised.__dict__["_handle"] = adopt(self, ["h", number, "error", [], "object", None])
        except Exception as fault:  # noqa: BLE001 - whatever a malformed error does to the reading is the candidate's fault
            raise self.fail("nonsense", f"its error cannot be read: {fault!r}"[:200]) from None
        if while_loading:
            raise self.fail(
                "load", f"it does not load: {kind.__name__}: {message}"[:500].rstrip(": ")
            )
        raise raised

    def settle(self, changes: list[tuple[Any, Any]], value: Any) -> None:
        self.pending = changes
        frame = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") in RUNNER_MODULES:
            frame = frame.f_back  # type: ignore[assignment]
        if value is None or frame is None:
            self.write_back()
            return
        self.statement = self.statement_at(frame.f_code.co_filename, frame.f_lineno)
        self.watched = frame
        frame.f_trace = self._watch
        sys.settrace(_ignore_calls)

    def _watch(
        self, frame: types.FrameType, event: str, argument: Any
    ) -> Callable[..., Any] | None:
        if event == "return" or (
            event == "line" and not self.statement[0] <= frame.f_lineno <= self.statement[1]
        ):
            self.write_back()
            return None
        return self._watch

    def write_back(self) -> None:
        """Give changed arguments their new contents, where that still stands out."""
        if self.watched is not None:
            sys.settrace(None)
            self.watched.f_trace = None
            self.watched = None
        pending, self.pending = self.pending, []
        for old, new in pending:
            refill(old, new)


def _ignore_calls(frame: types.FrameType, event: str, argument: Any) -> None:
    return None


def _error_attribute(self: BaseException, name: str) -> Any:
    handle = self.__dict__.get("_handle")
    if handle is None or name.startswith("__"):
        raise AttributeError(name)
    return getattr(handle, name)


def _span(node: ast.stmt | ast.ExceptHandler) -> tuple[int, int]:
    """The lines of a statement; of a compound one its head alone."""
    body = getattr(node, "body", None)
    end = body[0].lineno - 1 if body else node.end_lineno
    return node.lineno, max(node.lineno, end or 0)


def has_attributes(thing: Any) -> bool:
    """Whether an object is an instance of an ordinary class, whose public attributes may be read."""
    kind = type(thing)
    return (
        bool(kind.__flags__ & HEAP_TYPE)
        and kind.__module__ not in ("builtins", "types")
        and not isinstance(thing, type)
    )


def make_error(kind: type[BaseException], args: list[Any]) -> BaseException:
    """Make an exception from its arguments, even where its constructor wants others."""
    try:
        return kind(*args)
    except TypeError:
        error = kind.__new__(kind)
        error.args = tuple(args)
        return error


def compiled(source: str, name: str) -> types.CodeType:
    """Compile tests; a tester that stays compiles what it sees again and again, for sample after sample, only once."""
    if len(source) > MAX_KEPT_SOURCE:
        return compile(source, name, "exec", dont_inherit=True)
    return _compiled(source, name)


@lru_cache(maxsize=512)
def _compiled(source: str, name: str) -> types.CodeType:
    return compile(source, name, "exec", dont_inherit=True)


def run(channel: socket.socket, source: str) -> str | None:
    """Execute `source` with the global `remote`; return its last report. An uncaught exception is printed."""
    remote = Remote(channel)
    names: dict[str, Any] = {"__name__": "__tester__", "remote": remote, "Broken": Broken}
    try:
        exec(compiled(source, "<tester>"), names)
    except BaseException:  # noqa: BLE001 - tests may end in any way; what was reported until then still counts
        traceback.print_exc()
    finally:
        sys.settrace(None)
        channel.close()
    return remote.last_report

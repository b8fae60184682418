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
import importlib.util
import io
import json
import marshal
import os
import re
import socket
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from stepgym.sandbox.runner.candidate import adopt
from stepgym.sandbox.runner.codec import Malformed, Packer, Unpacker, Unsendable, dumps
from stepgym.sandbox.runner.exceptions import describe_error_class, local_error_class
from stepgym.sandbox.runner.handles import (
    SPECIAL,
    Handle,
    Mark,
    features,
    number_of,
    set_mark,
    short_name,
)
from stepgym.sandbox.runner.link import MAX_TEXT, Broken, CannotCrossError, Link
from stepgym.sandbox.runner.shared_folder import SharedFolder
from stepgym.sandbox.runner.values import refill

HEAP_TYPE = 1 << 9
ENDS_OF_ITERATION = (StopIteration, StopAsyncIteration)
"""Raised by a call they would end a loop of the tests quietly; only an iterator's next may raise them."""
NEXT = ("__next__", "__anext__")
FUNCTION_NAMES = ("__name__", "__qualname__", "__doc__")
"""What a candidate may read of a function of the tests, besides calling it: `functools.wraps` copies these."""
READABLE = frozenset(
    {
        ("_io", "StringIO"),
        ("_io", "BytesIO"),
        ("_io", "TextIOWrapper"),
        ("_io", "BufferedReader"),
        ("_io", "BufferedWriter"),
        ("random", "Random"),
        ("numpy.random._generator", "Generator"),
        ("numpy.random.mtrand", "RandomState"),
    }
)
"""Types of libraries whose public attributes a candidate may read: open files and random generators that tests hand over."""
MOCK_ASSERTIONS = re.compile(
    r"assert|called$|call_count$|call_args|mock_calls$|method_calls$|configure_mock$|reset_mock$|attach_mock$|mock_add_spec$"
)
"""Attributes of mocks by which tests judge; a candidate may neither read nor set them."""
FILE_WORDS = re.compile(
    r"\b(?:open|chdir|tmp_path|tmp_path_factory|tmpdir|tempfile|pathlib|Path|os|shutil|glob|to_\w+|savefig)\b"
)
MAX_COUNTED = 32
RUNNER_MODULES = frozenset(name for name in (__name__, Handle.__module__, Link.__module__))

MAX_KEPT_SOURCE = 1 << 17
"""Longer tests are compiled each time, so that a tester that stays does not grow."""

_LIBRARIES: dict[str, types.ModuleType] = {}
"""The last module of each library that this process has loaded, by the library's digest."""


class CandidateError(Exception):
    """The candidate raised something that derives from no exception the tests could name."""


class Remote(Link):
    """What the tests see of the candidate.

    `observed` counts what a verdict should mention: operators and comparisons that the candidate's own classes
    decided, operands that were refused, answers too large to cross, counters that the candidate set.
    """

    def __init__(
        self,
        channel: socket.socket,
        report_file: int | None = None,
        *,
        arguments: Sequence[str] = (),
        library_at: tuple[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.channel = channel
        self.report_file = report_file
        self.arguments = arguments
        self.library_at = library_at
        """Digest of the pair's library, and the descriptor of a file that holds it."""
        self.last_report: str | None = None
        self.pending: list[tuple[Any, Any]] = []
        self.watched: types.FrameType | None = None
        self.statement: tuple[int, int] = (0, 0)
        self.sources: dict[str, str] = {}
        self.error_classes: dict[int, type[BaseException]] = {}
        self.own_stdout: Any = sys.stdout
        self.own_stderr: Any = sys.stderr
        self.own_stdin: Any = sys.stdin
        self.capturing: list[str] = []
        self.names_got: set[str] = set()
        self.class_names: frozenset[str] = frozenset()
        self.observed: dict[str, list[str]] = {}
        self.shared_folder: SharedFolder | None = None
        self.shared_cwd = ""
        """The current folder that the candidate has been told of."""
        self.shared_environment: dict[str, str] | None = None
        self.unshared: dict[str, Any] = {}
        """State of the tests' process that the candidate gets with the next question."""
        self.catches_warnings = False
        self.uses_logs = False
        self.leaves_traces = False
        """Whether the tests may leave something behind in this process, so that the next ones need a fresh one."""
        self.at_end: list[Callable[[], None]] = []
        """What undoes changes to this process when the tests are over."""

    # What the tests call.

    def get(self, name: str) -> Any:
        """Return the candidate's object of this name: data as it is, else a stand-in. `AttributeError` if there is none."""
        self.names_got.add(name)
        thing = self.ask("get", name)
        if name.rpartition(":")[2] in self.class_names:
            set_mark(thing, Mark.DECLARED_CLASS)
        return thing

    def declare_classes(self, names: Iterable[str]) -> None:
        """Say which names of the candidate the tests use as classes; see `handles`."""
        self.class_names = frozenset(names)

    def defined(self, names: Sequence[str]) -> list[str]:
        """Return those of the names that the candidate's module defines."""
        found = self.ask("has", "", (list(names),))
        return [name for name in names if type(found) is list and name in found]

    def observe(self, what: str, which: str) -> None:
        """Note something that the verdict should mention."""
        seen = self.observed.setdefault(what, [])
        if which not in seen and len(seen) < MAX_COUNTED:
            seen.append(which)

    def share_state(self, source: str) -> None:
        """Prepare to share what the source of the tests suggests that they change: files, environment, warnings, seeds."""
        if FILE_WORDS.search(source):
            root = os.getcwd()
            if not {"", ".", root}.intersection(
                sys.path
            ):  # else the candidate could lay a module there
                self.shared_folder = SharedFolder(root)
                self.unshared["folder"] = self.shared_cwd = root
                self.at_end.append(lambda: os.chdir(root))
        if "environ" in source or "setenv" in source or "putenv" in source:
            self.shared_environment = dict(os.environ)
        self.catches_warnings = "warn" in source.lower()
        self.uses_logs = "assertLogs" in source or "caplog" in source
        if "random.seed" in source and ("numpy" in source or "np." in source):
            self._follow_numpy_seed()

    def _follow_numpy_seed(self) -> None:
        try:
            import numpy
        except ImportError:
            return
        seed = numpy.random.seed

        def both(*arguments: Any, **named: Any) -> None:
            seed(*arguments, **named)
            self.seeded("numpy", *arguments, *named.values())

        numpy.random.seed = both
        self.at_end.append(lambda: setattr(numpy.random, "seed", seed))

    def seeded(self, module: str, *arguments: Any) -> None:
        """Seed the candidate's generator as the tests seeded theirs."""
        if all(type(argument) in (int, float, str, bytes, type(None)) for argument in arguments):
            self.unshared.setdefault("seeds", []).append([module, list(arguments)])

    def foresee_calls(
        self, function: Any, calls: Sequence[tuple[Sequence[Any], dict[str, Any]]]
    ) -> None:
        """Say which calls of a function, positional and named arguments, are certain to come next, in this order.

        The candidate then works through them while the tests look at the first answers. It still learns nothing but
        arguments.
        """
        shares = self.shared_folder or self.shared_environment or self.catches_warnings
        if isinstance(function, Handle) and not shares:
            self._share()
            number = number_of(function)
            self.foresee(
                [("special", number, ("__call__", *args), kwargs) for args, kwargs in calls]
            )

    def load(self) -> None:
        """Wait until the candidate is loaded; raises `Broken` of kind "load" with what it raised."""
        self.ask("load", "")

    def report(self, finding: Any) -> None:
        """Hand over a finding (JSON-able); the last one counts, also if this process is ended before its program."""
        self.last_report = json.dumps(finding)
        if self.report_file is not None:
            data = self.last_report.encode("utf-8", "surrogatepass")
            os.pwrite(self.report_file, data, 0)
            os.ftruncate(self.report_file, len(data))

    def compile(
        self, source: str, name: str, rewrite: Callable[[str], ast.Module] | None = None
    ) -> types.CodeType:
        """Compile tests so that the statements of `source` are known to `settle`.

        `rewrite` returns the syntax tree to compile instead; its nodes have the lines of `source`.
        """
        self.sources[name] = source
        return compiled(source, name, rewrite)

    def library(self) -> types.ModuleType:
        """Return the last module of the pair's library; `LookupError` if it has none."""
        if self.library_at is None:
            raise LookupError("this pair has no library")
        return load_library(*self.library_at)

    def replace(self, name: str, value: Any) -> None:
        """Put an object of the tests in the place of `module.attribute` in the candidate's process, as a patch does."""
        self.ask("replace", name, (value,))

    def restore(self, name: str) -> None:
        """Undo the last `replace` of this name."""
        self.ask("restore", name)

    def unpacker(self) -> Unpacker:
        """Return an unpacker for data that the tests' author packed."""
        return Unpacker(self.adopt)

    def statement_at(self, name: str, line: int) -> tuple[int, int]:
        """Return the first and last line of the innermost statement of compiled tests at this line."""
        spans = statement_spans(self.sources[name]) if name in self.sources else []
        around = [span for span in spans if span[0] <= line <= span[1]]
        return min(around, key=lambda span: span[1] - span[0], default=(line, line))

    def ask(
        self,
        operation: str,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.write_back()
        if self.broken is None:
            self._share()
        try:
            return super().ask(operation, target, args, kwargs)
        except Unsendable as error:
            raise CannotCrossError(f"what the tests hand over cannot cross: {error}") from None

    def _share(self) -> None:
        """Tell the candidate what changed in this process since the last question."""
        captured = ["stdout"] if sys.stdout is not self.own_stdout else []
        if sys.stderr is not self.own_stderr:
            captured.append("stderr")
        if self.catches_warnings:
            captured.append("warnings")
        if captured != self.capturing:
            self.capturing = captured
            super().ask("capture", "", (captured,))
        state, self.unshared = self.unshared, {}
        if self.shared_folder is not None and (files := self.shared_folder.changes()):
            state["files"] = files
        if self.shared_folder is not None and (cwd := os.getcwd()) != self.shared_cwd:
            self.shared_cwd = cwd
            state["cwd"] = os.path.relpath(cwd, self.shared_folder.root)
        if self.shared_environment is not None and os.environ != self.shared_environment:
            now = dict(os.environ)
            before, self.shared_environment = self.shared_environment, now
            gone = {name: None for name in before if name not in now}
            state["environment"] = gone | {
                name: value for name, value in now.items() if before.get(name) != value
            }
        if sys.stdin is not self.own_stdin:
            if isinstance(sys.stdin, io.StringIO):
                state["stdin"] = sys.stdin.getvalue()[sys.stdin.tell() :]
            else:
                self.observe("unseen", "sys.stdin, which the tests replace")
        if state:
            super().ask("share", "", (state,))

    def heard(self, news: Any) -> None:
        if type(news) is not dict:
            raise Malformed("news that is no table")
        if self.capturing and type(news.get("printed")) is str:
            sys.stdout.write(news["printed"])
        if self.capturing and type(news.get("printed_error")) is str:
            sys.stderr.write(news["printed_error"])
        if type(news.get("read")) is int and isinstance(sys.stdin, io.StringIO):
            sys.stdin.seek(sys.stdin.tell() + max(0, news["read"]))
        if self.shared_folder is not None and "files" in news and self._folder_is_data():
            self.shared_folder.apply(Unpacker(_no_objects).unpack(news["files"]))
        if self.catches_warnings:
            import warnings

            for lineage, message in news.get("warnings", []):
                kinds = [local_error_class(name) for name in lineage]
                kind = next((k for k in kinds if k is not None and issubclass(k, Warning)), Warning)
                warnings.warn(str(message), kind, stacklevel=3)

    def _folder_is_data(self) -> bool:
        """Whether nothing is imported from the shared folder here, where the candidate could lay a module."""
        assert self.shared_folder is not None
        root = os.path.realpath(self.shared_folder.root)
        if any(os.path.realpath(path or ".").startswith(root) for path in sys.path):
            self.observe("unseen", "files in a folder that the tests import from")
            return False
        return True

    def lacks(self, package: str, *, theirs: bool) -> NoReturn:
        side = "the candidate's" if theirs else "the tests'"
        raise CannotCrossError(
            f"a value needs the package {package!r}, which {side} side does not have"
        )

    def equal(self, left: Handle, right: Handle) -> bool:
        """Compare two of the candidate's objects by their own class.

        An object that also equals a stranger would equal everything; it equals nothing.
        """
        if self.ask("equal", number_of(left), (right,)) is not True:
            return False
        self.observe("own comparison", type(left).__name__)
        try:
            return self.ask("equal", number_of(left), (object(),)) is not True
        except Exception:  # noqa: BLE001 - its __eq__ takes objects of its own class alone
            return True

    def own_operator(self, name: str) -> None:
        if name in ("__lt__", "__le__", "__gt__", "__ge__", "__contains__"):
            self.observe("own comparison", name)

    def refused_operand(self, handle: Handle) -> None:
        self.observe("refused operand", type(handle).__name__)

    def compared_large(self, other: Any) -> None:
        """A value too large to cross was compared with one of ours: if ours could cross, the two differ."""
        try:
            dumps(Packer(_as_handle).pack(other))
        except Unsendable:
            return
        self.observe("refuted large answer", type(other).__name__)

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
        about_attribute = operation in ("attr", "setattr")
        if about_attribute and is_mock(thing) and MOCK_ASSERTIONS.match(str(args[0])):
            raise AttributeError(f"{args[0]!r} of a mock belongs to the tests")
        if operation == "special" and args[0] in SPECIAL and args[0] in features(thing):
            if args[0] == "__call__":
                return thing(*args[1:], **kwargs)
            return getattr(type(thing), args[0])(thing, *args[1:])
        if operation == "equal":
            return bool(thing == args[0])
        if operation in ("isinstance", "issubclass") and isinstance(thing, type):
            return (isinstance if operation == "isinstance" else issubclass)(args[0], thing)
        if operation == "hash":
            return hash(thing)
        if operation == "repr":
            return f"<{type(thing).__name__}>"
        if operation == "attr" and args[0] in FUNCTION_NAMES and type(thing) is types.FunctionType:
            return getattr(thing, args[0])
        if operation == "attr" and not args[0].startswith("_") and is_readable(thing):
            return getattr(thing, args[0])
        if operation == "setattr" and not args[0].startswith("_") and has_attributes(thing):
            return self._set_attribute(thing, args[0], args[1])
        raise AttributeError(
            f"{type(thing).__name__!r} object has no attribute {args[0] if args else operation!r}"
        )

    def _set_attribute(self, thing: Any, name: str, value: Any) -> None:
        """Let the candidate set an attribute of an object of the tests, unless that would be the test's own count."""
        counted = counters(type(thing).__mro__)
        if counted.get(name):
            raise AttributeError(f"{name!r} is counted by {type(thing).__name__} itself")
        if name in counted:
            self.observe("set by the candidate", f"{type(thing).__name__}.{name}")
        if callable(getattr(type(thing), name, None)) and not is_mock(thing):
            raise AttributeError(f"{name!r} is a method of {type(thing).__name__}")
        setattr(thing, name, value)

    def describe_error(self, error: BaseException) -> list[Any]:
        names = [describe_error_class(kind) for kind in type(error).__mro__]
        lineage = [[name, 0] for name in names if name]
        return [lineage, str(error)[:MAX_TEXT], None, 0, False, None]

    # What comes back.

    def adopt(self, tree: list[Any]) -> Any:
        if tree[0] == "h" and tree[4] == "class" and tree[5]:
            return self.error_class(tree[5])
        if tree[0] == "S" and type(tree[3]) is type(None):
            raise Malformed("a subclass of nothing")
        made = adopt(self, tree)
        if tree[0] == "h" and isinstance(made, Handle):
            if tree[4] == "large":
                set_mark(made, Mark.LARGE)
                self.observe("large answer", type(made).__name__)
            elif tree[4] == "class":
                set_mark(made, Mark.CLAIMED_CLASS)
        return made

    def error_class(self, lineage: list[Any]) -> type[BaseException]:
        """Return the local class for an exception class, told from the class itself up to `BaseException`."""
        found: type[BaseException] = BaseException
        for name, number in reversed(lineage):
            if number == 0:
                kind = local_error_class(name)
                found = kind if kind is not None and issubclass(kind, found) else found
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
            lineage, message, args, number, while_loading, attributes = error
            kind = self.error_class(lineage)
            given: list[Any] = [message] if args is None else self._plain(args)
            ends = issubclass(kind, ENDS_OF_ITERATION)
            if (ends and operation not in NEXT) or not (
                issubclass(kind, Exception) or kind is SystemExit
            ):
                # Anything else would end more of the tests than the call.
                kind, given, attributes = RuntimeError, [f"{kind.__name__}: {message}"], None
            raised = make_error(kind, given)
            for name, value in self._plain(attributes or ["d"]).items():
                if type(name) is str and not name.startswith("_"):
                    raised.__dict__[name] = value
            if number:
                raised.__dict__["_handle"] = adopt(self, ["h", number, "error", [], "object", None])
        except Exception as fault:  # noqa: BLE001 - whatever a malformed error does to the reading is the candidate's fault
            raise self.fail("nonsense", f"its error cannot be read: {fault!r}"[:200]) from None
        if while_loading:
            raise self.fail(
                "load", f"it does not load: {kind.__name__}: {message}"[:500].rstrip(": ")
            )
        raised.__dict__["_raised_by_candidate"] = True
        raise raised

    def _plain(self, tree: Any) -> Any:
        return Unpacker(_no_objects).unpack(tree)

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
        """Give changed arguments their new contents, unless that was done before."""
        if self.watched is not None:
            sys.settrace(None)
            self.watched.f_trace = None
            self.watched = None
        pending, self.pending = self.pending, []
        for old, new in pending:
            refill(old, new)


def _no_objects(tree: list[Any]) -> Any:
    raise Malformed("an object where there is none")


def _as_handle(thing: Any) -> Any:
    return ["h"]


def _ignore_calls(frame: types.FrameType, event: str, argument: Any) -> None:
    return None


def _error_attribute(self: BaseException, name: str) -> Any:
    handle = self.__dict__.get("_handle")
    if handle is None or name.startswith("__"):
        raise AttributeError(name)
    return getattr(handle, name)


@lru_cache(maxsize=64)
def statement_spans(source: str) -> list[tuple[int, int]]:
    """Return the first and last lines of all statements."""
    nodes = ast.walk(ast.parse(source))
    return [_span(node) for node in nodes if isinstance(node, ast.stmt | ast.ExceptHandler)]


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


def is_mock(thing: Any) -> bool:
    """Whether an object is a mock of the standard library."""
    return any(kind.__module__ == "unittest.mock" for kind in type(thing).__mro__)


def is_readable(thing: Any) -> bool:
    """Whether a candidate may read the public attributes of an object."""
    kind = type(thing)
    return has_attributes(thing) or (kind.__module__, kind.__name__) in READABLE


@lru_cache(maxsize=64)
def counters(classes: tuple[type, ...]) -> dict[str, bool]:
    """Return the attributes of `self` that methods of some classes change with an operator, such as `self.calls += 1`.

    True stands for one that only ever grows by a literal number: a count of what the tests saw.
    """
    import dis

    found: dict[str, bool] = {}
    for method in (method for kind in classes for method in vars(kind).values()):
        code = getattr(method, "__code__", None)
        if code is None:
            continue
        steps = [step for step in dis.get_instructions(code) if step.opname != "CACHE"]
        for i, step in enumerate(steps):
            if step.opname == "BINARY_OP" and step.argrepr.endswith("=") and i >= 2:
                stored = next((s for s in steps[i + 1 : i + 4] if s.opname == "STORE_ATTR"), None)
                if stored is not None:
                    literal = steps[i - 1].opname in ("LOAD_CONST", "LOAD_SMALL_INT")
                    found[stored.argval] = found.get(stored.argval, True) and literal
    return found


def make_error(kind: type[BaseException], args: list[Any]) -> BaseException:
    """Make an exception from its arguments, even where its constructor wants others."""
    try:
        return kind(*args)
    except TypeError:
        error = kind.__new__(kind)
        error.args = tuple(args)
        return error


def load_library(digest: str, descriptor: int) -> types.ModuleType:
    """Return the last module of a library, which is read from the descriptor unless this process has loaded it."""
    if digest not in _LIBRARIES:
        data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        magic, compiled_by_host, modules = marshal.loads(data)
        same = magic == importlib.util.MAGIC_NUMBER
        codes = marshal.loads(compiled_by_host) if same else [None] * len(modules)
        for (name, source), code in zip(modules, codes):
            module = sys.modules[name] = types.ModuleType(name)
            code = code or compile(source, f"<{name}>", "exec", dont_inherit=True)
            exec(code, vars(module))
        _LIBRARIES[digest] = module
    return _LIBRARIES[digest]


def compiled(
    source: str, name: str, rewrite: Callable[[str], ast.Module] | None = None
) -> types.CodeType:
    """Compile tests; a tester that stays compiles what it sees again and again, for sample after sample, only once."""
    make = _compiled.__wrapped__ if len(source) > MAX_KEPT_SOURCE else _compiled
    return make(source, name, rewrite)


@lru_cache(maxsize=512)
def _compiled(
    source: str, name: str, rewrite: Callable[[str], ast.Module] | None
) -> types.CodeType:
    tree = rewrite(source) if rewrite else source
    return compile(tree, name, "exec", dont_inherit=True)


def run(
    channel: socket.socket,
    source: str,
    report_file: int | None = None,
    *,
    arguments: Sequence[str] = (),
    library_at: tuple[str, int] | None = None,
) -> Remote:
    """Execute `source` with the global `remote`; return that. An uncaught exception is printed.

    Reports are also written to `report_file`, a descriptor, as they come. `arguments` and `library_at` are as in `Remote`.
    """
    remote = Remote(channel, report_file, arguments=arguments, library_at=library_at)
    names: dict[str, Any] = {"__name__": "__tester__", "remote": remote, "Broken": Broken}
    try:
        exec(compiled(source, "<tester>"), names)
    except BaseException:  # noqa: BLE001 - tests may end in any way; what was reported until then still counts
        traceback.print_exc()
    finally:
        sys.settrace(None)
        for undo in remote.at_end:
            undo()
        channel.close()
    return remote

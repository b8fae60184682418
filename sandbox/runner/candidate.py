"""The candidate's end: load a program, then answer calls until the tester hangs up.

The program it loads can overwrite everything here. That is no loss: all it can do is answer calls, and the other end
decides what to make of an answer.
"""

from __future__ import annotations

import _socket
import copy
import io
import os
import random
import sys
import types
from typing import Any

from stepgym.sandbox.runner.codec import Packer, Unsendable, dumps
from stepgym.sandbox.runner.exceptions import describe_error_class, local_error_class
from stepgym.sandbox.runner.handles import (
    Handle,
    Mark,
    awaited,
    features,
    handle_class,
    number_of,
    short_name,
    subclass,
)
from stepgym.sandbox.runner.link import MAX_TEXT, Broken, Link
from stepgym.sandbox.runner.shared_folder import SharedFolder
from stepgym.sandbox.runner.values import refill

MODULE_NAME = "solution"
FILE_NAME = f"<{MODULE_NAME}>"
MAX_ERROR_BYTES = 1 << 16
"""Larger arguments of an exception are dropped; its message is sent."""


class CandidateLink(Link):
    """Answers for a module."""

    guards_operands = False
    """Objects of the tests may see any operand that the program has: it has no secrets from them."""

    def __init__(self) -> None:
        super().__init__()
        self.module = types.ModuleType(MODULE_NAME)
        self.names = vars(self.module)
        self.load_error: BaseException | None = None
        self.captured: io.StringIO | None = None
        self.captured_error: io.StringIO | None = None
        self.warned: list[Any] | None = None
        self.folder: SharedFolder | None = None
        self.stdin: io.StringIO | None = None
        self.replaced: dict[str, list[Any]] = {}
        self.renamed: list[tuple[bytes, bytes]] = []
        """The tester's name of the shared folder and the name here, if they differ."""

    def describe(self, thing: Any) -> Any:
        if isinstance(thing, Handle):
            return ["w", number_of(thing)]
        number = self.objects.number(thing)
        if isinstance(thing, type):
            lineage = None
            if issubclass(thing, BaseException):
                lineage = [
                    self.describe_class(kind)
                    for kind in thing.__mro__
                    if issubclass(kind, BaseException)
                ]
            return ["h", number, thing.__name__, features(thing), "class", lineage]
        kind = "coroutine" if type(thing) is types.CoroutineType else "object"
        return ["h", number, type(thing).__name__, features(thing), kind, None]

    def describe_class(self, kind: type) -> list[Any]:
        """Name an exception class: a standard one by module and name, one of the program's by name and number."""
        standard = describe_error_class(kind)
        return [standard, 0] if standard else [kind.__name__, self.objects.number(kind)]

    def describe_large(self, value: Any) -> Any:
        tree = super().describe_large(value)
        return [*tree[:4], "large", None] if tree[0] == "h" else tree

    def adopt(self, tree: list[Any]) -> Any:
        return adopt(self, tree)

    def describe_error(self, error: BaseException) -> list[Any]:
        kind = type(error)
        lineage = [
            self.describe_class(base) for base in kind.__mro__ if issubclass(base, BaseException)
        ]
        try:
            message = str(error)[:MAX_TEXT]
        except Exception:  # noqa: BLE001 - the program's own __str__ may fail in any way
            message = ""
        standard = lineage[0][1] == 0
        args: tuple[Any, ...] = error.args
        if isinstance(error, OSError) and error.filename is not None and len(args) == 2:
            args = (*args, error.filename)
        return [
            lineage,
            message,
            _plain_tree(list(args)) if standard else None,
            0 if standard else self.objects.number(error),
            error is self.load_error,
            _plain_tree(dict(vars(error))) if standard and vars(error) else None,
        ]

    def equal(self, left: Handle, right: Any) -> bool:
        """Compare an object of the tests by its own class."""
        return self.ask("equal", number_of(left), (right,)) is True

    def settle(self, changes: list[tuple[Any, Any]], value: Any) -> None:
        for old, new in changes:
            refill(old, new)

    def raise_theirs(self, error: list[Any], operation: str) -> Any:
        lineage, message = error[0], error[1]
        for name, _ in lineage:
            kind = local_error_class(name)
            if kind is not None:
                try:
                    raised = kind(message)
                except TypeError:  # its constructor wants other arguments
                    continue
                raise raised
        raise RuntimeError(message)

    def encode(self, frame: bytes) -> bytes:
        for theirs, ours in self.renamed:
            if ours in frame:
                text = frame[4:].replace(ours, theirs)
                frame = len(text).to_bytes(4, "big") + text
        return frame

    def decode(self, text: bytes) -> bytes:
        for theirs, ours in self.renamed:
            text = text.replace(theirs, ours)
        return text

    def news(self) -> Any:
        found: dict[str, Any] = {}
        for name, stream in (("printed", self.captured), ("printed_error", self.captured_error)):
            if stream is not None and (text := stream.getvalue()):
                stream.seek(0)
                stream.truncate()
                found[name] = text[: 1 << 20]
        if self.stdin is not None and not self.stdin.closed and (read := self.stdin.tell()):
            found["read"], self.stdin = read, None
        if self.warned:
            found["warnings"], self.warned[:] = list(self.warned), []
        if self.folder is not None and (changes := self.folder.changes()):
            found["files"] = Packer(_refuse).pack(changes)
        return found or None

    def capture(self, streams: list[str]) -> None:
        """Collect from now on what is printed ("stdout", "stderr") and what is warned of ("warnings"), to send it with answers."""
        self.captured = io.StringIO() if "stdout" in streams else None
        sys.stdout = self.captured or sys.__stdout__
        self.captured_error = io.StringIO() if "stderr" in streams else None
        sys.stderr = self.captured_error or sys.__stderr__
        if "warnings" in streams and self.warned is None:
            import warnings

            self.warned = []
            warnings.simplefilter("always")
            warnings.showwarning = self._collect_warning  # type: ignore[assignment]

    def _collect_warning(self, message: Any, category: Any, *place: Any) -> None:
        lineage = [describe_error_class(kind) for kind in category.__mro__]
        assert self.warned is not None
        self.warned.append([[name for name in lineage if name], str(message)[:MAX_TEXT]])

    def share(self, state: dict[str, Any]) -> None:
        """Take over what the tests changed in their process: files, environment variables, seeds."""
        if "folder" in state:
            here = os.getcwd()
            if state["folder"] != here:
                self.renamed = [(os.fsencode(state["folder"]), os.fsencode(here))]
            self.folder = SharedFolder(here)
        if self.folder is not None:
            self.folder.apply(state.get("files", {}))
        if "cwd" in state and self.folder is not None:
            os.chdir(os.path.join(self.folder.root, state["cwd"]))
        for name, value in state.get("environment", {}).items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if "stdin" in state:
            self.stdin = sys.stdin = io.StringIO(state["stdin"])
        for module, arguments in state.get("seeds", []):
            if module == "random":
                random.seed(*arguments)
            elif "numpy" in sys.modules:
                sys.modules["numpy"].random.seed(*arguments)

    def perform(self, operation: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self.load_error is not None:
            raise self.load_error
        if operation == "load":
            return None
        if operation == "get":
            return getattr(self.module, target)
        if operation == "has":
            return [name for name in args[0] if name in vars(self.module)]
        if operation == "capture":
            return self.capture(args[0])
        if operation == "share":
            return self.share(args[0])
        if operation in ("replace", "restore"):
            owner, attribute = find_owner(target)
            stack = self.replaced.setdefault(target, [])
            if operation == "replace":
                stack.append(getattr(owner, attribute, None))
                return setattr(owner, attribute, args[0])
            return setattr(owner, attribute, stack.pop()) if stack else None
        thing: Any = self.module if target == 0 else self.objects.by_number[target]
        match operation:
            case "special":
                if args[0] == "__call__":
                    return thing(*args[1:], **kwargs)
                return getattr(type(thing), args[0])(thing, *args[1:], **kwargs)
            case "await":
                import asyncio

                return asyncio.run(thing)
            case "attr":
                return getattr(thing, args[0])
            case "setattr":
                return setattr(thing, args[0], args[1])
            case "delattr":
                return delattr(thing, args[0])
            case "equal":
                return bool(thing == args[0])
            case "isinstance":
                return isinstance(args[0], thing)
            case "issubclass":
                return issubclass(args[0], thing)
            case "hash":
                return hash(thing)
            case "repr":
                return repr(thing)
            case "dir":
                return dir(thing)
            case "copy":
                return copy.deepcopy(thing) if args[0] else copy.copy(thing)
        raise LookupError(operation)


def adopt(link: Link, tree: list[Any]) -> Any:
    """Make or find the stand-in that a tree names, or return one of this end's own objects."""
    if tree[0] == "w":
        return link.objects.by_number[tree[1]]
    if tree[0] == "S":
        base: Any = type(tree[3])
        value = subclass(short_name(tree[1]), base)(tree[3])
        value.__dict__["_handle"] = adopt(link, tree[2])
        return value
    _, number, name, offered, _, _ = tree
    if type(number) is not int:
        raise ValueError("a bad handle")
    handle = link.stand_ins.get(number)
    if handle is None:
        handle = handle_class(short_name(name), frozenset(offered))(link, number, Mark.PLAIN)
        link.stand_ins[number] = handle
    link.dropped.discard(number)
    return awaited(handle) if tree[4] == "coroutine" else handle


def find_owner(name: str) -> tuple[Any, str]:
    """Return the module or class of a dotted name, and the last part of the name."""
    parts = name.split(".")
    owner: Any = None
    for i in range(1, len(parts)):
        part = ".".join(parts[:i])
        try:
            __import__(part)
            owner = sys.modules[part]
        except ImportError:
            owner = getattr(owner, parts[i - 1])
    return owner, parts[-1]


def _refuse(value: Any) -> Any:
    raise Unsendable("not plain data")


def _plain_tree(value: Any) -> Any:
    """Pack a small value that is plain data; `None` for any other."""
    try:
        tree = Packer(_refuse).pack(value)
        return tree if len(dumps(tree)) <= MAX_ERROR_BYTES else None
    except Exception:  # noqa: BLE001 - arguments of an exception may be of any class
        return None


def serve(channel: _socket.socket, source: str, link: CandidateLink) -> None:
    """Run `source` as the module of `link`, then answer calls over `channel` until it is closed.

    A program that fails to load is not an error here: every call is answered with what it raised.
    """
    link.channel = channel
    sys.modules[MODULE_NAME] = link.module
    try:
        exec(
            compile(source.removeprefix("\ufeff"), FILE_NAME, "exec", dont_inherit=True), link.names
        )
    except SystemExit as ending:
        # A program that ends with success has defined what it defines; it can be called like a module.
        link.load_error = None if ending.code in (None, 0) else ending
    except BaseException as error:  # noqa: BLE001 - the program's failure is the answer to every call, whatever it is
        link.load_error = error
    try:
        while True:
            link.answer(link.receive())
    except Broken:
        return

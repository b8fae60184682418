"""The candidate's end: load a program, then answer calls until the tester hangs up.

Everything here can be overwritten by the program it loads. That is no loss: whatever the program makes of it, all it
can do is answer calls, and what an answer is worth is decided at the other end.
"""

from __future__ import annotations

import _socket
import io
import sys
import types
from typing import Any

from stepgym.sandbox.runner.handles import (
    EXCEPTIONS,
    Handle,
    awaited,
    features,
    handle_class,
    number_of,
    short_name,
    subclass,
)
from stepgym.sandbox.runner.link import MAX_TEXT, Broken, Link

MODULE_NAME = "solution"


class CandidateLink(Link):
    """Answers for a module."""

    def __init__(self, channel: _socket.socket, module: types.ModuleType) -> None:
        super().__init__(channel)
        self.module = module
        self.load_error: BaseException | None = None
        self.captured: io.StringIO | None = None
        self.described: dict[str, Any] = {}

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
        """A built-in exception class by name alone, one of the program's by name and number."""
        return [
            kind.__name__,
            0 if EXCEPTIONS.get(kind.__name__) is kind else self.objects.number(kind),
        ]

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
        args = [
            arg
            for arg in error.args
            if type(arg) in (int, str, float, bool, type(None)) and len(str(arg)) < MAX_TEXT
        ]
        exact = lineage[0][1] == 0 and len(args) == len(error.args)
        return [
            lineage,
            message,
            args if exact else None,
            0 if lineage[0][1] == 0 else self.objects.number(error),
            error is self.load_error,
        ]

    def settle(self, changes: list[tuple[Any, Any]], value: Any) -> None:
        for old, new in changes:
            refill(old, new)

    def raise_theirs(self, error: list[Any], operation: str) -> Any:
        lineage, message = error[0], error[1]
        for name, _ in lineage:
            if name in EXCEPTIONS:
                raise EXCEPTIONS[name](message)
        raise RuntimeError(message)

    def printed(self) -> str | None:
        if self.captured is None:
            return None
        text = self.captured.getvalue()
        self.captured.seek(0)
        self.captured.truncate()
        return text[: 1 << 20]

    def perform(self, operation: str, target: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if self.load_error is not None:
            raise self.load_error
        if operation == "load":
            return None
        if operation == "get":
            return getattr(self.module, target)
        if operation == "capture":
            self.captured = io.StringIO() if args[0] else None
            sys.stdout = self.captured or sys.__stdout__
            return None
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
        handle = handle_class(short_name(name), frozenset(offered))(link, number, "")
        link.stand_ins[number] = handle
    link.dropped.discard(number)
    return awaited(handle) if tree[4] == "coroutine" else handle


def refill(old: Any, new: Any) -> None:
    """Give a container the contents of another of its type, in place."""
    if isinstance(old, list | bytearray):
        old[:] = new
    else:
        old.clear()
        old.update(new)


def serve(channel: _socket.socket, source: str, *, name: str = MODULE_NAME) -> None:
    """Run `source` as a module, then answer calls over `channel` until it is closed.

    A program that fails to load is not an error here: every call is answered with what it raised.
    """
    module = types.ModuleType(name)
    sys.modules[name] = module
    link = CandidateLink(channel, module)
    try:
        exec(
            compile(source.removeprefix("\ufeff"), f"<{name}>", "exec", dont_inherit=True),
            vars(module),
        )
    except BaseException as error:  # noqa: BLE001 - the program's failure is the answer to every call, whatever it is
        link.load_error = error
    try:
        while True:
            link.answer(link.receive())
    except Broken:
        return

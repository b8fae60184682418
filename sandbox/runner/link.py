"""One conversation over one socket: questions, answers, and questions back while an answer is awaited.

Each end has a table of objects that the other end may name but never receives. The end that owns an object decides what
may be asked of it (`Link.perform`). Not covered: threads; one conversation has one thread at each end.
"""

from __future__ import annotations

import _socket
import struct
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from stepgym.sandbox.runner.codec import (
    MAX_FRAME_BYTES,
    Malformed,
    Packer,
    Unpacker,
    Unsendable,
    dumps,
    loads,
)
from stepgym.sandbox.runner.values import MissingPackageError, changed, snapshot

SLACK_S = 0.2
"""A wait may exceed the budget by this much; that saves two system calls per question."""
MAX_FORESEEN_BYTES = 1 << 15
"""Most bytes of calls sent ahead: they fit into the channel even while the other end does not read."""
Call = tuple[str, Any, tuple[Any, ...], dict[str, Any]]
MAX_TEXT = 4000
"""Longest exception message that crosses; a longer one is cut."""


class Broken(BaseException):
    """The other end is gone, out of time, or talks nonsense. Not an `Exception`: tests must not swallow it."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


class CannotCrossError(BaseException):
    """The tests need something that two processes cannot have. Not an `Exception`: tests must not swallow it."""


class Objects:
    """The objects of this end that the other end holds a handle of, by number."""

    def __init__(self) -> None:
        self.by_number: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}
        self.next_number = 1

    def number(self, thing: Any) -> int:
        number = self.numbers.get(id(thing))
        if number is None:
            number = self.next_number
            self.next_number += 1
            self.numbers[id(thing)] = number
            self.by_number[number] = thing
        return number

    def release(self, number: int) -> None:
        thing = self.by_number.pop(number, self)
        if thing is not self:
            self.numbers.pop(id(thing), None)


class Link:
    """One end. `describe` names an object for the other end, `adopt` makes a stand-in for one of theirs,
    `perform` does what the other end asks, `settle` receives new contents of arguments that a call changed."""

    channel: _socket.socket
    guards_operands = True
    """Whether stand-ins at this end withhold plain operands from the other end's objects; see `handles`."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.sequence = 0
        self.budget_s: float | None = None
        self.armed_s = -1.0
        self.broken: Broken | None = None
        self.objects = Objects()
        self.stand_ins: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.dropped: set[int] = set()
        self.foreseen: deque[list[Any]] = deque()
        self.abandoned = range(0)
        self.batch = 0
        """How often questions were sent ahead."""
        self.skipped = 0
        """The batch of which the other end wants no more answers, because one of them ended it."""
        self.handed = 0
        """How often an object was handed over, either way."""

    describe: Callable[[Any], Any]
    adopt: Callable[[list[Any]], Any]
    perform: Callable[[str, Any, list[Any], dict[str, Any]], Any]
    settle: Callable[[list[tuple[Any, Any]], Any], None]
    raise_theirs: Callable[[list[Any], str], Any]
    describe_error: Callable[[BaseException], list[Any]]

    def fail(self, kind: str, reason: str) -> Broken:
        """Mark this end unusable for good; the first reason stays."""
        if self.broken is None:
            self.broken = Broken(kind, reason)
        return self.broken

    def send(self, frame: bytes) -> None:
        try:
            self._arm()
            self.channel.sendall(self.encode(frame))
        except (TimeoutError, BlockingIOError):
            raise self.fail("timeout", "it did not take the question in time") from None
        except (OSError, ValueError):
            raise self.fail("closed", "its end of the channel is closed") from None

    def _arm(self) -> None:
        """Have the kernel end a wait when the budget is spent; set again only after some of it was spent."""
        if self.budget_s is None or 0 <= self.armed_s - self.budget_s < SLACK_S:
            return
        if self.budget_s <= 0:
            raise self.fail("timeout", "it did not answer in time")
        self.armed_s = self.budget_s
        seconds = int(self.budget_s)
        limit = struct.pack("@ll", seconds, max(1, int((self.budget_s - seconds) * 1e6)))
        for option in (_socket.SO_RCVTIMEO, _socket.SO_SNDTIMEO):
            self.channel.setsockopt(_socket.SOL_SOCKET, option, limit)

    def receive(self) -> list[Any]:
        """Return the next message. Time waited is subtracted from `budget_s`, so that a slow sender is stopped too."""
        size = int.from_bytes(self._take(4), "big")
        if size > MAX_FRAME_BYTES:
            raise self.fail("nonsense", f"it announced a message of {size} bytes")
        try:
            message = loads(self.decode(self._take(size)))
        except (ValueError, RecursionError, MemoryError) as error:
            raise self.fail("nonsense", f"it sent what is no message: {error}"[:200]) from None
        if type(message) is not list or not message:
            raise self.fail("nonsense", "it sent what is no message")
        return message

    def encode(self, frame: bytes) -> bytes:
        """Return a frame as it is sent; an end may rewrite names of folders here."""
        return frame

    def decode(self, text: bytes) -> bytes:
        """Return the text of a frame as it is read; the way back of `encode`."""
        return text

    def _take(self, size: int) -> bytes:
        buffer = self.buffer
        while len(buffer) < size:
            start = time.monotonic()
            try:
                self._arm()
                piece = self.channel.recv(16384 if size < 16384 else 1 << 20)
            except (TimeoutError, BlockingIOError):
                raise self.fail("timeout", "it did not answer in time") from None
            except (OSError, ValueError):
                raise self.fail("closed", "its end of the channel is closed") from None
            if self.budget_s is not None:
                self.budget_s -= time.monotonic() - start
                if self.budget_s <= 0:
                    raise self.fail("timeout", "it did not answer in time")
            if not piece:
                raise self.fail("closed", "its process ended")
            buffer += piece
        taken = bytes(buffer[:size])
        del buffer[:size]
        return taken

    def foresee(self, calls: Sequence[Call]) -> None:
        """Send what will certainly be asked next, in this order, so that the other end need not wait for each question.

        Nothing is sent where it is so much that both ends could wait for the other to read. What was foreseen ends with
        an answer that hands over an object (a generator, say): its use may be next, so that the other end stops there.
        """
        if self.foreseen:
            return
        try:
            questions = [self._question(Packer(self._export), *call) for call in calls]
        except Unsendable:
            return  # said when it is asked
        self.batch += 1
        data = b"".join(
            dumps(["?", self.sequence + i, *question, self.batch])
            for i, question in enumerate(questions, start=1)
        )
        if len(data) <= MAX_FORESEEN_BYTES:
            self.send(data)
            self.foreseen.extend(questions)

    def _question(
        self,
        packer: Packer,
        operation: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> list[Any]:
        packed = [
            packer.pack(item) for item in args
        ]  # numbered before the named ones, as `answer` unpacks them
        return [
            operation,
            target,
            packed,
            [[name, packer.pack(item)] for name, item in kwargs.items()],
        ]

    def ask(
        self,
        operation: str,
        target: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Ask the other end to do something and return what came of it, or raise what it raised."""
        if self.broken is not None:
            raise self.broken
        packer = Packer(self._export)
        question = self._question(packer, operation, target, args, kwargs or {})
        if self.foreseen and self.foreseen[0] != question:
            self._abandon()
        self.sequence += 1
        sequence = self.sequence
        if self.foreseen:
            self.foreseen.popleft()
        else:
            freed, self.dropped = list(self.dropped), set()
            self.send(dumps(["?", sequence, *question, freed]))
        while True:
            message = self.receive()
            if message[0] == "?":
                self.answer(message)
                continue
            if message[0] in ("=", "!", "x") and len(message) == 5 and message[1] == sequence:
                break
            if len(message) == 5 and type(message[1]) is int and message[1] in self.abandoned:
                continue
            raise self.fail("nonsense", "it answered what was not asked")
        handed = self.handed
        if message[0] == "x":
            self.lacks(str(message[2])[:80], theirs=True)
        try:
            changes = self._changes(message[3], packer.containers) if message[3] else []
            if message[4] is not None:
                self.heard(message[4])
            if message[0] == "=":
                value = Unpacker(self._adopt, list(packer.containers)).unpack(message[2])
        except Broken:
            raise
        except MissingPackageError as error:
            self.lacks(str(error), theirs=False)
        except Exception as error:  # noqa: BLE001 - whatever a malformed answer does to the unpacking is the other end's fault
            raise self.fail("nonsense", f"its answer cannot be read: {error!r}"[:200]) from None
        if self.handed != handed:
            self._abandon()
        if message[0] == "!":
            self.settle(changes, None)
            self.raise_theirs(message[2], args[0] if operation == "special" else operation)
        if changes:
            self.settle(changes, value)
        return value

    def _abandon(self) -> None:
        """Forget the calls sent ahead; answers to them may still come."""
        self.abandoned = range(self.sequence + 1, self.sequence + 1 + len(self.foreseen))
        self.sequence += len(self.foreseen)
        self.foreseen.clear()

    def _export(self, thing: Any) -> Any:
        self.handed += 1
        return self.describe(thing)

    def _adopt(self, tree: list[Any]) -> Any:
        self.handed += 1
        return self.adopt(tree)

    def heard(self, news: Any) -> None:
        """Take what happened at the other end besides the answer (see `news`); nothing by default."""

    def lacks(self, package: str, *, theirs: bool) -> NoReturn:
        """Raise because a value needs a package that this end, or the other one, does not have."""
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    def _changes(self, trees: list[Any], containers: list[Any]) -> list[tuple[Any, Any]]:
        changes = []
        for number, tree in trees:
            old = containers[number]
            new = Unpacker(self._adopt, list(containers)).unpack(tree)
            if type(new) is not type(old) or number < 0:
                raise Malformed("a changed argument of another type")
            changes.append((old, new))
        return changes

    def answer(self, message: list[Any]) -> None:
        """Carry out a request of the other end and send the result."""
        try:
            _, sequence, operation, target, packed_args, packed_kwargs, freed = message
            batch, freed = (freed, ()) if type(freed) is int else (0, freed)
            if batch and batch == self.skipped:
                return
            for number in freed:
                self.objects.release(number)
            unpacker = Unpacker(self._adopt)
            args = [unpacker.unpack(tree) for tree in packed_args]
            kwargs = {name: unpacker.unpack(tree) for name, tree in packed_kwargs}
        except Broken:
            raise
        except MissingPackageError as error:
            self.send(dumps(["x", message[1], str(error), [], None]))
            return
        except Exception as error:  # noqa: BLE001 - whatever a malformed question does to the unpacking is the other end's fault
            raise self.fail("nonsense", f"its question cannot be read: {error!r}"[:200]) from None
        containers = unpacker.containers
        before = [snapshot(container) for container in containers]
        try:
            value, kind = self.perform(operation, target, args, kwargs), "="
        except Broken:
            raise
        except BaseException as error:  # noqa: BLE001 - a program's failure is an answer, whatever it is
            value, kind = self.describe_error(error), "!"
        handed = self.handed
        self.send(self._reply(kind, sequence, value, containers, before))
        if batch and self.handed != handed:
            self.skipped = batch

    def _reply(
        self, kind: str, sequence: int, value: Any, containers: list[Any], before: list[Any]
    ) -> bytes:
        handed = self.handed
        try:
            changes = self._changed(containers, before) if containers else []
            if kind == "=":
                # A changed argument that is returned crosses as a copy: see `settle` of the tester.
                packed = Packer(
                    self._export, [] if changes and value is not None else list(containers)
                ).pack(value)
            return dumps([kind, sequence, packed if kind == "=" else value, changes, self.news()])
        except (Unsendable, MemoryError, RecursionError, ValueError) as error:
            self.handed = handed  # nothing of it crosses
            if kind == "=":
                return dumps([kind, sequence, self.describe_large(value), [], None])
            return dumps(["!", sequence, self.describe_error(error), [], None])

    def describe_large(self, value: Any) -> Any:
        """Name an object for the other end that is too large, or nested too deeply, to cross by value."""
        self.handed += 1
        return self.describe(value)

    def news(self) -> Any:
        """Return what happened here since the last answer that the other end asked to be told, or `None`."""
        return None

    def _changed(self, containers: list[Any], before: list[Any]) -> list[Any]:
        changes = []
        for number, (container, old) in enumerate(zip(containers, before)):
            if changed(old, snapshot(container)):
                packer = Packer(self._export, list(containers))
                changes.append([number, packer.contents_anew(container)])
        return changes

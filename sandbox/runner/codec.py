"""Values on the wire between a candidate and its tester: JSON text of tagged trees, in length-prefixed frames.

Types cross exactly. What is plain data crosses by value; everything else crosses as a handle through the two hooks
(`export`, `adopt`), so that no code ever travels. Both sides run this file, but only the tester relies on it: it
takes nothing of what the other side says on trust. Not covered: values that contain themselves (refused), and
data nested deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Callable
from typing import Any

MAX_FRAME_BYTES = 8 << 20
MAX_DEPTH = 200
MAX_NODES = 2_000_000
MUTABLE = (list, dict, set, bytearray)
"""Containers that are numbered in order of appearance, so that both sides can name one and send its new contents."""

BASES = (str, bytes, bytearray, int, float, complex, tuple, list, dict, set, frozenset)
SHARED_TYPES = frozenset(
    {*BASES, bool, object, range, slice, type(None)}
    | {
        thing
        for thing in vars(builtins).values()
        if isinstance(thing, type) and issubclass(thing, BaseException)
    }
)
TYPE_NAMES = {kind: kind.__name__ for kind in SHARED_TYPES}
TYPES_BY_NAME = {name: kind for kind, name in TYPE_NAMES.items()}


class Unsendable(TypeError):
    """A value that cannot cross: it contains itself, is nested too deeply or is too large."""


class Malformed(Exception):
    """The other side sent something that is not a message of this protocol."""


def _value_parts(name: str, value: Any) -> tuple[Any, ...] | None:
    """Return the constructor arguments that remake a value of a well-known standard type."""
    match name:
        case "decimal.Decimal" | "uuid.UUID":
            return (str(value),)
        case "fractions.Fraction":
            return (value.numerator, value.denominator)
        case "collections.Counter":
            return (dict(value),)
        case "collections.OrderedDict":
            return (list(value.items()),)
        case "collections.deque":
            return (list(value), value.maxlen)
        case "collections.defaultdict":
            factory = value.default_factory
            return (factory if factory in TYPE_NAMES else None, dict(value))
        case "datetime.date":
            return (value.year, value.month, value.day)
        case "datetime.timedelta":
            return (value.days, value.seconds, value.microseconds)
        case "datetime.time" if value.tzinfo is None:
            return (value.hour, value.minute, value.second, value.microsecond)
        case "datetime.datetime" if value.tzinfo is None:
            return (
                value.year,
                value.month,
                value.day,
                value.hour,
                value.minute,
                value.second,
                value.microsecond,
            )
    return None


VALUE_TYPES = {
    "Decimal": "decimal",
    "UUID": "uuid",
    "Fraction": "fractions",
    "Counter": "collections",
    "OrderedDict": "collections",
    "deque": "collections",
    "defaultdict": "collections",
    "date": "datetime",
    "timedelta": "datetime",
    "time": "datetime",
    "datetime": "datetime",
}
"""Well-known types that are values, by name, with the module that has them."""


def _known_value(kind: type) -> str | None:
    """Return the dotted name of a well-known type; a class that only borrows the name is not one."""
    module = VALUE_TYPES.get(kind.__name__)
    if module is None or getattr(sys.modules.get(module), kind.__name__, None) is not kind:
        return None
    return f"{module}.{kind.__name__}"


def plain(value: Any) -> Any:
    """Return the built-in value inside an instance of a subclass, without running any method of the subclass."""
    sequences: tuple[Any, ...] = (str, bytes, bytearray, list, tuple)
    for base in sequences:
        if issubclass(type(value), base):
            return base.__getitem__(value, slice(None))
    if issubclass(type(value), int):
        return int.__int__(value)
    if issubclass(type(value), float):
        return float.__float__(value)
    if issubclass(type(value), complex):
        return complex.__pos__(value)
    if issubclass(type(value), dict):
        return dict.copy(value)
    return (set if issubclass(type(value), set) else frozenset)().union(value)


class Packer:
    """Turns values into trees. `containers` lists the mutable containers met, in order; index is their number."""

    def __init__(self, export: Callable[[Any], Any], containers: list[Any] | None = None) -> None:
        self.export = export
        self.containers = containers if containers is not None else []
        self.numbers = {id(container): number for number, container in enumerate(self.containers)}
        self.open: set[int] = set()
        self.nodes = 0

    def pack(self, value: Any) -> Any:
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is str:
            if len(value) > MAX_FRAME_BYTES:
                raise Unsendable(f"a string of {len(value)} characters is too large to cross")
            return value
        if kind is int:
            return value if -(1 << 53) < value < 1 << 53 else ["i", hex(value)]
        self.nodes += 1
        if self.nodes > MAX_NODES or len(self.open) > MAX_DEPTH:
            raise Unsendable("the value is too large or nested too deeply to cross")
        if kind in MUTABLE:
            number = self.numbers.setdefault(id(value), len(self.containers))
            if number < len(self.containers):
                if id(value) in self.open:
                    raise Unsendable("a value that contains itself cannot cross")
                return ["@", number]
            self.containers.append(value)
        return self.contents(value, kind)

    def contents(self, value: Any, kind: type) -> Any:
        """Pack a value that is not a scalar, a mutable container's contents included."""
        if kind is bytes or kind is bytearray:
            return ["b" if kind is bytes else "B", value.decode("latin-1")]
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            return [
                {list: "l", tuple: "t", set: "s", frozenset: "z"}[kind],
                *self._items(value, value),
            ]
        if kind is dict:
            return ["d", *self._items(value, [part for pair in value.items() for part in pair])]
        if kind is complex:
            return ["c", value.real, value.imag]
        if kind is range or kind is slice:
            return [
                "r" if kind is range else "o",
                *map(self.pack, (value.start, value.stop, value.step)),
            ]
        if value is Ellipsis or value is NotImplemented:
            return ["e" if value is Ellipsis else "n"]
        if isinstance(value, type) and value in TYPE_NAMES:
            return ["y", TYPE_NAMES[value]]
        name = _known_value(kind)
        parts = _value_parts(name, value) if name else None
        if parts is not None:
            return ["v", name, *self._items(value, parts)]
        if issubclass(kind, BASES):
            return ["S", kind.__name__, self.export(value), self.contents_of_subclass(value)]
        return self.export(value)

    def contents_of_subclass(self, value: Any) -> Any:
        inner = plain(value)
        kind = type(inner)
        return self.pack(inner) if kind in (str, int, float) else self.contents(inner, kind)

    def _items(self, owner: Any, items: Any) -> list[Any]:
        key = id(owner)
        if key in self.open:
            raise Unsendable("a value that contains itself cannot cross")
        self.open.add(key)
        try:
            return [self.pack(item) for item in items]
        finally:
            self.open.discard(key)


class Unpacker:
    """Turns trees back into values; raises on anything else than a well-formed tree (see `decode`)."""

    def __init__(
        self, adopt: Callable[[list[Any]], Any], containers: list[Any] | None = None
    ) -> None:
        self.adopt = adopt
        self.containers = containers if containers is not None else []

    def unpack(self, tree: Any, depth: int = 0) -> Any:
        if type(tree) is not list:
            if type(tree) is dict:
                raise Malformed("a bare object")
            return tree
        if depth > MAX_DEPTH + 8:
            raise Malformed("nested too deeply")
        tag = tree[0]
        if tag == "l":
            made: list[Any] = []
            self.containers.append(made)
            made.extend([self.unpack(item, depth + 1) for item in tree[1:]])
            return made
        if tag == "d":
            table: dict[Any, Any] = {}
            self.containers.append(table)
            parts = [self.unpack(item, depth + 1) for item in tree[1:]]
            table.update(zip(parts[::2], parts[1::2], strict=True))
            return table
        if tag == "s":
            members: set[Any] = set()
            self.containers.append(members)
            members.update([self.unpack(item, depth + 1) for item in tree[1:]])
            return members
        if tag == "t":
            return tuple([self.unpack(item, depth + 1) for item in tree[1:]])
        if tag == "B":
            array = bytearray(tree[1].encode("latin-1"))
            self.containers.append(array)
            return array
        return self._rare(tag, tree, depth)

    def _rare(self, tag: str, tree: list[Any], depth: int) -> Any:
        match tag:
            case "@":
                return self.containers[_index(tree[1])]
            case "i":
                return int(tree[1], 16)
            case "b":
                return tree[1].encode("latin-1")
            case "z":
                return frozenset([self.unpack(item, depth + 1) for item in tree[1:]])
            case "c":
                return complex(tree[1], tree[2])
            case "r" | "o":
                start, stop, step = [self.unpack(part, depth + 1) for part in tree[1:]]
                return range(start, stop, step) if tag == "r" else slice(start, stop, step)
            case "e":
                return Ellipsis
            case "n":
                return NotImplemented
            case "y":
                return TYPES_BY_NAME[tree[1]]
            case "v":
                return self._value(tree, depth)
            case "S" | "h" | "w":
                return self.adopt(
                    [*tree[:3], self._subclass_contents(tree[3], depth)] if tag == "S" else tree
                )
        raise Malformed(f"unknown tag {tag!r:.40}")

    def _value(self, tree: list[Any], depth: int) -> Any:
        module, _, name = tree[1].rpartition(".")
        if VALUE_TYPES.get(name) != module:
            raise Malformed(f"unknown type {tree[1]!r:.40}")
        __import__(module)
        return getattr(sys.modules[module], name)(
            *[self.unpack(part, depth + 1) for part in tree[2:]]
        )

    def _subclass_contents(self, tree: Any, depth: int) -> Any:
        """A subclass's contents are not numbered: the other side did not number them either."""
        number = len(self.containers)
        value = self.unpack(tree, depth + 1)
        if type(value) in MUTABLE:
            del self.containers[number]
        return value


def _index(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise Malformed("a bad container number")
    return number


_ENCODE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def dumps(tree: Any) -> bytes:
    """Return one frame; raises `Unsendable` where it would be too large."""
    text = _ENCODE(tree).encode("ascii")
    if len(text) > MAX_FRAME_BYTES:
        raise Unsendable(f"{len(text)} bytes are too large to cross (at most {MAX_FRAME_BYTES})")
    return len(text).to_bytes(4, "big") + text

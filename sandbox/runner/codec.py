"""Values on the wire between a candidate and its tester: JSON text of tagged trees, in length-prefixed frames.

Types cross exactly. Plain data crosses by value. Everything else crosses as a handle through the two hooks (`export`,
`adopt`), so no code ever travels. Both sides run this file, but only the tester relies on it: it checks everything
that the other side sends. Not covered: values that contain themselves, data nested deeper
than `MAX_DEPTH` and data larger than `MAX_NODES` or `MAX_FRAME_BYTES`; all of these are refused.
"""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from typing import Any

from stepgym.sandbox.runner.values import BY_FILLING, BY_PARTS, VIEWS, kind_of, name_of

MAX_FRAME_BYTES = 32 << 20
MAX_DEPTH = 200
MAX_NODES = 5_000_000
"""Values in one message, a part that is shared counted each time it appears: whoever walks the value meets it so often."""
MUTABLE = (list, dict, set, bytearray)
"""Containers that are numbered in order of appearance, so that both sides can name one and send its new contents;
besides these the types of `values.BY_FILLING`."""

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
        self.sizes = [1] * len(self.containers)
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
        self._count(1)
        if len(self.open) > MAX_DEPTH:
            raise Unsendable("the value is nested too deeply to cross")
        if kind not in MUTABLE:
            way = BY_FILLING.get(name_of(kind) or "")
            if way is None or way.header(value) is None:
                return self.contents(value, kind)
        number = self.numbers.setdefault(id(value), len(self.containers))
        if number < len(self.containers):
            if id(value) in self.open:
                raise Unsendable("a value that contains itself cannot cross")
            self._count(self.sizes[number])
            return ["@", number]
        self.containers.append(value)
        self.sizes.append(0)
        before = self.nodes
        tree = self.contents(value, kind)
        self.sizes[number] = self.nodes - before
        return tree

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
        if kind in VIEWS:
            return ["k", VIEWS[kind], *self._items(value, value)]
        return self._standard(value, kind) or self._other(value, kind)

    def contents_anew(self, value: Any) -> Any:
        """Pack the contents of a container that has a number already."""
        self.containers.append(value)  # the place that the other side's copy takes
        self.sizes.append(0)
        return self.contents(value, type(value))

    def _standard(self, value: Any, kind: type) -> Any:
        name = name_of(kind)
        if name in BY_PARTS:
            parts = BY_PARTS[name].parts(value)
            return None if parts is None else ["v", name, *self._items(value, parts)]
        if name in BY_FILLING:
            header = BY_FILLING[name].header(value)
            if header is not None:
                packed = [self.pack(part) for part in header]
                return ["m", name, packed, *self._items(value, BY_FILLING[name].items(value))]
        return None

    def _other(self, value: Any, kind: type) -> Any:
        if issubclass(kind, BASES):
            return ["S", kind.__name__, self.export(value), self._contents_of_subclass(value)]
        return self.export(value)

    def _contents_of_subclass(self, value: Any) -> Any:
        inner = plain(value)
        kind = type(inner)
        if kind in (str, int, float):
            return self.pack(inner)
        return self.contents_anew(inner) if kind in MUTABLE else self.contents(inner, kind)

    def _items(self, owner: Any, items: Any) -> list[Any]:
        key = id(owner)
        if key in self.open:
            raise Unsendable("a value that contains itself cannot cross")
        self.open.add(key)
        self._count(len(items))
        try:
            return [self.pack(item) for item in items]
        finally:
            self.open.discard(key)

    def _count(self, number: int) -> None:
        self.nodes += number
        if self.nodes > MAX_NODES:
            raise Unsendable("the value is too large to cross")


class Unpacker:
    """Turns trees back into values; raises on anything else than a well-formed tree (see `dumps`)."""

    def __init__(
        self, adopt: Callable[[list[Any]], Any], containers: list[Any] | None = None
    ) -> None:
        self.adopt = adopt
        self.containers = containers if containers is not None else []
        self.sizes = [1] * len(self.containers)
        self.nodes = 0

    def unpack(self, tree: Any, depth: int = 0) -> Any:
        if type(tree) is not list:
            if type(tree) is dict:
                raise Malformed("a bare object")
            return tree
        if depth > MAX_DEPTH + 8:
            raise Malformed("nested too deeply")
        self._count(len(tree))
        tag = tree[0]
        if tag == "l":
            made: list[Any] = []
            return self._filled(made, tree[1:], depth, made.extend)
        if tag == "d":
            table: dict[Any, Any] = {}
            return self._filled(table, tree[1:], depth, lambda parts: _fill_table(table, parts))
        if tag == "s":
            members: set[Any] = set()
            return self._filled(members, tree[1:], depth, members.update)
        if tag == "t":
            return tuple([self.unpack(item, depth + 1) for item in tree[1:]])
        if tag == "B":
            data = bytearray(tree[1].encode("latin-1"))
            return self._filled(data, [], depth, lambda _: None)
        return self._rare(tag, tree, depth)

    def _filled(
        self, made: Any, trees: list[Any], depth: int, fill: Callable[[list[Any]], Any]
    ) -> Any:
        """Give a container its number, then its contents."""
        number, before = len(self.containers), self.nodes
        self.containers.append(made)
        self.sizes.append(0)
        fill([self.unpack(item, depth + 1) for item in trees])
        self.sizes[number] = self.nodes - before
        return made

    def _count(self, number: int) -> None:
        self.nodes += number
        if self.nodes > 2 * MAX_NODES:
            raise Malformed("too large a value")

    def _rare(self, tag: str, tree: list[Any], depth: int) -> Any:
        match tag:
            case "@":
                number = _index(tree[1])
                self._count(self.sizes[number])
                return self.containers[number]
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
            case "k":
                return _view(tree[1], [self.unpack(item, depth + 1) for item in tree[2:]])
            case "v":
                parts = [self.unpack(part, depth + 1) for part in tree[2:]]
                # A value of numpy's own scalar types has no class of that name to look up.
                kind = None if tree[1] == "numpy.generic" else kind_of(_known(tree[1], BY_PARTS))
                return BY_PARTS[tree[1]].make(kind, *parts)
            case "m":
                return self._container(tree, depth)
            case "S":
                return self.adopt([*tree[:3], self.unpack(tree[3], depth + 1)])
            case "h" | "w":
                return self.adopt(tree)
        raise Malformed(f"unknown tag {tag!r:.40}")

    def _container(self, tree: list[Any], depth: int) -> Any:
        way = BY_FILLING[_known(tree[1], BY_FILLING)]
        number = len(self.containers)
        self.containers.append(None)  # the header is packed after the number was given
        self.sizes.append(0)
        header = [self.unpack(part, depth + 1) for part in tree[2]]
        made = self.containers[number] = way.make(kind_of(tree[1]), *header)
        before = self.nodes
        way.fill(made, [self.unpack(item, depth + 1) for item in tree[3:]])
        self.sizes[number] = self.nodes - before
        return made


def _known(name: Any, table: Any) -> str:
    if type(name) is not str or name not in table:
        raise Malformed(f"unknown type {name!r:.40}")
    return name


def _fill_table(table: dict[Any, Any], parts: list[Any]) -> None:
    table.update(zip(parts[::2], parts[1::2], strict=True))


def _view(kind: Any, items: list[Any]) -> Any:
    if kind == "keys":
        return dict.fromkeys(items).keys()
    if kind == "values":
        return dict(enumerate(items)).values()
    if kind == "items":
        return dict(items).items()
    raise Malformed(f"unknown view {kind!r:.40}")


def _index(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise Malformed("a bad container number")
    return number


def _encoder() -> Any:
    """Return a function that gives the pieces of a tree's text.

    `JSONEncoder.encode` makes such a function at each call, and a fresh process pays for what it makes.
    """
    encoder: Any = json.JSONEncoder(separators=(",", ":"), check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.iterencode
    text = json.encoder.encode_basestring_ascii
    return make(None, encoder.default, text, None, ":", ",", False, False, True)


_encode = _encoder()
_scan = getattr(json.JSONDecoder(), "scan_once")  # noqa: B009 - its type stubs lack it


def dumps(tree: Any) -> bytes:
    """Return one frame; raises `Unsendable` if it would be too large."""
    text = "".join(_encode(tree, 0)).encode("ascii")
    if len(text) > MAX_FRAME_BYTES:
        raise Unsendable(f"{len(text)} bytes are too large to cross (at most {MAX_FRAME_BYTES})")
    return len(text).to_bytes(4, "big") + text


def loads(text: bytes) -> Any:
    """Return the tree of a frame's text; raises `ValueError` for what `dumps` does not write."""
    words = str(text, "ascii")
    try:
        tree, end = _scan(words, 0)
    except StopIteration:
        raise ValueError("it is no JSON") from None
    if end != len(words):
        raise ValueError("something comes after the message")
    return tree

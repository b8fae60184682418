"""Stand-ins for the other end's objects: every operation on one is a question over the link.

A stand-in offers the special methods that its original has. Two rules make forged objects worthless to a candidate:
a stand-in equals no plain data, and it never receives a plain operand of an operator or a comparison, because the
operand may be the expected value. The second rule has one exception: objects made by calling a class that the tests
declared with `Remote.declare_classes`, so that `Vector(1, 2) * 3` works. At the candidate's end neither rule is needed:
stand-ins of the tests' objects there work like the objects themselves.
"""

from __future__ import annotations

import builtins
from enum import Enum
from functools import lru_cache
from typing import Any

from stepgym.sandbox.runner.codec import BASES, Malformed
from stepgym.sandbox.runner.link import CannotCrossError, Link

FORWARDED = [
    "call",
    "len",
    "iter",
    "next",
    "getitem",
    "setitem",
    "delitem",
    "bool",
    "str",
    "int",
    "float",
    "index",
    "abs",
    "neg",
    "pos",
    "invert",
    "reversed",
    "round",
    "enter",
    "exit",
    "await",
    "aiter",
    "anext",
    "aenter",
    "aexit",
    "fspath",
]
BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
    "divmod",
]
GUARDED = [f"__{name}__" for name in ("lt", "le", "gt", "ge", "contains")] + [
    f"__{prefix}{name}__" for name in BINARY for prefix in ("", "r", "i")
]
SPECIAL = frozenset([f"__{name}__" for name in FORWARDED] + GUARDED)
PREDICATES = frozenset(
    name
    for base in BASES
    for name in vars(base)
    if name.startswith(("is", "startswith", "endswith"))
)
"""Built-in methods that answer yes or no: a forged object could answer yes to all of them."""
EXCEPTIONS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}


class Mark(Enum):
    """What the tests know of a stand-in besides what the other end says."""

    PLAIN = ""
    DECLARED_CLASS = "class"
    """A class that the tests declared."""
    MADE = "made"
    """An object that the tests made by calling a declared class, or with an operator from such objects."""
    CLAIMED_CLASS = "claimed class"
    """The other end calls it a class; the tests declared none of this name."""
    CLAIMED_MADE = "claimed made"
    """What the tests made by calling a claimed class."""
    LARGE = "large"
    """Plain data that was too large to cross by value."""


MADE_BY = {Mark.DECLARED_CLASS: Mark.MADE, Mark.CLAIMED_CLASS: Mark.CLAIMED_MADE}
CLASS_LIKE = (Mark.DECLARED_CLASS, Mark.MADE)
MADE = (*CLASS_LIKE, Mark.CLAIMED_CLASS, Mark.CLAIMED_MADE)


def features(thing: Any) -> list[str]:
    """Return the special methods a stand-in of this object should offer."""
    kind = type(thing)
    return [name for name in SPECIAL if getattr(kind, name, None) is not None]


class Handle:
    """A stand-in. Its own state sits behind double underscores, so that no attribute of the original is hidden."""

    __slots__ = ("__link", "__mark", "__number", "__weakref__")

    def __init__(self, link: Link, number: int, mark: Mark) -> None:
        object.__setattr__(self, "_Handle__link", link)
        object.__setattr__(self, "_Handle__number", number)
        object.__setattr__(self, "_Handle__mark", mark)

    def __getattr__(self, name: str) -> Any:
        if (
            name.startswith("__")
            and name.endswith("__")
            and name not in ("__name__", "__doc__", "__qualname__", "__dict__")
        ):
            raise AttributeError(name)
        if name in PREDICATES and mark_of(self) not in CLASS_LIKE:
            raise AttributeError(f"{name!r} is asked of built-in values only")
        return link_of(self).ask("attr", number_of(self), (name,))

    def __setattr__(self, name: str, value: Any) -> None:
        link_of(self).ask("setattr", number_of(self), (name, value))

    def __delattr__(self, name: str) -> None:
        link_of(self).ask("delattr", number_of(self), (name,))

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Handle) and link_of(other) is link_of(self):
            return self is other or link_of(self).equal(self, other)
        if not link_of(self).guards_operands:
            return link_of(self).equal(self, other)
        if mark_of(self) is Mark.LARGE:
            link_of(self).compared_large(other)
        return NotImplemented

    def __mro_entries__(self, bases: tuple[Any, ...]) -> Any:
        raise CannotCrossError("the tests derive a class from one of the solution's")

    def __copy__(self) -> Any:
        return link_of(self).ask("copy", number_of(self), (False,))

    def __deepcopy__(self, memo: Any) -> Any:
        return link_of(self).ask("copy", number_of(self), (True,))

    def __hash__(self) -> int:
        if mark_of(self) in MADE or not link_of(self).guards_operands:
            value = link_of(self).ask("hash", number_of(self))
            return value if type(value) is int else 0
        return object.__hash__(self)

    def __dir__(self) -> Any:
        return link_of(self).ask("dir", number_of(self))

    def __repr__(self) -> str:
        text = link_of(self).ask("repr", number_of(self))
        return text if type(text) is str else object.__repr__(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __instancecheck__(self, other: object) -> bool:
        if isinstance(other, Handle) and link_of(other) is link_of(self):
            return link_of(self).ask("isinstance", number_of(self), (other,)) is True
        return False

    def __subclasscheck__(self, other: type) -> bool:
        if isinstance(other, Handle) and link_of(other) is link_of(self):
            return link_of(self).ask("issubclass", number_of(self), (other,)) is True
        return False

    def __del__(self) -> None:
        link_of(self).dropped.add(number_of(self))


def link_of(handle: Handle) -> Any:
    """The link a stand-in asks through."""
    return object.__getattribute__(handle, "_Handle__link")


def number_of(handle: Handle) -> int:
    """The number of the original at the other end."""
    number: int = object.__getattribute__(handle, "_Handle__number")
    return number


def mark_of(handle: Handle) -> Mark:
    """Return the mark of a stand-in."""
    mark: Mark = object.__getattribute__(handle, "_Handle__mark")
    return mark


def set_mark(value: Any, mark: Mark) -> Any:
    """Mark a stand-in and return it; other values are left alone."""
    if isinstance(value, Handle):
        object.__setattr__(value, "_Handle__mark", mark)
    return value


def _method(name: str) -> Any:
    guarded = name in GUARDED
    iterates_for_contains = name == "__contains__"

    def method(self: Handle, *args: Any, **kwargs: Any) -> Any:
        mark = mark_of(self)
        if (
            guarded
            and mark is not Mark.MADE
            and not all(isinstance(arg, Handle) for arg in args)
            and link_of(self).guards_operands
        ):
            if mark is Mark.CLAIMED_MADE:
                link_of(self).refused_operand(self)
            if iterates_for_contains:
                return any(item is args[0] or item == args[0] for item in self)  # type: ignore[attr-defined]
            return NotImplemented
        value = link_of(self).ask("special", number_of(self), (name, *args), kwargs)
        if isinstance(value, Handle):
            if name == "__call__" and mark in MADE_BY:
                set_mark(value, MADE_BY[mark])
            elif guarded and mark is Mark.MADE:
                set_mark(value, Mark.MADE)
        if guarded and link_of(self).guards_operands:
            link_of(self).own_operator(name)
        return value

    method.__name__ = name
    return method


METHODS = {name: _method(name) for name in SPECIAL}


@lru_cache(maxsize=256)
def handle_class(name: str, offered: frozenset[str]) -> type[Handle]:
    """Return the class of stand-ins with this type name and these special methods."""
    body: dict[str, Any] = {method: METHODS[method] for method in offered & SPECIAL}
    body["__doc__"] = property(
        lambda self: link_of(self).ask("attr", number_of(self), ("__doc__",))
    )
    return type(name, (Handle,), {"__slots__": (), **body})


async def awaited(handle: Handle) -> Any:
    """Stand in for a coroutine of the other end: it runs there, on a loop of its own, when it is awaited here."""
    return link_of(handle).ask("await", number_of(handle))


@lru_cache(maxsize=256)
def subclass(name: str, base: type) -> type:
    """Return a local subclass of a built-in: same contents, same comparisons as the built-in, never the type itself."""

    def lookup(self: Any, attribute: str) -> Any:
        handle = self.__dict__.get("_handle")
        if handle is None or attribute.startswith("__"):
            raise AttributeError(attribute)
        return getattr(handle, attribute)

    return type(name, (base,), {"__getattr__": lookup})


def short_name(name: Any) -> str:
    """A type name that is safe to give a local class."""
    if type(name) is not str or "\0" in name:
        raise Malformed("a bad type name")
    return name[:80].encode("utf-8", "replace").decode()

"""Resolution of names: a known name, a dotted path `package.module:Thing`, an entry point."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepgym.plugins.errors import UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class UnknownNameError(UserError):
    """A name that does not resolve; the message shows the nearest name and the known ones."""


class PluginError(UserError):
    """An installed package's plug-in that raised when it was imported or made."""


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, dotted: bool = False
) -> UnknownNameError:
    """Make the error `unknown search 'mtcs'; did you mean 'mcts'? known: beam, mcts`.

    With `dotted`, the message adds that a dotted path is accepted too.
    """
    way_out = "; or package.module:Thing" if dotted else ""
    return UnknownNameError(f"unknown {kind} {name!r}{nearest(name, known)}{way_out}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: `; did you mean 'mcts'? known: beam, mcts`."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{hint} known: {', '.join(names) or 'none'}"


def is_dotted(name: str) -> bool:
    """Return whether a name has the form `package.module:Thing`."""
    module, colon, thing = name.partition(":")
    return bool(colon and thing) and all(part.isidentifier() for part in module.split("."))


def load_dotted(path: str) -> Any:
    """Import `package.module:Thing` and return the thing; `Thing` may be `Outer.inner`.

    Raises `UnknownNameError` if the module cannot be imported or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UnknownNameError(f"cannot import {module_name!r} of {path!r}: {error}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            names = [name for name in dir(found) if not name.startswith("_")]
            near = difflib.get_close_matches(part, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownNameError(
                f"{module_name!r} has no {attribute!r}{hint} (from {path!r})"
            ) from error
    return found


def entry_points_of(groups: Sequence[str]) -> dict[str, EntryPoint]:
    """Return the entry points of some groups by name; the first group counts if two have a name."""
    # Imported here because it takes longer to import than the rest of `import stepgym`.
    from importlib.metadata import entry_points

    return {entry.name: entry for group in reversed(groups) for entry in entry_points(group=group)}


def resolve(
    name: str,
    *,
    kind: str,
    known: Mapping[str, str],
    groups: Sequence[str] = (),
    patterns: Sequence[str] = (),
) -> Any:
    """Return the object that a name stands for.

    It is looked up in `known`, then as a dotted path, then as an entry point.

    `known` maps names to dotted paths, so that a heavy module is imported only if its name is used. `groups` are the
    entry-point groups in which other packages add names (`stepgym.searches`). `patterns` are further forms to list
    in the `UnknownNameError`.
    """
    if name in known:
        return load_dotted(known[name])
    if is_dotted(name):
        return load_dotted(name)
    plugins = entry_points_of(groups)
    if name in plugins:
        entry = plugins[name]
        try:
            return entry.load()
        except Exception as error:
            package = "" if entry.dist is None else f" of the package {entry.dist.name!r}"
            raise PluginError(
                f"{kind} {name!r}: importing {entry.value!r}{package} raised {type(error).__name__}: {error}"
            ) from error
    raise unknown_name(kind, name, [*known, *plugins, *patterns], dotted=True)

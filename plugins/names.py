"""How a name becomes an object: a known name, a dotted path `package.module:Thing`, or an entry point.

Here because the sandbox is the lowest room and every room above resolves names the same way.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


class UnknownNameError(ValueError):
    """A name that nothing answers to; the message shows the nearest name and the list."""


def unknown_name(
    kind: str, name: str, known: Iterable[str], *, dotted: bool = True
) -> UnknownNameError:
    """Make the error for a name nobody knows: `unknown search 'mtcs'; did you mean 'mcts'? known: ...`."""
    import difflib

    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    way_out = "; or package.module:Thing" if dotted else ""
    return UnknownNameError(f"unknown {kind} {name!r}{hint} known: {', '.join(names)}{way_out}")


def load_dotted(path: str) -> Any:
    """Import `package.module:Thing` (attributes may be nested with dots) and return the thing."""
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UnknownNameError(f"cannot import {module_name!r} of {path!r}: {error}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            raise UnknownNameError(
                f"{module_name!r} has no {attribute!r} (from {path!r})"
            ) from error
    return found


def resolve(
    name: str,
    *,
    kind: str,
    known: Mapping[str, str],
    group: str | None = None,
    patterns: Sequence[str] = (),
) -> Any:
    """Return what `name` stands for.

    `known` maps names to dotted paths, so that nothing heavy is imported before it is asked for. `group` is the
    entry-point group in which other packages add names, `stepgym.searches` for example. Raises
    `UnknownNameError`, which shows `patterns` too: names with a prefix, that the caller understands itself.
    """
    if name in known:
        return load_dotted(known[name])
    if ":" in name and all(part.isidentifier() for part in name.partition(":")[0].split(".")):
        return load_dotted(name)
    from importlib.metadata import entry_points

    plugins = {entry.name: entry for entry in entry_points(group=group)} if group else {}
    if name in plugins:
        return plugins[name].load()
    raise unknown_name(kind, name, [*known, *plugins, *patterns])

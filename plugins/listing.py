"""The contents of a registry for a listing: each name's description and settings with defaults."""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint
from typing import Any, NamedTuple

from stepgym.plugins.names import entry_points_of, load_dotted
from stepgym.plugins.registry import Registry
from stepgym.plugins.settings import accepted

REQUIRED = "required"
MAX_SHOWN = 60
"""Characters of a default."""


class Listed(NamedTuple):
    """One name of a registry."""

    name: str
    """The name, or the form of a prefix: `hf:NAME_OR_FOLDER`."""
    summary: str
    """First line of the docstring, or why the name cannot be loaded."""
    settings: Mapping[str, str]
    """Setting -> its default as Python shows it; `required`, or empty if the default is not known."""
    package: str
    """The installed package that offers the name."""


def list_names(registry: Registry) -> list[Listed]:
    """Describe every name of a registry: its own, its prefixes, then those of installed plug-ins.

    A name whose module cannot be imported is listed with the reason.
    """
    own = [(name, path, 0) for name, path in registry.known.items()]
    own += [(prefix.pattern, prefix.path, 1) for prefix in registry.prefixes.values()]
    listed = [_describe(name, path, "stepgym", taken) for name, path, taken in own]
    listed += [
        _describe(entry.name, entry.value, entry.dist.name if entry.dist else "unknown", 0)
        for entry in plug_ins(registry)
    ]
    return listed


def plug_ins(registry: Registry) -> Iterator[EntryPoint]:
    """Yield the entry points that other installed packages add to a registry."""
    yield from entry_points_of(registry.groups).values()


def _describe(name: str, path: str, package: str, taken: int) -> Listed:
    """Describe one factory; `taken` is the number of arguments that its prefix fills in."""
    try:
        factory = load_dotted(path)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything while it is imported
        return Listed(name, f"(not available: {error})", {}, package)
    documentation = inspect.getdoc(factory) or ""
    settings = dict(list(_settings(factory).items())[taken:])
    return Listed(name, documentation.partition("\n")[0], settings, package)


def _settings(factory: Any) -> dict[str, str]:
    """Return the settings of a factory with their defaults as text; `seed` is left out because every run sets it."""
    if not callable(factory):
        return {}
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
    shown = {}
    for name in accepted(factory).hints:
        parameter = parameters.get(name)
        if parameter is None:  # a key of `**options: Unpack[...]`
            shown[name] = ""
        elif parameter.default is inspect.Parameter.empty:
            shown[name] = REQUIRED
        else:
            shown[name] = _shown(parameter.default)
    shown.pop("seed", None)
    return shown


def _shown(default: Any) -> str:
    """Return a default as the command line takes it, shortened; nothing for an object that JSON does not know."""
    if isinstance(default, str) and default.isprintable() and " " not in default and default:
        return str(default)
    try:
        return textwrap.shorten(json.dumps(default), MAX_SHOWN, placeholder="...")
    except TypeError:
        return ""

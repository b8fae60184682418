"""Registries: the names of one kind, and how an object is made from a name and settings.

Kinds are searches, policies, sandboxes and others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from stepgym.plugins.errors import UserError
from stepgym.plugins.names import PluginError, entry_points_of, resolve
from stepgym.plugins.settings import SettingError, accepted, check_settings


class Prefix(NamedTuple):
    """Names of the form `prefix:rest`; the factory gets `rest` as its first argument."""

    path: str
    """Dotted path of the factory."""
    pattern: str
    """The form as shown in errors: `hf:NAME_OR_FOLDER`."""


@dataclass(frozen=True)
class Registry:
    """The names of one kind.

    A name is one of `known`, a dotted path, an entry point, or `prefix:rest`.
    """

    kind: str
    """As errors call it: `agent`, `reward model`."""
    known: Mapping[str, str]
    """Name -> dotted path."""
    group: str
    """The entry-point group in which other packages add names."""
    prefixes: Mapping[str, Prefix] = field(default_factory=dict)
    """`prefix` -> what makes the names `prefix:rest`."""
    also: str = ""
    """A second entry-point group, if two kinds of thing share their names (searches and agents)."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The entry-point groups in which other packages add names."""
        return (self.group, self.also) if self.also else (self.group,)

    def __len__(self) -> int:
        return len(self.known)

    def __contains__(self, name: str) -> bool:
        return name in self.known

    def offers(self, name: str) -> bool:
        """Return whether a name is listed, here or by another package."""
        return name in self.known or name in entry_points_of(self.groups)

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def module(self, name: str) -> str:
        """Return the name of the module that makes the object called `name`; import nothing."""
        prefix = self.prefixes.get(name.partition(":")[0])
        path = self.known.get(name) or (prefix.path if prefix else name)
        return path.partition(":")[0]

    def find(self, name: str) -> Any:
        """Return the factory (or the finished object) that a name stands for.

        Raises `UnknownNameError`.
        """
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self.prefixes:
            factory = resolve(prefix, kind=self.kind, known={prefix: self.prefixes[prefix].path})
            return partial(factory, rest)
        patterns = [known.pattern for known in self.prefixes.values()]
        return resolve(
            name, kind=self.kind, known=self.known, groups=self.groups, patterns=patterns
        )

    def load(self, name: str, *, seed: int | None = None, **settings: Any) -> Any:
        """Make the object called `name`; an object that needs no making is returned as it is.

        `seed` is passed on if the factory accepts one. Raises `UnknownNameError` for a name and `SettingError` for a
        setting: an unknown one, a wrong type, or a value that the factory refuses with a `ValueError`.
        """
        factory = self.find(name)
        if not callable(factory):
            return factory
        if seed is not None and "seed" in accepted(factory).hints:
            settings = {"seed": seed, **settings}
        return self.make(name, factory, settings)

    def make(self, name: str, factory: Any, settings: Mapping[str, Any]) -> Any:
        """Call a factory with settings that are checked first.

        Raises `PluginError` for whatever an installed package's factory raises; for others it keeps its traceback.
        """
        owner = f"{self.kind} {name!r}"
        try:
            return make(owner, factory, settings)
        except UserError:
            raise
        except Exception as error:
            if name in self.known or name not in entry_points_of(self.groups):
                raise
            raise PluginError(
                f"{owner}: making it raised {type(error).__name__}: {error}"
            ) from error


def make(owner: str, factory: Any, settings: Mapping[str, Any]) -> Any:
    """Call a factory with checked settings.

    A `ValueError` from it is raised as a `SettingError` of `owner`.
    """
    check_settings(owner, factory, settings)
    try:
        return factory(**settings)
    except UserError:
        raise
    except ValueError as error:
        raise SettingError(f"{owner}: {error}") from error

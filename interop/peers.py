"""The libraries behind the adapters: which versions work, and one clear error for a missing or an unsupported one.

An adapter calls `need` before it imports its library, because an unsupported version often fails later, with an error that
names neither the library nor a version that works.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from stepgym.plugins.errors import UserError


class PeerError(UserError, ImportError):
    """A library that an adapter needs is missing, or its version is not supported."""


class Supported(NamedTuple):
    """The versions of one package that work: from `first` on, below `end`."""

    first: str
    end: str


SUPPORTED: dict[str, Supported] = {
    "fhaviary": Supported("0.37", "1"),
    "gem-llm": Supported("0.1", "0.2"),
    "inspect_ai": Supported("0.3.285", "0.4"),
    "nemo-gym": Supported("0.5", "0.6"),
    "openenv": Supported("0.10", "0.11"),
    "reasoning-gym": Supported("0.1.23", "0.2"),
    "skyrl-gym": Supported("0.4", "0.5"),
    "textarena": Supported("0.7", "0.8"),
    "textworld": Supported("1.7", "2"),
    "trl": Supported("1.16", "2"),
    "verifiers": Supported("0.4", "0.5"),
}
"""Package -> its versions. The first one is tested; those up to the end are expected to work."""


def need(package: str) -> None:
    """Raise `PeerError` unless a supported version of a package of `SUPPORTED` is installed."""
    first, end = SUPPORTED[package]
    works = f"{package} from {first} to below {end}"
    remedy = f'pip install "{package}>={first},<{end}"'
    try:
        found = version(package)
    except PackageNotFoundError:
        raise PeerError(f"{package} is not installed; {works} works: {remedy}") from None
    if not _numbers(first) <= _numbers(found) < _numbers(end):
        raise PeerError(f"{package} {found} is not supported; {works} works: {remedy}")


def _numbers(text: str) -> tuple[int, ...]:
    """Return the release numbers of a version, without zeros at the end: (1, 16) for `1.16.0rc1`."""
    numbers = [int(number) for number in re.findall(r"\d+", re.split(r"[^\d.]", text)[0])]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)

"""A folder keeps to the settings that it was begun with, and refuses others by name."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.records.atomic import write_whole


@dataclass(frozen=True, kw_only=True)
class KeptSettings:
    """The JSON file in which a folder keeps its settings."""

    file: Path
    what: str
    """What the folder holds: `a run`, `a loop`."""
    error: type[Exception]
    """Raised for other settings, and for a file that cannot be read."""

    def read(self) -> dict[str, Any] | None:
        """Return the settings; `None` if there are none yet."""
        try:
            found = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise self.error(
                f"{self.file}: not JSON: {error}; delete it if the settings given now are those of the folder"
            ) from error
        if not isinstance(found, dict):
            raise self.error(f"{self.file}: a table of settings, not {type(found).__name__}")
        return found

    def check(self, settings: Mapping[str, Any], *, free: Collection[str] = ()) -> None:
        """Raise for settings that differ from the kept ones; those named in `free` may change."""
        before = self.read()
        changed = {} if before is None else differences(before, as_json(settings), free=free)
        if changed:
            raise self.error(
                f"{self.file.parent} holds {self.what} with other settings: {'; '.join(changed.values())}; "
                "choose another folder"
            )

    def write(self, settings: Mapping[str, Any]) -> None:
        """Keep these settings."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, json.dumps(as_json(settings), indent=2) + "\n")


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, free: Collection[str] = ()
) -> dict[str, str]:
    """Return for each setting that changed a phrase such as `seed was 0, is now 1`."""
    names = [name for name in dict.fromkeys([*now, *before]) if name not in free]
    return {
        name: f"{name} was {before.get(name)!r}, is now {now.get(name)!r}"
        for name in names
        if before.get(name) != now.get(name)
    }


def as_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings as JSON gives them back: tuples as lists, enums as their values."""
    plain: dict[str, Any] = json.loads(json.dumps(settings))
    return plain

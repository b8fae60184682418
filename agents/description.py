"""Descriptions of plug-ins as JSON: kind and settings, without secrets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from enum import Enum
from typing import Any

from stepgym.agents.types import HasParameters

SECRET_SETTINGS = frozenset({"api_key", "password", "token"})
SECRET = "(secret)"


def describe(thing: object) -> Any:
    """Return a JSON-able description of a plug-in: its kind and settings, nothing that is run, no secret."""
    if thing is None or isinstance(thing, bool | int | float):
        return thing
    if isinstance(thing, str):
        return without_secrets(thing)
    if isinstance(thing, Enum):
        return thing.value
    if isinstance(thing, Mapping):
        return {
            str(key): SECRET if key in SECRET_SETTINGS and value else describe(value)
            for key, value in thing.items()
        }
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    own = getattr(thing, "describe", None)
    if callable(own) and not isinstance(thing, type):
        return own()
    kind = (
        thing
        if isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__"))
        else type(thing)
    )
    name = f"{kind.__module__}:{kind.__qualname__}"
    settings = {}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        settings = {
            f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.repr
        }
    if isinstance(thing, HasParameters) and isinstance(thing.num_parameters, int):
        settings["num_parameters"] = thing.num_parameters
    return {"kind": name, **settings} if settings else name


def without_secrets(text: str) -> str:
    """Return a text whose URLs have lost their user, password and query, which may hold a key."""
    if "://" not in text:
        return text
    return re.sub(r"(?<=://)([^\s/?#]*@)?([^\s?#]*)(\?[^\s#]*)?", r"\2", text)


def tokenizer_of(policy: Any) -> dict[str, str] | None:
    """Return name and hash of the tokenizer in a policy's description, or in that of the policy inside it."""
    while isinstance(policy, Mapping):
        if isinstance(policy.get("tokenizer"), Mapping):
            return dict(policy["tokenizer"])
        policy = policy.get("policy")
    return None

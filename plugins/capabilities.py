"""What a plug-in offers besides its required method: the one place that looks it up.

An optional method or attribute is a runtime-checkable protocol in a room's `types.py`. `isinstance` alone does not
see members that a wrapper forwards through `__getattr__` (from Python 3.12 on), so `offers` asks by name.
"""

from __future__ import annotations

from functools import cache
from typing import TypeGuard, TypeVar

C = TypeVar("C")


def offers(thing: object, capability: type[C]) -> TypeGuard[C]:
    """Return whether `thing` has every member of the protocol `capability`, forwarded members included."""
    return all(hasattr(thing, name) for name in _members(capability))


@cache
def _members(capability: type) -> frozenset[str]:
    names = [name for name in vars(capability) if not name.startswith("_")]
    return frozenset([*names, *capability.__annotations__])

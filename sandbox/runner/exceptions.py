"""Exception classes that both sides have: built-in ones by name, others of known libraries as `module:name`.

A class is only looked up in modules that the reading side has imported itself: tests that name an exception have
imported its module. Classes by which test frameworks skip or end tests are refused; a candidate that raised one would
make its own failure count as a skipped test.
"""

from __future__ import annotations

import builtins
import sys
from typing import Any

EXCEPTIONS = {
    name: kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
LIBRARIES = frozenset({"numpy", "pandas", "scipy", "sympy"})
REFUSED = frozenset({"unittest", "doctest", "bdb", "pytest", "_pytest", "test"})


def describe_error_class(kind: type) -> str | None:
    """Return the name by which the other side can find an exception class; `None` for a class of the program's own."""
    if EXCEPTIONS.get(kind.__name__) is kind:
        return kind.__name__
    if not issubclass(kind, BaseException):
        return None
    name = f"{kind.__module__}:{kind.__qualname__}"
    return name if local_error_class(name) is kind else None


def local_error_class(name: Any) -> type[BaseException] | None:
    """Return this side's class of a name; `None` if there is none."""
    if type(name) is not str:
        return None
    if name in EXCEPTIONS:
        return EXCEPTIONS[name]
    module, _, qualified = name.partition(":")
    top = module.partition(".")[0]
    if top in REFUSED or (top not in sys.stdlib_module_names and top not in LIBRARIES):
        return None
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = vars(found).get(part) if found is not None and hasattr(found, "__dict__") else None
    return found if isinstance(found, type) and issubclass(found, Exception) else None

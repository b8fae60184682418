"""Whether a setting has the type that its taker's annotation asks for, said before it is taken.

Only what an annotation says plainly is checked: numbers, text, truth values, `None` and literals. Anything else is left
to the taker.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PLAIN: dict[Any, tuple[Callable[[Any], bool], str]] = {
    bool: (lambda value: isinstance(value, bool), "true or false"),
    int: (
        lambda value: isinstance(value, Integral) and not isinstance(value, bool),
        "a whole number",
    ),
    float: (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    str: (lambda value: isinstance(value, str), "text"),
    Path: (lambda value: isinstance(value, str | PathLike), "a path"),
    type(None): (lambda value: value is None, "null"),
}


def check_types(what: str, taker: Any, settings: Mapping[str, Any]) -> None:
    """Raise `ValueError` for the first setting whose value is of the wrong type: `what` names whose setting it is."""
    hints = _hints(taker)
    for name, value in settings.items():
        wanted = _wanted(hints.get(name, Any))
        if wanted and not any(fits(value) for fits, _ in wanted):
            words = " or ".join(word for _, word in wanted)
            raise ValueError(f"{what}: {name} is {words}, not {value!r}")


def _hints(taker: Any) -> dict[str, Any]:
    is_class = isinstance(taker, type) and not hasattr(
        taker, "__total__"
    )  # a TypedDict is asked itself
    function = taker.__init__ if is_class else taker
    try:
        return get_type_hints(function)
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # names that only the type checker sees, or no annotations at all
        return {}


def _wanted(hint: Any) -> list[tuple[Callable[[Any], bool], str]]:
    """Return what a value may be; empty where the annotation does not say it plainly."""
    if hint in PLAIN:
        return [PLAIN[hint]]
    origin = get_origin(hint)
    if origin is Literal:
        values = get_args(hint)
        return [(lambda value: value in values, "one of " + ", ".join(map(str, values)))]
    if origin in (Union, types.UnionType):
        parts = [_wanted(part) for part in get_args(hint)]
        return [one for part in parts for one in part] if all(parts) else []
    return []

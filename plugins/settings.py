"""The check of settings against what a class or function accepts: names first, then types.

Types are checked for annotations made of numbers, text, booleans, paths, `None` and literals. A value whose
annotation is anything else is left to the class itself.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, Unpack, get_args, get_origin, get_type_hints

from stepgym.plugins.errors import UserError
from stepgym.plugins.names import nearest


class SettingError(UserError):
    """A setting that is unknown, has the wrong type, or is out of range."""


class Accepted(NamedTuple):
    """The settings that a class or function accepts."""

    hints: Mapping[str, Any]
    """Setting -> its annotation, `Any` where there is none."""
    any_name: bool
    """Whether it takes `**settings` of any name."""


Test = tuple[Callable[[Any], bool], str]
"""Whether a value is of a type, and that type in words."""

PLAIN: dict[Any, Test] = {
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


def check_settings(owner: str, taker: Any, settings: Mapping[str, Any]) -> None:
    """Raise `SettingError` for the first setting that `taker` does not accept.

    A setting of the wrong type is not accepted either.

    `owner` starts the message: `agent 'mcts'`. `taker` is a class or function; an uninspectable one accepts anything.
    """
    hints, any_name = accepted(taker)
    for name, value in settings.items():
        if name not in hints:
            if any_name:
                continue
            raise SettingError(f"{owner} has no setting {name!r}{nearest(name, hints)}")
        tests = _tests(hints[name])
        if tests and not any(fits(value) for fits, _ in tests):
            words = " or ".join(word for _, word in tests)
            raise SettingError(f"{owner}: {name} is {words}, not {value!r}")


def with_absolute_paths(taker: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with relative paths of existing files made absolute.

    A run can then be continued from any folder.

    A path is a setting whose annotation allows `Path`, and any `file` inside a setting that is a mapping.
    """
    hints = accepted(taker).hints

    def absolute(value: Any, *, is_path: bool) -> Any:
        if isinstance(value, Mapping):
            return {name: absolute(each, is_path=name == "file") for name, each in value.items()}
        if is_path and isinstance(value, str | PathLike) and Path(value).exists():
            return str(Path(value).absolute())
        return value

    return {
        name: absolute(value, is_path=Path in get_args(hints.get(name)) or hints.get(name) is Path)
        for name, value in settings.items()
    }


def accepted(taker: Any) -> Accepted:
    """Return the settings that a class or function accepts.

    `**options: Unpack[SomeTypedDict]` is included.
    """
    try:
        parameters = inspect.signature(taker).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return Accepted({}, True)
    known = _hints(taker)
    hints: dict[str, Any] = {}
    any_name = False
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            hint = known.get(name, Any)
            if get_origin(hint) is Unpack:
                hints |= get_type_hints(get_args(hint)[0])
            else:
                any_name = True
        elif parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            hints[name] = known.get(name, Any)
    return Accepted(hints, any_name)


def takes(taker: Any, name: str) -> bool:
    """Return whether a class or function accepts a setting."""
    hints, any_name = accepted(taker)
    return any_name or name in hints


def _hints(taker: Any) -> dict[str, Any]:
    if isinstance(taker, partial):
        taker = taker.func
    try:
        return get_type_hints(getattr(taker, "__init__") if isinstance(taker, type) else taker)  # noqa: B009
    except (
        NameError,
        TypeError,
        AttributeError,
    ):  # an annotation that cannot be evaluated, or none
        return {}


def _tests(hint: Any) -> list[Test]:
    """Return the tests of which a value must pass one; empty if the annotation is not checked."""
    if hint in PLAIN:
        return [PLAIN[hint]]
    origin = get_origin(hint)
    if origin is Literal:
        values = get_args(hint)
        return [(lambda value: value in values, "one of " + ", ".join(map(str, values)))]
    if origin in (Union, types.UnionType):
        parts = [_tests(part) for part in get_args(hint)]
        return [test for part in parts for test in part] if all(parts) else []
    return []

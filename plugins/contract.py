"""Contracts as lists of named sentences, for the `conformance` module of each package.

A clause is a sentence and a function that raises if the sentence is false for a given object.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence of a contract."""

    sentence: str
    """The requirement as a full sentence: `A finished state does not change.`"""
    check: Callable[[Any], None]
    """Raises if the sentence is false; the exception's message is shown."""


class Finding(NamedTuple):
    """The result of one clause; `fault` is `None` if the clause passed."""

    sentence: str
    """The clause."""
    fault: str | None


def check_clauses(thing: Any, clauses: Iterable[Clause]) -> list[Finding]:
    """Check every clause on an object; a failed clause does not stop the others."""
    return [Finding(clause.sentence, _fault(thing, clause)) for clause in clauses]


def has_method(name: str, *arguments: str) -> Clause:
    """Return the clause that a method exists and takes these positional arguments."""

    def check(thing: Any) -> None:
        method = getattr(thing, name, None)
        assert callable(method), f"{type(thing).__name__} has no method {name}"
        assert_callable(method, f"{type(thing).__name__}.{name}", *arguments)

    return Clause(f"It has a method {name}({', '.join(arguments)}).", check)


def assert_callable(function: Callable[..., Any], name: str, *arguments: str) -> None:
    """Raise `AssertionError` if a function cannot be called with these positional arguments."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a builtin without a signature
        return
    try:
        signature.bind(*arguments)
    except TypeError as error:
        call = f"{name}({', '.join(arguments)})"
        raise AssertionError(f"{name}{signature} cannot be called as {call}: {error}") from error


def _fault(thing: Any, clause: Clause) -> str | None:
    try:
        clause.check(thing)
    except AssertionError as error:
        return str(error) or "the clause is false"
    except Exception as error:  # noqa: BLE001 (a plug-in may raise anything; it becomes a finding)
        return f"raised {type(error).__name__}: {error}"
    return None

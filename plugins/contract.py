"""A contract as named sentences: how every room's `conformance.py` says what it asks of a plug-in.

A clause is a sentence and a function that raises when the sentence is not true of a thing. Here because the sandbox
is the lowest room and every room above states its contracts the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class Clause:
    """One sentence of a contract."""

    sentence: str
    """What holds, as a full sentence: `A state that is done stays as it is.`"""
    check: Callable[[Any], None]
    """Raises when it does not hold; the exception's message is shown."""


class Finding(NamedTuple):
    """What became of one clause; `fault` is `None` where it holds."""

    sentence: str
    fault: str | None


def hold(thing: Any, clauses: Iterable[Clause]) -> list[Finding]:
    """Hold a thing to every clause, also after one is broken."""
    return [Finding(clause.sentence, _fault(thing, clause)) for clause in clauses]


def _fault(thing: Any, clause: Clause) -> str | None:
    try:
        clause.check(thing)
    except AssertionError as error:
        return str(error) or "it does not hold"
    except Exception as error:  # noqa: BLE001 (the thing is somebody's plug-in: whatever it raises is a finding)
        return f"raised {type(error).__name__}: {error}"
    return None

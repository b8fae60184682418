"""A problem set without some of its problems, such as those that `stepgym validate` found to be at fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stepgym.envs.types import Problem, ProblemSet
from stepgym.plugins.errors import UserError

MAX_SEARCHED = 1 << 20
"""Larger sets are procedural: their problems are not listed one by one."""


@dataclass(frozen=True)
class RemainingProblems:
    """The problems that are left, in their order; each has its position here as index."""

    whole: ProblemSet
    indices: tuple[int, ...] = field(repr=False)
    """The positions in the whole set."""

    @property
    def name(self) -> str:
        return self.whole.name

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has problems 0 to {len(self) - 1}, not {index!r}")
        return replace(self.whole[self.indices[index]], index=index)


def without(problems: ProblemSet, leave_out: str | Path | Sequence[str]) -> ProblemSet:
    """Return a set without the problems of these ids, given as a list or as a report of `stepgym validate --json`.

    Raises `UserError` for an id that the set does not have.
    """
    ids = set(_ids(leave_out))
    if len(problems) > MAX_SEARCHED:
        raise UserError(f"{problems.name} is procedural: problems cannot be left out")
    indices = []
    for index in range(len(problems)):
        id = problems[index].id
        if id in ids:
            ids.discard(id)
        else:
            indices.append(index)
    if ids:
        raise UserError(f"{problems.name} has no problem {min(ids)!r} to leave out")
    return RemainingProblems(problems, tuple(indices))


def _ids(given: str | Path | Sequence[str]) -> list[str]:
    if not isinstance(given, str | Path):
        return list(given)
    try:
        found = json.loads(Path(given).read_text("utf-8"))["leave_out"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"leave_out={str(given)!r} is no report of `stepgym validate --json`: {error!r}"
        ) from error
    return [str(id) for id in found]

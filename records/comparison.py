"""Two runs over the same problems, compared problem by problem."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from stepgym.agents.intervals import Interval, bootstrap_difference
from stepgym.agents.types import EpisodeRecord
from stepgym.records.accuracy import outcomes
from stepgym.records.types import RecordError


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The second run against the first, on the problems that both decided."""

    num_problems: int
    """Problems that both runs decided."""
    first: float
    """Mean share of right attempts of the first run."""
    second: float
    """Mean share of right attempts of the second run."""
    difference: float
    """`second - first`."""
    ci: Interval
    """Paired bootstrap 95% interval of the difference."""
    p_value: float
    """Exact two-sided McNemar test over the problems that one run has right and the other wrong (McNemar 1947);
    a problem with several attempts is right if more than half of them are."""
    gained: tuple[str, ...]
    """Problems that only the second run has right."""
    lost: tuple[str, ...]
    """Problems that only the first run has right."""
    only_first: int
    """Problems that the first run alone decided."""
    only_second: int
    """Problems that the second run alone decided."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `stepgym compare --json` prints."""
        return {
            "num_problems": self.num_problems,
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "ci": list(self.ci),
            "p_value": self.p_value,
            "gained": list(self.gained),
            "lost": list(self.lost),
            "only_first": self.only_first,
            "only_second": self.only_second,
        }


def compare(first: Iterable[EpisodeRecord], second: Iterable[EpisodeRecord]) -> Comparison:
    """Compare two runs problem by problem.

    Only problems that both runs decided count. Raises `RecordError` if there are none.
    """
    before, after = outcomes(first), outcomes(second)
    shared = [problem for problem in before if problem in after]
    if not shared:
        raise RecordError(
            f"the runs share no decided problem: the first has {len(before)}, the second {len(after)}"
        )
    gained = tuple(p for p in shared if before[p] <= 0.5 < after[p])
    lost = tuple(p for p in shared if after[p] <= 0.5 < before[p])
    ones, twos = [before[p] for p in shared], [after[p] for p in shared]
    mean_first, mean_second = sum(ones) / len(shared), sum(twos) / len(shared)
    return Comparison(
        num_problems=len(shared),
        first=mean_first,
        second=mean_second,
        difference=mean_second - mean_first,
        ci=bootstrap_difference(twos, ones),
        p_value=mcnemar(len(gained), len(lost)),
        gained=gained,
        lost=lost,
        only_first=len(before) - len(shared),
        only_second=len(after) - len(shared),
    )


def mcnemar(gained: int, lost: int) -> float:
    """Return the exact two-sided p-value of McNemar's test (McNemar 1947).

    It is the chance of a split at least as uneven as `gained` to `lost`, if both are equally likely; 1 if both are 0.
    """
    total, fewer = gained + lost, min(gained, lost)
    tail = sum(math.comb(total, k) for k in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**total))

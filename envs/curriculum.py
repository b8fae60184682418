"""The adaptive level: the level moves up and down so that the success rate stays in a band.

A curriculum is data: it takes one outcome and returns the next curriculum, so that a run keeps it as JSON and resumes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from stepgym.plugins.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Curriculum:
    """A level between `lowest` and `highest`, and the outcomes at it so far.

    After `window` outcomes at a level, the level rises by one if the success rate of the last `window` is above `high`, and
    falls by one if it is below `low`; then the count restarts. Within the band the level stays.
    """

    level: int = 1
    """The present level."""
    lowest: int = 1
    highest: int = 10
    low: float = 0.3
    high: float = 0.7
    window: int = 32
    recent: tuple[bool, ...] = ()
    """Outcomes at this level, the latest last, at most `window` of them."""

    def __post_init__(self) -> None:
        if not self.lowest <= self.level <= self.highest:
            raise UserError(
                f"level {self.level!r} is not between {self.lowest!r} and {self.highest!r}"
            )
        if not 0 <= self.low < self.high <= 1:
            raise UserError(f"the band is 0 <= low < high <= 1, not {self.low!r} to {self.high!r}")
        if self.window < 1:
            raise UserError(f"window is at least 1, not {self.window!r}")

    @property
    def success_rate(self) -> float | None:
        """The share of successes among the recent outcomes; `None` if there are none."""
        return sum(self.recent) / len(self.recent) if self.recent else None

    def observe(self, success: bool) -> Self:
        """Return the curriculum after one more outcome at its level."""
        recent = (*self.recent, bool(success))[-self.window :]
        if len(recent) < self.window:
            return replace(self, recent=recent)
        rate = sum(recent) / self.window
        move = (rate > self.high) - (rate < self.low)
        level = min(max(self.level + move, self.lowest), self.highest)
        return replace(self, level=level, recent=recent if level == self.level else ())

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads."""
        names = ("level", "lowest", "highest", "low", "high", "window")
        return {**{name: getattr(self, name) for name in names}, "recent": list(self.recent)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Return the curriculum of data from `to_json`."""
        return cls(**{**data, "recent": tuple(data["recent"])})

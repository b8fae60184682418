"""An agent's accuracy on an environment, with its interval and its cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from stepgym.agents.intervals import Interval, wilson
from stepgym.agents.types import EpisodeRecord, Usage


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """An agent's result on some problems."""

    solved: float
    """Share of problems with a correct answer."""
    ci: Interval
    """Wilson's 95% interval of `solved`."""
    episodes: int
    usage: Usage
    """Sum over the problems, except that `wall_s` is the time of the whole run."""
    verdicts: Mapping[str, int]
    first_failure: str = ""
    """Why the first problem with the verdict `failed` failed."""
    agent: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `stepgym eval --json` prints."""
        return {**asdict(self), "ci": list(self.ci)}


def summarise(records: Sequence[EpisodeRecord], *, wall_s: float | None = None) -> Evaluation:
    """Summarise records; `wall_s` is the time of the whole run (default: the sum over the records)."""
    verdicts = Counter(record.verdict for record in records)
    total = sum((Usage(**record.usage) for record in records), Usage())  # type: ignore[arg-type]
    return Evaluation(
        solved=verdicts["correct"] / len(records) if records else 0.0,
        ci=wilson(verdicts["correct"], len(records)),
        episodes=len(records),
        usage=total if wall_s is None else replace(total, wall_s=wall_s),
        verdicts=dict(verdicts.most_common()),
        first_failure=next(
            (record.note or record.reason for record in records if record.verdict == "failed"), ""
        ),
        agent=records[0].agent if records else {},
    )

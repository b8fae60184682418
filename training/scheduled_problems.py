"""Problems of a mixture whose weights and levels follow the outcomes of training or of self-play.

The schedule is written after each batch, to `mixture.jsonl` in the run's folder, with the number of the next problem. A run
that was interrupted continues from the line of its last checkpoint, and so draws the same problems as without the
interruption. UNDECIDED and failed samples change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stepgym.envs.mixture import MixedProblems
from stepgym.envs.mixture_schedule import MixtureSchedule
from stepgym.envs.types import Environment, Problem
from stepgym.records.atomic import write_whole

FILE = "mixture.jsonl"


def scheduled_problems(env: Environment, folder: Path) -> ScheduledProblems | None:
    """Return the problems of a mixture with a schedule, kept in a run's folder; `None` for any other environment."""
    problems = env.problems
    if not isinstance(problems, MixedProblems) or problems.schedule is None:
        return None
    return ScheduledProblems(problems, problems.schedule, folder)


class ScheduledProblems:
    """Draws by the mixture's schedule and takes in the outcomes; `folder` is the run's."""

    def __init__(self, problems: MixedProblems, start: MixtureSchedule, folder: Path) -> None:
        self.problems, self.start, self.file = problems, start, folder / FILE

    def draw(self, numbers: range) -> list[Problem]:
        """Return the problems with these numbers."""
        schedule = self.before(numbers.start)
        return [self.problems.scheduled(schedule, number) for number in numbers]

    def before(self, number: int) -> MixtureSchedule:
        """Return the schedule that all problems before `number` led to."""
        reached = [row for row in self._rows() if row["next"] <= number]
        return MixtureSchedule.from_json(reached[-1]["schedule"]) if reached else self.start

    def is_done(self, numbers: range) -> bool:
        """Return whether the outcomes of this batch are taken in."""
        return any(row["next"] == numbers.stop for row in self._rows())

    def observe(self, numbers: range, outcomes: Iterable[tuple[str, bool]]) -> MixtureSchedule:
        """Take in `(problem id, correct)` of each decided sample of a batch, and keep the schedule with the run."""
        schedule = self.before(numbers.start)
        for problem_id, correct in outcomes:
            schedule = schedule.observe(self.problems.env_id_of(problem_id), correct)
        rows = [row for row in self._rows() if row["next"] <= numbers.start]
        rows.append({"next": numbers.stop, "schedule": schedule.to_json()})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.file, "".join(json.dumps(row) + "\n" for row in rows))
        return schedule

    def _rows(self) -> list[dict[str, Any]]:
        if not self.file.is_file():
            return []
        return [json.loads(line) for line in self.file.read_text(encoding="utf-8").splitlines()]

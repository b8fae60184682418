"""Which environment of a mixture to train on next, at which level: weights that change, as plain data.

Weights are fixed, annealed from a start to an end, or follow learning progress: an environment whose success rate is
changing is drawn more often (Graves et al. 2017, arXiv:1704.03003; Matiisen et al. 2017, arXiv:1707.00183). Each
environment has a curriculum of its own. A schedule takes in one outcome and returns the next schedule, so that it is
kept as JSON with a run.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Self

from stepgym.envs.curriculum import Curriculum
from stepgym.plugins.settings import SettingError

Rule = Literal["fixed", "annealed", "progress"]
FAST, SLOW = 0.2, 0.05
"""Weight of the newest outcome in the two running success rates whose distance is the learning progress."""

SLOW_ROUND = 0.5
"""Weight of the newest round in the slower success rate."""


class Draw(NamedTuple):
    """What to play next."""

    env_id: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One environment of a schedule."""

    env_id: str
    weight: float = 1.0
    """The fixed weight, or the one to begin with."""
    end_weight: float = 1.0
    """With `annealed`, the weight at the end."""
    curriculum: Curriculum = field(default_factory=Curriculum)
    fast: float = 0.5
    slow: float = 0.5

    @property
    def progress(self) -> float:
        """The distance of the two running success rates."""
        return abs(self.fast - self.slow)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureSchedule:
    """The environments with their weights, and how many outcomes were seen."""

    courses: tuple[Course, ...]
    rule: Rule = "fixed"
    num_anneal: int = 1000
    """With `annealed`: outcomes from the first weights to the last."""
    explore: float = 0.2
    """With `progress`: the share drawn evenly."""
    num_seen: int = 0

    def __post_init__(self) -> None:
        if not self.courses:
            raise SettingError("a schedule has at least one environment")
        if len({course.env_id for course in self.courses}) < len(self.courses):
            raise SettingError(
                f"an environment is listed twice: {[c.env_id for c in self.courses]}"
            )
        if self.rule not in ("fixed", "annealed", "progress"):
            raise SettingError(f"rule is fixed, annealed or progress, not {self.rule!r}")
        if not 0 < self.explore <= 1:
            raise SettingError(f"explore is above 0 and at most 1, not {self.explore!r}")

    def weights(self) -> list[float]:
        """Return the share of each environment; they sum to 1."""
        if self.rule == "progress":
            total = sum(course.progress for course in self.courses)
            even = 1 / len(self.courses)
            if not total:
                return [even] * len(self.courses)
            return [
                self.explore * even + (1 - self.explore) * course.progress / total
                for course in self.courses
            ]
        done = min(1.0, self.num_seen / self.num_anneal) if self.rule == "annealed" else 0.0
        raw = [
            course.weight + done * (course.end_weight - course.weight) for course in self.courses
        ]
        return [weight / sum(raw) for weight in raw]

    def draw(self, rng: random.Random) -> Draw:
        """Return an environment, drawn by weight, and its current level."""
        [course] = rng.choices(self.courses, self.weights())
        return Draw(course.env_id, course.curriculum.level)

    def observe(self, env_id: str, success: bool | None) -> Self:
        """Return the schedule after one outcome; `None` is an undecided one and changes no rate."""
        known = [course.env_id for course in self.courses]
        if env_id not in known:
            raise SettingError(
                f"no environment {env_id!r} in this schedule; it has {', '.join(known)}"
            )
        if success is None:
            return self
        courses = tuple(
            _after(course, success) if course.env_id == env_id else course
            for course in self.courses
        )
        return replace(self, courses=courses, num_seen=self.num_seen + 1)

    def observe_round(self, outcomes: Mapping[str, Sequence[bool]]) -> Self:
        """Return the schedule after a round of decided outcomes that were played with one policy; levels stay.

        The success rate of the whole round is one observation, so that chance within it is no progress: an
        environment's learning progress is then the distance between this rate and those of the rounds before.
        """
        courses = []
        for course in self.courses:
            if found := outcomes.get(course.env_id):
                rate = sum(found) / len(found)
                slow = course.slow + SLOW_ROUND * (rate - course.slow)
                course = replace(course, fast=rate, slow=slow)
            courses.append(course)
        seen = sum(map(len, outcomes.values()))
        return replace(self, courses=tuple(courses), num_seen=self.num_seen + seen)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that `from_json` reads."""
        plain = ("rule", "num_anneal", "explore", "num_seen")
        course = ("env_id", "weight", "end_weight", "fast", "slow")
        return {
            **{name: getattr(self, name) for name in plain},
            "courses": [
                {
                    **{name: getattr(each, name) for name in course},
                    "curriculum": each.curriculum.to_json(),
                }
                for each in self.courses
            ],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        courses = tuple(
            Course(**{**each, "curriculum": Curriculum.from_json(each["curriculum"])})
            for each in data["courses"]
        )
        return cls(**{**data, "courses": courses})


def _after(course: Course, success: bool) -> Course:
    return replace(
        course,
        curriculum=course.curriculum.observe(success),
        fast=course.fast + FAST * (success - course.fast),
        slow=course.slow + SLOW * (success - course.slow),
    )

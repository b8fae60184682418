"""Accuracy against compute: every method at several widths on the same problems, beside controls.

Controls show what a method owes to its policy and to its scores: the same search with random legal play (if the
domain lists legal steps), and with random scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stepgym.agents.intervals import Interval, bootstrap_difference, bootstrap_mean
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel
from stepgym.agents.registry import load_search
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Budget, EpisodeRecord, Policy, RewardModel
from stepgym.envs.types import Environment, LegalSteps, Problem


@dataclass(frozen=True)
class Method:
    """A line of the plot: an agent, its settings by width, and whether policy or scores are random (controls)."""

    name: str
    agent: str
    settings: Callable[[int], dict[str, Any]]
    random_policy: bool = False
    random_values: bool = False
    see_verdicts: bool | None = None
    """`None` is the run's own setting."""

    @property
    def is_control(self) -> bool:
        return self.random_policy or self.random_values


METHODS = (
    Method("best-of-n", "best_of_n", lambda width: {"n": width}),
    Method(
        "majority vote", "best_of_n", lambda width: {"n": width, "pick": "vote"}, see_verdicts=False
    ),
    Method(
        "weighted vote",
        "best_of_n",
        lambda width: {"n": width, "pick": "weighted_vote"},
        see_verdicts=False,
    ),
    Method("beam", "beam", lambda width: _beam(width)),
    Method(
        "DVTS",
        "dvts",
        lambda width: {"subtrees": _beam(width)["width"], "expand": _beam(width)["expand"]},
    ),
    Method("look-ahead", "lookahead", lambda width: {**_beam(max(1, width // 2)), "steps": 1}),
    Method("MCTS", "mcts", lambda width: {"simulations": width}),
    Method("revise", "revise", lambda width: {"attempts": width}),
    Method("AB-MCTS", "ab_mcts", lambda width: {"attempts": width}),
    Method("adaptive", "adaptive", lambda width: {"steps": 4 * width, "probe": max(1, width // 4)}),
    Method("best-of-n, random policy", "best_of_n", lambda width: {"n": width}, random_policy=True),
    Method("beam, random values", "beam", lambda width: _beam(width), random_values=True),
    Method("MCTS, random values", "mcts", lambda width: {"simulations": width}, random_values=True),
)


def _beam(width: int) -> dict[str, Any]:
    """Split a width into beam width times steps per node, as square as powers of two allow."""
    wide = 1 << ((width.bit_length() - 1) // 2)
    return {"width": wide, "expand": max(1, width // wide)}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method at one width; compute is per problem."""

    method: str
    width: int
    solved: float
    ci: Interval
    """Bootstrap over problems."""
    new_tokens: float
    flops: float
    model_calls: float
    control: bool
    outcomes: tuple[int, ...]
    """1 per solved problem, in the order of the problems."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """All points of one environment, and warnings."""

    env_id: str
    episodes: int
    points: tuple[Point, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return a JSON object, which also gives each point's compute as a multiple of greedy's."""
        greedy = self.points[0]
        rows = []
        for point in self.points:
            row = {**asdict(point), "ci": list(point.ci), "outcomes": list(point.outcomes)}
            row["times_greedy_tokens"] = _ratio(point.new_tokens, greedy.new_tokens)
            row["times_greedy_flops"] = _ratio(point.flops, greedy.flops)
            rows.append(row)
        return {
            "env_id": self.env_id,
            "episodes": self.episodes,
            "points": rows,
            "warnings": list(self.warnings),
        }


def measure_curve(
    env: Environment,
    problems: Sequence[Problem],
    *,
    policy: Policy,
    reward_model: RewardModel | None = None,
    widths: Sequence[int] = (4, 16, 64),
    methods: Sequence[Method] = METHODS,
    seed: int = 0,
    see_verdicts: bool | None = None,
    budget: Budget | None = None,
    num_parallel: int | None = None,
    continuous: bool | None = None,
    progress: Callable[[Point], object] | None = None,
) -> Curve:
    """Measure greedy and every method at every width on the same problems; the first point is greedy's.

    Controls are left out if they cannot run: random scores without a reward model, random play without legal steps.
    `budget` limits each problem of each point; `num_parallel=None` is all problems at once. `progress` is called with
    each point as soon as it is measured.
    """
    has_legal_steps = isinstance(env.domain, LegalSteps)
    plans = [(Method("greedy", "greedy", lambda width: {}), 1)]
    plans += [
        (method, width)
        for method in methods
        if (has_legal_steps or not method.random_policy)
        and (reward_model is not None or not method.random_values)
        for width in widths
    ]
    points = []
    for method, width in plans:
        records = iter_solve(
            problems,
            env=env,
            agent=load_search(method.agent, seed=seed, **method.settings(width)),
            policy=RandomLegalPolicy(seed) if method.random_policy else policy,
            reward_model=_reward_model(method, reward_model, seed),
            seed=seed,
            see_verdicts=see_verdicts if method.see_verdicts is None else method.see_verdicts,
            budget=budget,
            num_parallel=num_parallel or max(1, len(problems)),
            continuous=continuous,
        )
        points.append(make_point(method, width, list(records), seed=seed))
        if progress is not None:
            progress(points[-1])
    warnings = tuple(over_optimised(points, seed=seed))
    return Curve(env_id=env.env_id, episodes=len(problems), points=tuple(points), warnings=warnings)


def _reward_model(
    method: Method, reward_model: RewardModel | None, seed: int
) -> RewardModel | None:
    if method.random_policy:
        return None
    return RandomRewardModel(seed) if method.random_values else reward_model


def make_point(method: Method, width: int, records: Sequence[EpisodeRecord], *, seed: int) -> Point:
    """Summarise one method's records at one width."""
    outcomes = tuple(int(record.verdict == "correct") for record in records)
    count = max(1, len(records))

    def mean(*names: str) -> float:
        return sum(record.usage[name] for record in records for name in names) / count

    return Point(
        method=method.name,
        width=width,
        solved=sum(outcomes) / count,
        ci=bootstrap_mean(outcomes, seed=seed),
        new_tokens=mean("visible_tokens", "reasoning_tokens"),
        flops=mean("flops"),
        model_calls=mean("model_calls"),
        control=method.is_control,
        outcomes=outcomes,
    )


def over_optimised(points: Sequence[Point], *, seed: int = 0) -> list[str]:
    """Warn where a method solves fewer problems at a larger width, by more than chance (paired bootstrap, 95%)."""
    warnings = []
    lines: dict[str, list[Point]] = {}
    for point in points:
        lines.setdefault(point.method, []).append(point)
    for name, line in lines.items():
        line.sort(key=lambda point: point.width)
        for at, wide in enumerate(line):
            best = max(line[:at], key=lambda point: point.solved, default=None)
            if best is None or best.solved <= wide.solved:
                continue
            drop = bootstrap_difference(best.outcomes, wide.outcomes, seed=seed)
            if drop.low > 0:
                warnings.append(
                    f"{name}: solved falls from {best.solved:.3f} at width {best.width} to {wide.solved:.3f} at "
                    f"width {wide.width} (drop {drop.low:.3f} to {drop.high:.3f}): the reward model is over-optimised"
                )
    return warnings


def _ratio(value: float, base: float) -> float | None:
    return value / base if base else None

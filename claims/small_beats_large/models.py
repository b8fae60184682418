"""The models of this claim: for each family a small and a large policy and the small one's process reward models.

All are trained from scratch, on the same demonstrations for the same number of steps, and training resumes in its folder.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.claims import imitation
from stepgym.claims.shipped_models import training as shipped_models
from stepgym.envs.registry import load_env
from stepgym.training import examples
from stepgym.training.config import TRAINING_SEED
from stepgym.training.embedded_trainers import table_of, train_targets, train_values
from stepgym.training.progress import progress_lines
from stepgym.training.types import OnProgress, Schedule, ValueTarget

WriteLine = Callable[[str], None]
SMALL, LARGE = net.Shape(24, 2, 2), net.Shape(80, 4, 4)
WEAK_STEPS = 30
"""Training steps of the weak reward model, the control for reward model quality."""
HELD_OUT = 700_000
"""The first seed of held-out problems."""


class TrainedModels(NamedTuple):
    """The trained models of one family and seed."""

    small: EmbeddedPolicy
    large: EmbeddedPolicy
    prm: EmbeddedRewardModel
    weak: EmbeddedRewardModel


@dataclass(frozen=True, kw_only=True)
class Family:
    """A kind of problem on which the claim is tested."""

    name: str
    env_id: str
    levels: tuple[int, ...]
    """Levels measured: that of the training problems first, then harder ones."""
    verifier: bool
    """Whether a search may use the verifier at test time."""
    steps: int
    """Default number of training steps of each policy."""
    train: Callable[[Path, int, int, WriteLine], TrainedModels]
    """Called with folder, seed, steps and a function that prints a line."""


def train_countdown(
    folder: Path, seed: int, steps: int, write_line: WriteLine = print
) -> TrainedModels:
    """Imitate an exact solver; the reward model learns whether the target can be reached from positions that the small policy visits."""
    settings = shipped_models.Settings(
        seed=seed,
        num_problems=min(6000, 20 * steps),
        policy_schedule=Schedule(steps, 5e-3),
        prm_shape=SMALL,
    )
    positions = shipped_models.training_positions(settings)
    for name, shape in (("small", SMALL), ("large", LARGE)):
        shipped_models.train_policy(
            settings._replace(policy_shape=shape),
            positions,
            out=folder / name,
            progress=_progress(write_line, folder / name),
        )
    small = EmbeddedPolicy(folder / "small", seed=seed)
    for name, prm_steps in (("prm", 2 * steps), ("weak", min(WEAK_STEPS, steps))):
        schedule = Schedule(prm_steps, 5e-3)
        shipped_models.train_prm(
            settings._replace(prm_schedule=schedule),
            positions,
            small,
            out=folder / name,
            progress=_progress(write_line, folder / name),
        )
    return _load(folder, seed, temperature=1.0)


SUMS_LEVEL = 3
SUMS_DEMONSTRATIONS = 4000
SUMS_KNOWN = 0.65
SUMS_TEMPERATURE = 1.0


def train_sums(folder: Path, seed: int, steps: int, write_line: WriteLine = print) -> TrainedModels:
    """Imitate demonstrators who know 65% of the additions; the reward model learns from verdicts on final answers.

    Its labels are Monte-Carlo estimates: the share of the small policy's own attempts in which a step led to a correct
    sum. No single step is verified, neither in training nor at test time.
    """
    num_problems = min(SUMS_DEMONSTRATIONS, 4 * steps)
    known = imitation.known_facts(SUMS_KNOWN, seed)
    demonstrated = imitation.demonstrations(num_problems, level=SUMS_LEVEL, known=known, seed=seed)
    targets = table_of(imitation.GAME, demonstrated)
    for name, shape in (("small", SMALL), ("large", LARGE)):
        model = net.build(net.POLICY, shape, imitation.GAME, seed=seed)
        progress = _progress(write_line, folder / name)
        schedule = Schedule(steps, 7e-3)
        train_targets(
            model,
            targets,
            schedule=schedule,
            batch=64,
            seed=seed,
            out=folder / name,
            progress=progress,
        )
    small = EmbeddedPolicy(folder / "small", seed=seed)
    step_targets: list[ValueTarget] = []
    if not all((folder / name / "model.safetensors").is_file() for name in ("prm", "weak")):
        step_targets = examples.value_targets(
            _attempts(small, seed, max(2, num_problems // 8)), imitation.GAME
        )
    for name, prm_steps in (("prm", max(1, 3 * steps // 8)), ("weak", min(WEAK_STEPS, steps))):
        if step_targets:
            random.Random(seed).shuffle(step_targets)
            model = net.build(net.PRM, SMALL, imitation.GAME, seed=seed)
            schedule, progress = Schedule(prm_steps, 5e-3), _progress(write_line, folder / name)
            train_values(
                model,
                step_targets,
                schedule=schedule,
                seed=seed,
                out=folder / name,
                progress=progress,
            )
    return _load(folder, seed, temperature=SUMS_TEMPERATURE)


def _attempts(small: EmbeddedPolicy, seed: int, num_problems: int) -> list[EpisodeRecord]:
    env = load_env("stepgym/ModularSums-v0", level=SUMS_LEVEL, seed=TRAINING_SEED + seed)
    problems = [env.problems[i] for i in range(num_problems)]
    settings = {"n": 16, "pick": "vote"}
    return list(
        iter_solve(
            problems,
            env=env,
            agent="best_of_n",
            agent_settings=settings,
            policy=small,
            seed=seed,
            see_verdicts=False,
            verify_all=True,
        )
    )


def _progress(write_line: WriteLine, folder: Path) -> OnProgress:
    return progress_lines(write_line, prefix=f"{folder.parent.name} {folder.name}: ")


def _load(folder: Path, seed: int, *, temperature: float) -> TrainedModels:
    small, large = (
        EmbeddedPolicy(folder / name, seed=seed, temperature=temperature)
        for name in ("small", "large")
    )
    return TrainedModels(
        small, large, *(EmbeddedRewardModel(folder / name) for name in ("prm", "weak"))
    )


FAMILIES = {
    family.name: family
    for family in (
        Family(
            name="countdown",
            env_id="stepgym/Countdown-v0",
            levels=(3, 5),
            verifier=True,
            steps=600,
            train=train_countdown,
        ),
        Family(
            name="sums",
            env_id="stepgym/ModularSums-v0",
            levels=(SUMS_LEVEL, 5),
            verifier=False,
            steps=3000,
            train=train_sums,
        ),
    )
}

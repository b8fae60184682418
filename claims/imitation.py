"""Imitation of demonstrators who know only part of the addition table: the start of loops on modular sums."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.envs.families.modular_sums import MODULUS, Sum, problems
from stepgym.records.atomic import write_whole
from stepgym.selfplay import costs
from stepgym.training.config import TRAINING_SEED
from stepgym.training.embedded_trainers import tokens_per_sequence, train_targets
from stepgym.training.types import OnProgress, PolicyTarget, Schedule

GAME = "modular_sums"
BATCH = 128


def known_facts(share: float, seed: int, *, modulus: int = MODULUS) -> frozenset[tuple[int, int]]:
    """Return the unordered pairs whose sum the demonstrators know."""
    pairs = [(a, b) for a in range(modulus) for b in range(a, modulus)]
    return frozenset(random.Random(seed).sample(pairs, round(share * len(pairs))))


def demonstrations(
    num_problems: int,
    *,
    level: int,
    known: frozenset[tuple[int, int]],
    seed: int,
    modulus: int = MODULUS,
) -> list[PolicyTarget]:
    """Return correct steps in random order that use only known facts; a demonstrator stops if no known fact applies."""
    source, rng = problems(level, TRAINING_SEED + seed, modulus=modulus), random.Random(seed)
    found = []
    for index in range(num_problems):
        position: Sum = source[index].public  # type: ignore[assignment]
        while position[0]:
            remaining, running, _ = position
            if running is None:
                pairs = [(a, b) for i, a in enumerate(remaining) for b in remaining[i + 1 :]]
            else:
                pairs = [(running, b) for b in remaining]
            sure = [pair for pair in pairs if tuple(sorted(pair)) in known]
            if not sure:
                break
            a, b = rng.choice(sure)
            c = (a + b) % modulus
            found.append(PolicyTarget(position, {f"{a} + {b} = {c}": 1.0}))
            rest = list(remaining)
            for number in (a, b) if running is None else (b,):
                rest.remove(number)
            position = (tuple(rest), c, modulus)
    return found


def train_imitation(
    out: Path,
    *,
    shape: net.Shape,
    level: int = 3,
    num_problems: int = 4000,
    share: float = 0.75,
    modulus: int = MODULUS,
    schedule: Schedule | None = None,
    seed: int = 0,
    progress: OnProgress | None = None,
) -> Any:
    """Train a policy from scratch into `out/policy` and return it."""
    known = known_facts(share, seed, modulus=modulus)
    choices = demonstrations(num_problems, level=level, known=known, seed=seed, modulus=modulus)
    model = net.build(net.POLICY, shape, GAME, seed=seed)
    schedule = schedule or Schedule(2500, 5e-3)
    done = train_targets(
        model,
        choices,
        schedule=schedule,
        batch=BATCH,
        seed=seed,
        out=out / net.POLICY,
        progress=progress,
    )
    if not (out / costs.FILE).is_file():
        read = tokens_per_sequence(GAME, choices[:500]) * BATCH * schedule.steps
        cost = {**costs.training_cost(net.num_parameters(model), read), "seconds": done.seconds}
        write_whole(out / costs.FILE, json.dumps(cost) + "\n")
    return model

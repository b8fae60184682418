"""What a loop spends in each phase (imitation, play, train, reward_model, test): seconds, tokens and FLOPs.

FLOPs are 2 for each parameter and token read or written, and 6 in training; attention itself is left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepgym.agents.types import EpisodeRecord

FILE = "costs.json"
"""In the folder of a model: what its training cost."""
PHASES = ("imitation", "play", "train", "reward_model", "test")


class Stopwatch:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return passed


def playing_cost(records: Iterable[EpisodeRecord]) -> dict[str, float]:
    """Return the tokens (read and written) and FLOPs of episodes."""
    tokens = flops = 0.0
    for record in records:
        tokens += sum(
            record.usage.get(kind, 0)
            for kind in ("prompt_tokens", "visible_tokens", "reasoning_tokens")
        )
        flops += record.usage.get("flops", 0.0)
    return {"tokens": tokens, "flops": flops}


def training_cost(num_parameters: int, tokens: float) -> dict[str, float]:
    """Return the tokens and FLOPs of a training run that read so many tokens."""
    return {"tokens": tokens, "flops": 6.0 * num_parameters * tokens}


def total_costs(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Add up the phases of all generations; phases that never happened are absent."""
    sums: dict[str, dict[str, float]] = {}
    for line in lines:
        for phase, cost in line.get("costs", {}).items():
            into = sums.setdefault(phase, {"seconds": 0.0, "tokens": 0.0, "flops": 0.0})
            for unit in into:
                into[unit] += float(cost.get(unit, 0.0))
    return {phase: sums[phase] for phase in PHASES if phase in sums}

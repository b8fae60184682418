"""What a loop spends: seconds, tokens and FLOPs of each phase (imitation, play, train, reward_model, test).

FLOPs are 2 for each parameter and token read or written, and 6 in training; attention's own are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stepgym.agents.types import EpisodeRecord

FILE = "ledger.json"
"""In the folder of a model: what its training cost."""
PHASES = ("imitation", "play", "train", "reward_model", "test")


class Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def lap(self) -> float:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        return passed


def spent(records: Iterable[EpisodeRecord]) -> dict[str, float]:
    """Return the tokens (read and written) and FLOPs of episodes."""
    tokens = flops = 0.0
    for record in records:
        tokens += sum(
            record.usage.get(kind, 0)
            for kind in ("prompt_tokens", "visible_tokens", "reasoning_tokens")
        )
        flops += record.usage.get("flops", 0.0)
    return {"tokens": tokens, "flops": flops}


def training(num_parameters: int, tokens: float) -> dict[str, float]:
    """Return the tokens and FLOPs of a training run that read so many tokens."""
    return {"tokens": tokens, "flops": 6.0 * num_parameters * tokens}


def total(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Add the phases of all generations up; phases that never were are absent."""
    sums: dict[str, dict[str, float]] = {}
    for line in lines:
        for phase, cost in line.get("ledger", {}).items():
            into = sums.setdefault(phase, {"seconds": 0.0, "tokens": 0.0, "flops": 0.0})
            for unit in into:
                into[unit] += float(cost.get(unit, 0.0))
    return {phase: sums[phase] for phase in PHASES if phase in sums}

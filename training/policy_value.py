"""AlphaZero's one network: visits teach its policy head, outcomes its value head, and both the layers below."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from stepgym.agents.embedded import value_head
from stepgym.agents.embedded.value_head import PolicyValueNet
from stepgym.training.boards import choices_loss, judged_loss
from stepgym.training.examples import Choice, Judged
from stepgym.training.fit import Fit, Progress, Schedule, fit


class JointFit(NamedTuple):
    """What a run came to, and the two parts of its loss, means over the last twentieth of the steps."""

    fit: Fit
    policy_loss: float
    value_loss: float


def train_policy_value(
    model: PolicyValueNet,
    choices: Sequence[Choice],
    judged: Sequence[Judged],
    *,
    schedule: Schedule,
    batch: int = 128,
    seed: int = 0,
    out: Path | None = None,
    progress: Progress | None = None,
) -> JointFit:
    """Train both heads in place. Raises `TrainingError`, `LossNotFinite`.

    Each step takes a batch of choices and one of judged boards; its loss is the sum of the policy's cross-entropy and
    the value's binary cross-entropy, each with weight 1. A run that was finished before has parts that are NaN.
    """
    policy_loss = choices_loss(model.policy, choices, batch, seed)
    value_loss = judged_loss(model, judged, batch, seed)
    parts: deque[tuple[float, float]] = deque(maxlen=max(1, schedule.steps // 20))

    def loss(step: int) -> Tensor:
        policy, value = policy_loss(step), value_loss(step)
        parts.append((policy.item(), value.item()))
        return policy + value

    done = fit(model, loss, schedule=schedule, out=out, progress=progress, save=value_head.save)
    policy, value = (sum(part) / len(part) for part in zip(*parts or [(float("nan"),) * 2]))
    return JointFit(done, policy, value)

"""The data types of training: trainers, schedules, examples and results."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from enum import StrEnum
from typing import NamedTuple

from stepgym.plugins.errors import UserError


class TrainingError(UserError):
    """The data or the settings cannot be trained on; the message says what to do."""


class LossNotFinite(ArithmeticError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class TrainerKind(StrEnum):
    """What is trained, and on what."""

    SFT = "sft"
    """Policy, on the steps of verified solutions (of its own: STaR, ReST-EM, expert iteration)."""
    DPO = "dpo"
    """Policy, on verified against refuted steps."""
    PRM = "prm"
    """Step reward model."""
    ORM = "orm"
    """Outcome reward model."""
    ALPHAZERO = "alphazero"
    """Policy on visits and reward model on outcomes; with `shared`, one network with two heads."""
    GRPO = "grpo"
    """Policy, on an environment's verdicts; needs no records."""


class StepLabels(StrEnum):
    """Sources of step labels."""

    MONTE_CARLO = "monte_carlo"
    """The share of the decided ends below a step that are correct (Math-Shepherd, Wang et al. 2024)."""
    VERIFIER = "verifier"
    """The environment's step verifier."""
    AGREEMENT = "agreement"
    """Monte-Carlo, kept only if the step verifier agrees (Zhang et al. 2025, arXiv:2501.07301, with a judge)."""
    FIRST_ERROR = "first_error"
    """1 up to the first step below which nothing is correct, 0 there, nothing after it (OmegaPRM, Luo et al. 2024)."""


class GrpoVariant(StrEnum):
    """Published forms of the GRPO update."""

    GRPO = "grpo"
    """Advantages divided by the group's deviation; mean over each answer (Shao et al. 2024)."""
    DR_GRPO = "dr_grpo"
    """No division by the deviation; mean over all tokens (Liu et al. 2025)."""
    DAPO = "dapo"
    """Mean over all tokens, a wider upper clip, groups that agree are drawn again (Yu et al. 2025)."""


class Baseline(StrEnum):
    """The answers with which GRPO compares an answer."""

    GROUP = "group"
    """All answers to the problem."""
    FORK = "fork"
    """At each fork of the tree of answers: the answers that share the steps up to there."""


class PolicyTarget(NamedTuple):
    """The distribution over steps that a policy should have in a state.

    `shares` maps step texts to shares that sum to 1.
    """

    public: Hashable
    """The state's public data (`State.public`)."""
    shares: Mapping[str, float]
    weight: float = 1.0
    """How much this target counts beside others."""


class ValueTarget(NamedTuple):
    """The value of a step, in [0, 1].

    `reading` is the input of an embedded reward model (`Game.readings`).
    """

    reading: Hashable
    label: float
    """The value, in [0, 1]."""


class Preference(NamedTuple):
    """One step over another in the same state."""

    public: Hashable
    """The state's public data (`State.public`)."""
    chosen: str
    """Text of the better step."""
    rejected: str
    """Text of the worse step."""


class Schedule(NamedTuple):
    """Number of steps and learning rate of a training run.

    A linear warm-up, then a cosine from the full learning rate to a tenth of it.
    """

    steps: int
    """Training steps."""
    learning_rate: float = 3e-3
    """The highest learning rate."""
    warmup: int = 50
    """Steps until the learning rate is reached."""
    weight_decay: float = 0.01
    """AdamW's decoupled weight decay."""
    checkpoint_every: int = 500
    """Steps between checkpoints."""
    report_every: int = 50
    """Steps between reports of the loss."""

    def rate(self, step: int) -> float:
        """Return the learning rate at a step."""
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return (
            self.learning_rate
            * warm
            * (0.55 + 0.45 * math.cos(math.pi * step / max(1, self.steps)))
        )


class Fit(NamedTuple):
    """The outcome of one training run."""

    steps: int
    """Training steps in all."""
    loss: float
    """Mean over the last twentieth of the steps; NaN for a run that was finished before."""
    seconds: float
    """Elapsed time of this call."""


class Progress(NamedTuple):
    """How far a long task is."""

    task: str
    """Name of the task."""
    done: int
    """How many are done."""
    total: int
    """How many there are."""
    unit: str
    """What is counted, in the plural: `steps`, `problems`."""
    figures: Mapping[str, float] = {}
    """The latest figures, such as the loss."""


OnProgress = Callable[[Progress], object]
"""What a long task calls, often, with its progress; every such argument is named `progress`."""

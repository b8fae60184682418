"""One training run: AdamW, warm-up and cosine, metrics, a checkpoint that resumes.

A batch is a function of its step number, so that a run cut short and taken up again is the run that was not.
Safetensors only. When a loss is not finite the run stops, and the last good checkpoint stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stepgym.agents.embedded.net import save
from stepgym.selfplay.train.metrics import Metrics

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps and the latest metrics."""
Save = Callable[[Any, Path], None]
"""Writes a model into a folder as it is loaded again."""
_STATE = "training_state.safetensors"
_CHECKPOINT_SECONDS = 180.0
"""The most that an interruption costs, however slow the steps are."""


class TrainingError(ValueError):
    """The data or the settings cannot be trained on; the message says what to do."""


class LossNotFinite(ArithmeticError):
    """The loss became NaN or infinite; the last good checkpoint is kept."""


class Schedule(NamedTuple):
    """How long and how fast."""

    steps: int
    learning_rate: float = 3e-3
    warmup: int = 50
    weight_decay: float = 0.01
    checkpoint_every: int = 500
    report_every: int = 50

    def rate(self, step: int) -> float:
        warm = min(1.0, (step + 1) / max(1, self.warmup))
        return self.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * step / max(1, self.steps)))


class Fit(NamedTuple):
    """What a run came to."""

    steps: int
    loss: float
    """Mean over the last twentieth of the steps."""
    seconds: float


def fit(
    model: Any,
    batch_loss: Callable[[int], Tensor],
    *,
    schedule: Schedule,
    out: Path | None = None,
    progress: Progress | None = None,
    save: Save = save,
) -> Fit:
    """Train what requires gradients, in place. With `out`, write metrics and checkpoints, and resume from what is there.

    Raises `LossNotFinite`.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    first = _resume(parameters, optimizer, out) if out else 0
    metrics = Metrics(out) if out and first < schedule.steps else None
    started, losses = time.monotonic(), []
    saved = started
    model.train()
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = batch_loss(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(parameters, 1.0))
        if not math.isfinite(loss.item()) or not math.isfinite(norm):
            model.eval()
            raise LossNotFinite(_not_finite(step, loss.item(), out))
        optimizer.step()
        losses.append(loss.item())
        done = step + 1
        if done % schedule.report_every == 0 or done == schedule.steps:
            _report(done, losses[-schedule.report_every :], schedule, metrics, progress)
        due = done % schedule.checkpoint_every == 0 or time.monotonic() - saved > _CHECKPOINT_SECONDS
        if out and (due or done == schedule.steps):
            save(model, out)
            _keep_state(parameters, optimizer, done, out)
            saved = time.monotonic()
    if metrics:
        metrics.close()
    model.eval()
    tail = losses[-max(1, schedule.steps // 20) :] or [math.nan]
    return Fit(schedule.steps, sum(tail) / len(tail), time.monotonic() - started)


def _not_finite(step: int, loss: float, out: Path | None) -> str:
    kept = f"; the last good checkpoint is in {out}" if out and (out / "model.safetensors").is_file() else ""
    return f"the loss is {loss} at step {step}{kept}; try a smaller learning_rate"


def _report(
    done: int, losses: list[float], schedule: Schedule, metrics: Metrics | None, progress: Progress | None
) -> None:
    values = {"loss": sum(losses) / len(losses), "learning_rate": schedule.rate(done - 1)}
    if progress:
        progress(done, schedule.steps, values)
    if metrics:
        metrics.write(done, values)


def _keep_state(parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, step: int, out: Path) -> None:
    """Write what resuming needs beside the model."""
    from safetensors.torch import save_file

    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(parameters)}
    for i, parameter in enumerate(parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{name}.{i}": value for name, value in state.items() if isinstance(value, Tensor)}
    save_file(tensors, out / (_STATE + ".part"), metadata={"step": str(step)})
    (out / (_STATE + ".part")).replace(out / _STATE)


def _resume(parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, out: Path) -> int:
    """Load the training state of `out` where there is one and return the next step."""
    from safetensors import SafetensorError, safe_open

    path = out / _STATE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            step = int(stored.metadata()["step"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(f"{path} is cut short or no checkpoint ({error}); delete it to start again") from error
    for i, parameter in enumerate(parameters):
        stored_weight = tensors.get(f"weight.{i}")
        if stored_weight is None or stored_weight.shape != parameter.shape:
            raise TrainingError(f"{path} is of a model of another shape; choose another folder")
        parameter.data.copy_(stored_weight)
        names = ("step", "exp_avg", "exp_avg_sq")
        kept = {name: tensors[f"{name}.{i}"] for name in names if f"{name}.{i}" in tensors}
        optimizer.state[parameter] = {k: v if k == "step" else v.to(parameter.device) for k, v in kept.items()}
    return step

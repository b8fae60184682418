"""One training run of a tiny model: AdamW, warm-up and cosine, metrics as JSON lines, a checkpoint that resumes.

A batch is a function of its step number, so that a run cut short and taken up again is the run that was not.
Safetensors only. When a loss is not finite the run stops, and the last good checkpoint stays.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stepgym.agents.embedded.net import save

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps and the latest metrics."""
_STATE = "training_state.safetensors"


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
) -> Fit:
    """Train in place. With `out`, write metrics and checkpoints there, and resume from what is there.

    Raises `LossNotFinite`.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    first = _resume(model, optimizer, out) if out else 0
    started, losses = time.monotonic(), []
    model.train()
    for step in range(first, schedule.steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        loss = batch_loss(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        if not math.isfinite(loss.item()) or not math.isfinite(norm):
            model.eval()
            raise LossNotFinite(_not_finite(step, loss.item(), out))
        optimizer.step()
        losses.append(loss.item())
        done = step + 1
        if done % 50 == 0 or done == schedule.steps:
            _report(done, losses, schedule, out, progress)
        if out and (done % schedule.checkpoint_every == 0 or done == schedule.steps):
            _checkpoint(model, optimizer, done, out)
    model.eval()
    tail = losses[-max(1, schedule.steps // 20) :] or [math.nan]
    return Fit(schedule.steps, sum(tail) / len(tail), time.monotonic() - started)


def _not_finite(step: int, loss: float, out: Path | None) -> str:
    kept = f"; the last good checkpoint is in {out}" if out and (out / "model.safetensors").is_file() else ""
    return f"the loss is {loss} at step {step}{kept}; try a smaller learning_rate"


def _report(
    done: int, losses: list[float], schedule: Schedule, out: Path | None, progress: Progress | None
) -> None:
    recent = losses[-50:]
    metrics = {"loss": sum(recent) / len(recent), "learning_rate": schedule.rate(done - 1)}
    if progress:
        progress(done, schedule.steps, metrics)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "metrics.jsonl").open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": done, **metrics}) + "\n")


def _checkpoint(model: Any, optimizer: torch.optim.Optimizer, step: int, out: Path) -> None:
    """Write the model as transformers loads it, and beside it what resuming needs."""
    from safetensors.torch import save_file

    save(model, out)
    tensors = {f"weight.{i}": p.detach().clone() for i, p in enumerate(model.parameters())}
    for i, parameter in enumerate(model.parameters()):
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{name}.{i}": value.clone() for name, value in state.items() if isinstance(value, Tensor)}
    save_file(tensors, out / (_STATE + ".part"), metadata={"step": str(step)})
    (out / (_STATE + ".part")).replace(out / _STATE)


def _resume(model: Any, optimizer: torch.optim.Optimizer, out: Path) -> int:
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
    for i, parameter in enumerate(model.parameters()):
        stored_weight = tensors.get(f"weight.{i}")
        if stored_weight is None or stored_weight.shape != parameter.shape:
            raise TrainingError(f"{path} is of a model of another shape; choose another folder")
        parameter.data.copy_(stored_weight)
        names = ("step", "exp_avg", "exp_avg_sq")
        optimizer.state[parameter] = {name: tensors[f"{name}.{i}"] for name in names if f"{name}.{i}" in tensors}
    return step

"""One training run: AdamW, warm-up and cosine, metrics, a checkpoint that resumes.

A batch is a function of its step number, so that a run cut short and taken up again is the run that was not; one with
another schedule or from another start is refused (other data with both the same is not noticed). Safetensors only. When a loss is not finite the run stops, and the last good checkpoint stays.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stepgym.agents.embedded.net import save
from stepgym.plugins.errors import UserError
from stepgym.training.metrics import Metrics

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with step, number of steps and the latest metrics."""
Save = Callable[[Any, Path], None]
"""Writes a model into a folder as it is loaded again."""
_STATE = "training_state.safetensors"
_CHECKPOINT_SECONDS = 180.0
"""The most that an interruption costs, however slow the steps are."""


class TrainingError(UserError):
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
        return (
            self.learning_rate
            * warm
            * (0.55 + 0.45 * math.cos(math.pi * step / max(1, self.steps)))
        )


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
    together: int = 1,
    measured: Callable[[], Mapping[str, float]] = dict,
) -> Fit:
    """Train what requires gradients, in place. With `out`, write metrics and checkpoints, and resume from what is there.

    So many steps `together` have no checkpoint between them; what is `measured` stands in each report. Raises
    `LossNotFinite`, and `TrainingError` for the checkpoint of another run.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    about = _about(schedule, parameters) if out else {}
    first = _resume(parameters, optimizer, out, about) if out else 0
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
            mean = sum(losses[-schedule.report_every :]) / len(losses[-schedule.report_every :])
            values = {"loss": mean, "learning_rate": schedule.rate(step), **measured()}
            if progress:
                progress(done, schedule.steps, values)
            if metrics:
                metrics.write(done, values)
        due = (
            done % schedule.checkpoint_every == 0 or time.monotonic() - saved > _CHECKPOINT_SECONDS
        )
        if out and ((due and done % together == 0) or done == schedule.steps):
            save(model, out)
            _keep_state(parameters, optimizer, out, {**about, "step": str(done)})
            saved = time.monotonic()
    if metrics:
        metrics.close()
    model.eval()
    tail = losses[-max(1, schedule.steps // 20) :] or [math.nan]
    return Fit(schedule.steps, sum(tail) / len(tail), time.monotonic() - started)


def _not_finite(step: int, loss: float, out: Path | None) -> str:
    kept = (
        f"; the last good checkpoint is in {out}"
        if out and (out / "model.safetensors").is_file()
        else ""
    )
    return f"the loss is {loss} at step {step}{kept}; try a smaller learning_rate"


def _about(schedule: Schedule, parameters: Sequence[nn.Parameter]) -> dict[str, str]:
    """Return what makes a run another one: its schedule, and a digest of the weights that it starts from."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in parameters:
        digest.update(parameter.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    decisive = {
        n: str(v)
        for n, v in schedule._asdict().items()
        if n not in ("checkpoint_every", "report_every")
    }
    return {**decisive, "digest of the first weights": digest.hexdigest()}


def _keep_state(
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    out: Path,
    about: dict[str, str],
) -> None:
    """Write what resuming needs beside the model."""
    from safetensors.torch import save_file

    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(parameters)}
    for i, parameter in enumerate(parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {
            f"{name}.{i}": value for name, value in state.items() if isinstance(value, Tensor)
        }
    save_file(tensors, out / (_STATE + ".part"), metadata=about)
    (out / (_STATE + ".part")).replace(out / _STATE)


def _resume(
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    out: Path,
    about: Mapping[str, str],
) -> int:
    """Load the training state of `out` where there is one and return the next step."""
    from safetensors import SafetensorError, safe_open

    path = out / _STATE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            before = stored.metadata()
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise TrainingError(
            f"{path} is cut short or no checkpoint ({error}); delete it to start again"
        ) from error
    # A checkpoint from before these were kept does not say.
    changed = [
        f"{name} was {before[name]}, is now {now}"
        for name, now in about.items()
        if before.get(name, now) != now
    ]
    if changed:
        raise TrainingError(
            f"{out} holds the checkpoint of another run: {'; '.join(changed)}; choose another folder"
        )
    for i, parameter in enumerate(parameters):
        stored_weight = tensors.get(f"weight.{i}")
        if stored_weight is None or stored_weight.shape != parameter.shape:
            raise TrainingError(f"{path} is of a model of another shape; choose another folder")
        parameter.data.copy_(stored_weight)
        names = ("step", "exp_avg", "exp_avg_sq")
        kept = {name: tensors[f"{name}.{i}"] for name in names if f"{name}.{i}" in tensors}
        optimizer.state[parameter] = {
            k: v if k == "step" else v.to(parameter.device) for k, v in kept.items()
        }
    return int(before["step"])

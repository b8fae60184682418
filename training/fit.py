"""One training run: AdamW, warm-up and cosine, metrics, and a checkpoint to resume from.

The batch of a step is a function of the step number, so a run that was interrupted and resumed ends with the same
weights as one that was not. A checkpoint of another schedule or other first weights is refused (other data with both
the same is not noticed). Files are safetensors. When a loss is not finite the run stops and the last checkpoint stays.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import Tensor, nn

from stepgym.agents.embedded import net
from stepgym.records.kept_settings import differences
from stepgym.training.metrics import open_metrics
from stepgym.training.types import Fit, LossNotFinite, OnProgress, Progress, Schedule, TrainingError

STATE = "training_state.safetensors"
SHOWN_EVERY_S = 2.0
"""How often slow steps are shown between two reports."""
CHECKPOINT_SECONDS = 180.0
"""The most that an interruption costs, however slow the steps are."""
_NOT_DECISIVE = ("checkpoint_every", "report_every")


class FitOptions(TypedDict, total=False):
    """What every trainer passes on to `fit`."""

    schedule: Schedule
    out: Path | None
    progress: OnProgress | None
    task: str


def fit(
    model: Any,
    batch_loss: Callable[[int], Tensor],
    *,
    schedule: Schedule,
    out: Path | None = None,
    progress: OnProgress | None = None,
    task: str = "training",
    save: Callable[[Any, Path], None] = net.save,
    together: int = 1,
    measured: Callable[[], Mapping[str, float]] = dict,
) -> Fit:
    """Train all parameters that require gradients, in place; `batch_loss` gives the loss of a step.

    With `out`, write metrics and checkpoints there, and resume from what is there. No checkpoint divides `together`
    consecutive steps. Figures that `measured` returns are part of each report. Raises `LossNotFinite`, and
    `TrainingError` for the checkpoint of another run.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, betas=(0.9, 0.98), weight_decay=schedule.weight_decay
    )
    about = _identity(schedule, parameters) if out else {}
    first = _resume(parameters, optimizer, out, about) if out else 0
    losses: list[float] = []
    started = saved = shown = time.monotonic()
    model.train()
    try:
        with open_metrics(out if first < schedule.steps else None, first=first) as report:
            for step in range(first, schedule.steps):
                losses.append(_update(model, optimizer, batch_loss, step, schedule.rate(step), out))
                done = step + 1
                last = done == schedule.steps
                if last or done % schedule.report_every == 0:
                    recent = losses[-schedule.report_every :]
                    mean = sum(recent) / len(recent)
                    values = {"loss": mean, "learning_rate": schedule.rate(step), **measured()}
                    if progress:
                        progress(Progress(task, done, schedule.steps, "steps", values))
                    shown = time.monotonic()
                    report(done, values)
                elif progress and time.monotonic() - shown > SHOWN_EVERY_S:
                    progress(Progress(task, done, schedule.steps, "steps", {"loss": losses[-1]}))
                    shown = time.monotonic()
                due = done % schedule.checkpoint_every == 0
                due |= time.monotonic() - saved > CHECKPOINT_SECONDS
                if out and (last or (due and done % together == 0)):
                    save(model, out)
                    _save_state(parameters, optimizer, out, {**about, "step": done})
                    saved = time.monotonic()
    finally:
        model.eval()
    tail = losses[-max(1, schedule.steps // 20) :] or [math.nan]
    return Fit(schedule.steps, sum(tail) / len(tail), time.monotonic() - started)


def _update(
    model: Any,
    optimizer: torch.optim.Optimizer,
    batch_loss: Callable[[int], Tensor],
    step: int,
    rate: float,
    out: Path | None,
) -> float:
    """Make one update and return its loss. Raises `LossNotFinite` before the weights change."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = batch_loss(step)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = float(nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0))
    if not math.isfinite(loss.item()) or not math.isfinite(norm):
        has_checkpoint = out is not None and (out / "model.safetensors").is_file()
        kept = f"; the last good checkpoint is in {out}" if has_checkpoint else ""
        raise LossNotFinite(
            f"the loss is {loss.item()}, its gradient {norm} at step {step}{kept}; try a smaller learning_rate"
        )
    optimizer.step()
    return loss.item()


def _identity(schedule: Schedule, parameters: Sequence[nn.Parameter]) -> dict[str, Any]:
    """Return what makes this run differ from others: its schedule, and a digest of the weights it starts from."""
    digest = hashlib.blake2b(digest_size=8)
    for parameter in parameters:
        digest.update(parameter.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    decisive = {n: v for n, v in schedule._asdict().items() if n not in _NOT_DECISIVE}
    return {**decisive, "digest of the first weights": digest.hexdigest()}


def _save_state(
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    out: Path,
    about: Mapping[str, Any],
) -> None:
    """Write what resuming needs besides the model: the trained weights and the optimizer's state."""
    from safetensors.torch import save_file

    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(parameters)}
    for i, parameter in enumerate(parameters):
        state = optimizer.state.get(parameter, {})
        tensors |= {
            f"{name}.{i}": value for name, value in state.items() if isinstance(value, Tensor)
        }
    part = out / (STATE + ".part")
    save_file(tensors, part, metadata={"run": json.dumps(about)})
    net.put(part, out / STATE)


def _resume(
    parameters: Sequence[nn.Parameter],
    optimizer: torch.optim.Optimizer,
    out: Path,
    about: Mapping[str, Any],
) -> int:
    """Load the training state of `out` if there is one, and return the next step."""
    from safetensors import SafetensorError, safe_open

    path = out / STATE
    if not path.is_file():
        return 0
    try:
        with safe_open(path, framework="pt") as stored:
            before = json.loads(stored.metadata()["run"])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"{path} is cut short or no checkpoint ({error}); delete it to start again"
        ) from error
    if changed := differences(before, about, free=["step"]):
        raise TrainingError(
            f"{out} holds the checkpoint of another run: {'; '.join(changed.values())}; choose another folder"
        )
    for i, parameter in enumerate(parameters):
        weight = tensors.get(f"weight.{i}")
        if weight is None or weight.shape != parameter.shape:
            raise TrainingError(f"{path} is of a model of another shape; choose another folder")
        parameter.data.copy_(weight)
        names = ("step", "exp_avg", "exp_avg_sq")
        kept = {name: tensors[f"{name}.{i}"] for name in names if f"{name}.{i}" in tensors}
        optimizer.state[parameter] = {
            k: v if k == "step" else v.to(parameter.device) for k, v in kept.items()
        }
    return int(before["step"])


def figures_of(done: Fit, num_examples: int) -> dict[str, Any]:
    """Return the figures of a run as a command prints them."""
    return {
        "steps": done.steps,
        "examples": num_examples,
        "loss": done.loss,
        "seconds": round(done.seconds, 1),
    }


def batches(num_rows: int, batch: int, seed: int) -> Callable[[int], Tensor]:
    """Return a function from the step number to the rows of its batch: each epoch in a new order."""
    per_epoch = max(1, num_rows // batch)
    orders: dict[int, Tensor] = {}

    def rows_of(step: int) -> Tensor:
        epoch, at = divmod(step, per_epoch)
        if epoch not in orders:
            orders.clear()
            orders[epoch] = torch.randperm(
                num_rows, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch)
            )
        return orders[epoch][at * batch : (at + 1) * batch]

    return rows_of

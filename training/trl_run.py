"""What the trainers that go through TRL share: settings, metrics, resuming, a stop at a loss that is not finite.

TRL keeps its own state for resuming (torch files) in `out/trl` while it trains; when it is done, that folder goes and
`out` holds the whole model in safetensors. A finished run is not repeated.
"""

from __future__ import annotations

import importlib.util
import json
import math
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepgym.records.atomic import write_whole
from stepgym.training.fit import LossNotFinite, Progress, TrainingError
from stepgym.training.language import EXTRA, Trained
from stepgym.training.metrics import Metrics

if TYPE_CHECKING:
    from stepgym.training.run import TrainConfig

_FIGURES, _WORK = "figures.json", "trl"


def require_trl(kind: str) -> None:
    """Raise `TrainingError` that names the extra where a package is missing."""
    for package in ("trl", "datasets", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise TrainingError(f"{kind} on a language model needs the package {package}: {EXTRA}")


def finished(config: TrainConfig) -> dict[str, Any] | None:
    """Return the figures of a run that is done."""
    file = Path(config.out) / _FIGURES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


@contextmanager
def quietly() -> Iterator[None]:
    """Keep what TRL and transformers say to their own users from ours: deprecations, experimental features, bars."""
    import datasets

    datasets.disable_progress_bars()
    with warnings.catch_warnings(action="ignore"):
        yield


def arguments(config: TrainConfig, loaded: Trained) -> dict[str, Any]:
    """Return the settings that transformers' `TrainingArguments` and all of TRL's have in common."""
    device = loaded.model.device.type
    return {
        "output_dir": str(Path(config.out) / _WORK),
        "max_steps": config.steps,
        "learning_rate": config.learning_rate,
        "warmup_steps": config.schedule.warmup,
        "lr_scheduler_type": "cosine",
        "weight_decay": config.schedule.weight_decay,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_steps": max(1, min(50, config.steps // 4)),
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "gradient_checkpointing": False,
        "bf16": device == "cuda",
        "use_cpu": device == "cpu",
        "seed": config.seed,
    }


def run(
    trainer: Any,
    loaded: Trained,
    config: TrainConfig,
    *,
    num_examples: int,
    progress: Progress | None,
) -> dict[str, Any]:
    """Train, from TRL's last checkpoint on where there is one, and return the figures. Raises `LossNotFinite`."""
    from safetensors import SafetensorError
    from transformers import PrinterCallback
    from transformers.trainer_utils import get_last_checkpoint

    out, work = Path(config.out), Path(config.out) / _WORK
    watch = watcher(config, loaded, progress)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(watch)
    started = time.monotonic()
    last = get_last_checkpoint(str(work)) if work.is_dir() else None
    try:
        with quietly():
            trainer.train(resume_from_checkpoint=last)
    except SafetensorError as error:
        raise TrainingError(
            f"{last} is cut short or no checkpoint ({error}); delete it to go on from before it"
        ) from error
    finally:
        watch.metrics.close()
    loaded.save(trainer.accelerator.unwrap_model(trainer.model), out)
    seconds = round(time.monotonic() - started, 1)
    figures = {"steps": config.steps, "examples": num_examples, **watch.latest, "seconds": seconds}
    write_whole(out / _FIGURES, json.dumps(figures) + "\n")
    shutil.rmtree(work, ignore_errors=True)
    return figures


def watcher(config: TrainConfig, loaded: Trained, progress: Progress | None) -> Any:
    """Return the callback that writes metrics, keeps `out` loadable, and stops at a loss that is not finite."""
    from transformers import TrainerCallback

    out = Path(config.out)

    class Watcher(TrainerCallback):  # type: ignore[misc]
        def __init__(self) -> None:
            self.metrics = Metrics(out)
            self.latest: dict[str, float] = {}

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            values = {
                name: float(v) for name, v in (logs or {}).items() if isinstance(v, int | float)
            }
            if "loss" not in values:
                return
            if not all(math.isfinite(values.get(name, 0.0)) for name in ("loss", "grad_norm")):
                kept = (
                    f"; the last good checkpoint is in {out}"
                    if (out / "model.safetensors").is_file()
                    else ""
                )
                where = f"at step {state.global_step}{kept}; try a smaller learning_rate"
                raise LossNotFinite(
                    f"the loss is {values['loss']}, its gradient {values.get('grad_norm')} {where}"
                )
            self.latest = {
                name: values[name]
                for name in ("loss", "reward", "rewards/accuracies")
                if name in values
            }
            self.metrics.write(state.global_step, values)
            if progress:
                progress(state.global_step, config.steps, self.latest)

        def on_save(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
            loaded.save(model, out)

    return Watcher()

"""Language models in training: which `init` is one, how it is loaded, low-rank adapters, how it is saved.

Weights are float32 and arithmetic is bfloat16 on CUDA, because small updates vanish in bfloat16 weights; with
adapters the frozen weights are in the device's own precision. What is saved is always a whole model with its
tokenizer, adapters merged in, so that `hf:FOLDER` loads it with transformers alone.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from stepgym.agents.embedded import net
from stepgym.training.fit import TrainingError

if TYPE_CHECKING:
    from stepgym.training.run import TrainConfig

EXTRA = "pip install 'stepgym[train]'"
SMOLLM2 = "smollm2"
POLICY_CLASS, REWARD_CLASS = "AutoModelForCausalLM", "AutoModelForTokenClassification"


class Trained(NamedTuple):
    """A model on its way through training, with its tokenizer."""

    model: Any
    tokenizer: Any

    @property
    def context(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2048)

    def save(self, model: Any, folder: Path) -> None:
        """Write the whole model, its adapters merged in, and the tokenizer."""
        net.save(
            copy.deepcopy(model).merge_and_unload()
            if hasattr(model, "merge_and_unload")
            else model,
            folder,
        )
        self.tokenizer.save_pretrained(folder)


def is_language_model(init: str) -> bool:
    """Say whether `init` names a language model (everything else is an embedded one)."""
    return init == SMOLLM2 or init.startswith("hf:")


def load(config: TrainConfig, kind: str) -> Trained:
    """Load what `config.init` names, as what transformers calls `kind`. Raises `TrainingError`."""
    from safetensors import SafetensorError

    from stepgym.agents.policies.loading import load_model, pick_device, smollm2_file

    device = pick_device(None if config.device == "auto" else config.device)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' is not to be had here; take cpu or auto")
    try:
        source = str(smollm2_file()) if config.init == SMOLLM2 else config.init.removeprefix("hf:")
        with torch.random.fork_rng(devices=[]), _silent():
            torch.manual_seed(config.seed)  # a reward model's head is new
            model, tokenizer = load_model(
                source, kind, device=device, dtype=None if config.lora else "float32"
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"cannot load {config.init}: {error}") from error
    return Trained(model, tokenizer)


def with_adapters(config: TrainConfig, model: Any, kind: str) -> Any:
    """Return the model with low-rank adapters on all its linear layers (Hu et al. 2021), where the config wants them."""
    if not config.lora:
        return model
    try:
        import peft
    except ImportError as error:
        raise TrainingError(f"low-rank adapters need the package peft: {EXTRA}") from error
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(config.seed)
        return peft.get_peft_model(model, adapters(config, kind))


def adapters(config: TrainConfig, kind: str) -> Any:
    """Return peft's description of the adapters."""
    import peft

    shape: dict[str, Any] = {
        "r": config.lora,
        "lora_alpha": 2 * config.lora,
        "target_modules": "all-linear",
    }
    if kind == POLICY_CLASS:
        return peft.LoraConfig(task_type=peft.TaskType.CAUSAL_LM, **shape)
    # The new head is trained whole.
    return peft.LoraConfig(
        task_type=peft.TaskType.TOKEN_CLS, exclude_modules=["score", "classifier"], **shape
    )


@contextmanager
def half_precision(model: Any) -> Iterator[None]:
    """Compute in bfloat16 where the device is quick at it."""
    with torch.autocast("cuda", torch.bfloat16, enabled=model.device.type == "cuda"):
        yield


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from reporting at length that a reward model's head is new."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)

"""Language models in training: how they are loaded, given low-rank adapters, run on tokens, and saved.

Weights are float32 and arithmetic is bfloat16 on CUDA, because small updates vanish in bfloat16 weights; with
adapters the frozen weights are in the device's own precision. What is saved is always a whole model with its
tokenizer, adapters merged in, so that `hf:FOLDER` loads it with transformers alone.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from stepgym.agents.embedded import net
from stepgym.agents.policies.loading import load_model, pick_device, smollm2_file
from stepgym.training.config import SMOLLM2, TrainConfig
from stepgym.training.tool_tokens import add_tool_tokens, token_layers
from stepgym.training.types import TrainingError

EXTRA = "pip install 'stepgym[train]'"
POLICY_CLASS, REWARD_CLASS = "AutoModelForCausalLM", "AutoModelForTokenClassification"
UNLABELLED = -100.0


class TokenRow(NamedTuple):
    """A token sequence, and for each token its target or `UNLABELLED`.

    For a policy the target 1 means that the token is learned; for a reward model it is the label of the step that
    ends at the token.
    """

    ids: tuple[int, ...]
    targets: tuple[float, ...]


class LanguageModelInTraining(NamedTuple):
    """A model with its tokenizer; `trained` is the model or its wrapping in adapters."""

    model: Any
    tokenizer: Any
    trained: Any

    @property
    def context(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2048)

    def save(self, trained: Any, folder: Path) -> None:
        """Write the whole model, its adapters merged in, and the tokenizer."""
        save_language_model(trained, self.tokenizer, folder)


def save_language_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a model, adapters merged in, and its tokenizer, so that `hf:FOLDER` loads both."""
    merged = hasattr(model, "merge_and_unload")
    whole = copy.deepcopy(model).merge_and_unload() if merged else model
    part = folder / "part"
    with _silent():
        whole.save_pretrained(part)
    for file in sorted(part.iterdir()):
        net.put(file, folder / file.name)
    part.rmdir()
    tokenizer.save_pretrained(folder)


def load(config: TrainConfig, model_class: str) -> LanguageModelInTraining:
    """Load the model `config.init`, with adapters if the config asks for them. Raises `TrainingError`."""
    from safetensors import SafetensorError

    device = pick_device(None if config.device == "auto" else config.device)
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise TrainingError("device 'cuda' is not available on this machine; choose cpu or auto")
    try:
        source = str(smollm2_file()) if config.init == SMOLLM2 else config.init.removeprefix("hf:")
        with torch.random.fork_rng(devices=[]), _silent():
            torch.manual_seed(config.seed)  # for a reward model's new head
            model, tokenizer = load_model(
                source, model_class, device=device, dtype=None if config.lora else "float32"
            )
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"cannot load {config.init}: {error}") from error
    new_tokens = add_tool_tokens(model, tokenizer) if config.tool_tokens else []
    trained = _with_adapters(config, model, model_class, new_tokens) if config.lora else model
    return LanguageModelInTraining(model, tokenizer, trained)


def learned_log_probs(model: Any, rows: Sequence[TokenRow]) -> Tensor:
    """Return the log-probabilities of the learned tokens of all rows, one row after the other.

    Logits are only made from the first learned token on.
    """
    tokens, mask, targets = padded(rows, model.device)
    first = min((row.targets.index(1.0) for row in rows if 1.0 in row.targets), default=None)
    if not first:
        raise TrainingError("a row needs a prompt, and after it a token to learn")
    keep = tokens.shape[1] - first + 1
    with half_precision(model):
        out = model(input_ids=tokens, attention_mask=mask, logits_to_keep=keep)
    logits, wanted = out.logits[:, :-1].float(), tokens[:, first:]
    log_probs = -functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return log_probs[(targets[:, first:] == 1).flatten()]


def padded(rows: Sequence[TokenRow], device: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return tokens, attention mask and targets, padded on the right."""
    width = max(len(row.ids) for row in rows)
    tokens = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(tokens)
    targets = torch.full((len(rows), width), UNLABELLED)
    for i, row in enumerate(rows):
        n = len(row.ids)
        tokens[i, :n], mask[i, :n] = torch.tensor(row.ids), 1
        targets[i, :n] = torch.tensor(row.targets)
    return tokens.to(device), mask.to(device), targets.to(device)


@contextmanager
def half_precision(model: Any) -> Iterator[None]:
    """Compute in bfloat16 on CUDA."""
    with torch.autocast("cuda", torch.bfloat16, enabled=model.device.type == "cuda"):
        yield


def _with_adapters(
    config: TrainConfig, model: Any, model_class: str, new_tokens: Sequence[int]
) -> Any:
    """Return the model with low-rank adapters on all its linear layers (Hu et al. 2021); new tokens are trained whole."""
    try:
        import peft
    except ImportError as error:
        raise TrainingError(f"low-rank adapters need the package peft: {EXTRA}") from error
    shape: dict[str, Any] = {
        "r": config.lora,
        "lora_alpha": 2 * config.lora,
        "target_modules": "all-linear",
    }
    if new_tokens:
        shape["trainable_token_indices"] = dict.fromkeys(token_layers(model), new_tokens)
    if model_class == POLICY_CLASS:
        adapters = peft.LoraConfig(task_type=peft.TaskType.CAUSAL_LM, **shape)
    else:  # the new head is trained whole
        adapters = peft.LoraConfig(
            task_type=peft.TaskType.TOKEN_CLS, exclude_modules=["score", "classifier"], **shape
        )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        torch.manual_seed(config.seed)
        return peft.get_peft_model(model, adapters)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep transformers from progress bars for files, and from reporting that a reward model's head is new."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()

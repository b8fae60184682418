"""Published reward models by name, with the layout of their model card.

| name | like | a step's score |
|---|---|---|
| `qwen-prm:MODEL` | Qwen2.5-Math-PRM-7B (Zhang et al. 2025) | the second of two labels at each `<extra_0>` |
| `math-shepherd:MODEL` | math-shepherd-mistral-7b-prm (Wang et al. 2024) | `+` against `-` at each `ки` |
| `skywork-prm:MODEL` | Skywork-o1-Open-PRM | the logistic of a value head at each step's line end |
| `orm:MODEL` | Skywork-Reward, a sequence classifier with one label | the logistic of the label after the whole chat; one score |

MODEL is a folder or a hub name. No code from the model's folder is run. Weights that the layout needs and the folder lacks are
an error; they are never initialised at random. Not covered: environments' replies between steps, which no card has a place
for; they come after the step that they answer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file

from stepgym.agents.policies.loading import pick_device
from stepgym.agents.reward_models import texts
from stepgym.envs.types import State
from stepgym.plugins.errors import UserError


@dataclass(frozen=True)
class Recipe:
    """How a kind of reward model is loaded and asked."""

    load: Callable[..., torch.nn.Module]
    """(folder, dtype) -> a module from token ids and mask to one logit per token, or one per text."""
    text: Callable[[Any, State], tuple[str, list[int]]]
    """(tokenizer, state) -> the text, and for each step the offset in it of the character whose token is read."""
    special_tokens: bool = False
    """Whether the tokenizer adds its own; a chat template has them in the text."""
    per_step: bool = True
    """Whether every step gets a score (process reward model) or only the last one (outcome reward model)."""


class PublishedRewardModel:
    """Scores states with a reward model in the layout of its model card.

    A state longer than the model's context is a `UserError`.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: str | Path,
        *,
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int = 8192,
    ) -> None:
        self.recipe, self.name, self.batch_tokens = recipe, Path(model).name, batch_tokens
        folder = _folder(model)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.device = pick_device(device)
        number = dtype or ("bfloat16" if self.device.startswith("cuda") else "float32")
        self.model = recipe.load(folder, getattr(torch, number)).to(self.device).eval()

    @property
    def num_parameters(self) -> int:
        """Number of parameters of the model."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def describe(self) -> dict[str, Any]:
        """Return the reward model's settings, as records keep them."""
        return {"kind": "published", "model": self.name, "num_parameters": self.num_parameters}

    def tokens_read(self, states: Sequence[State]) -> list[int]:
        """Return the tokens of each state in the card's layout."""
        return [len(self._encoded(state)[0]) for state in states]

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score per step of each state, or one for the whole of it."""
        encoded = [self._encoded(state) for state in states]
        scores: list[list[float]] = [[] for _ in states]
        order = sorted(
            (i for i, (_, at) in enumerate(encoded) if at), key=lambda i: len(encoded[i][0])
        )
        for batch in _batches(order, [len(ids) for ids, _ in encoded], self.batch_tokens):
            length = len(encoded[batch[-1]][0])
            tokens = torch.zeros(len(batch), length, dtype=torch.long)
            mask = torch.zeros_like(tokens)
            for row, i in enumerate(batch):
                ids = torch.tensor(encoded[i][0])
                tokens[row, : len(ids)], mask[row, : len(ids)] = ids, 1
            with torch.inference_mode():
                logits = self.model(tokens.to(self.device), mask.to(self.device)).float().sigmoid()
            for row, i in enumerate(batch):
                scores[i] = [round(float(logits[row, at]), 6) for at in encoded[i][1]]
        return scores

    def _encoded(self, state: State) -> tuple[list[int], list[int]]:
        """Return a state's tokens and the positions at which scores are read."""
        if not state.steps:
            return [], []
        text, places = self.recipe.text(self.tokenizer, state)
        given = self.tokenizer(
            text, add_special_tokens=self.recipe.special_tokens, return_offsets_mapping=True
        )
        ids, spans = given["input_ids"], given["offset_mapping"]
        context = getattr(self.model.config, "max_position_embeddings", None) or len(ids)
        if len(ids) > context:
            raise UserError(
                f"a state of {len(ids)} tokens does not fit the context of {context} of {self.name}"
            )
        ends = [_token_at(spans, place) for place in places]
        return ids, ends if self.recipe.per_step else ends[-1:]


def _token_at(spans: Sequence[tuple[int, int]], place: int) -> int:
    """Return the last token that covers a character."""
    return max(i for i, (start, end) in enumerate(spans) if start <= place < end)


def _batches(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    batches: list[list[int]] = []
    for i in order:
        if batches and lengths[i] * (len(batches[-1]) + 1) <= batch_tokens:
            batches[-1].append(i)
        else:
            batches.append([i])
    return batches


def _folder(model: str | Path) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise FileNotFoundError(f"no model folder at {str(path)!r}")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(model)))
    except Exception as error:  # the hub, its cache and the network fail in many ways
        raise FileNotFoundError(f"no model {str(model)!r}: {error}") from error


class _Scorer(torch.nn.Module):
    """A transformer, and what turns its output into one logit per token or per text."""

    def __init__(self, model: Any, read: Callable[[Any], torch.Tensor], head: Any = None) -> None:
        super().__init__()
        self.body, self.head, self.read, self.config = model, head, read, model.config

    def forward(self, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        output = self.body(input_ids=tokens, attention_mask=mask)
        if self.head is not None:
            output = self.head(output.last_hidden_state)
        return self.read(output)


def load_labels(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load a classifier of tokens with two labels.

    Its logit is that of the second label against the first.

    Its head is one layer (`ForTokenClassification`), or those named `score.0`, `score.2` (Qwen's own class).
    """
    stored = _stored(folder, "score.")
    if not any(name.startswith("score.0.") for name in stored):
        body = _complete(transformers.AutoModelForTokenClassification, folder, dtype)
        return _Scorer(body, lambda output: output.logits[..., 1] - output.logits[..., 0])
    head = _layers(stored, "score.", folder, dtype)
    body = _complete(transformers.AutoModel, folder, dtype)
    return _Scorer(body, lambda logits: logits[..., 1] - logits[..., 0], head)


def load_value(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load a language model with a value head, `v_head.summary`."""
    stored = _stored(folder, "v_head.summary.")
    head = _layers(stored, "v_head.", folder, dtype)
    body = _complete(transformers.AutoModel, folder, dtype)
    return _Scorer(body, lambda values: values[..., 0], head)


def load_words(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load a language model whose next word is `+` or `-`; its logit is that of `+` against `-`."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("+ -", add_special_tokens=False).input_ids
    plus, minus = ids[0], ids[-1]
    if plus == minus:
        raise UserError(f"the tokenizer in {folder} does not tell '+' from '-'")
    body = _complete(transformers.AutoModelForCausalLM, folder, dtype)
    return _Scorer(body, lambda output: output.logits[..., plus] - output.logits[..., minus])


def load_sequence(folder: Path, dtype: torch.dtype) -> torch.nn.Module:
    """Load a classifier of sequences with one label, read at every token."""
    whole = _complete(transformers.AutoModelForSequenceClassification, folder, dtype)
    if whole.config.num_labels != 1 or not hasattr(whole, "score"):
        raise UserError(
            f"{folder} has {whole.config.num_labels} labels; an outcome reward model has one"
        )
    return _Scorer(whole.base_model, lambda values: values[..., 0], whole.score)


def _complete(kind: Any, folder: Path, dtype: torch.dtype) -> Any:
    """Load a model all of whose weights are in the folder. Raises `UserError` for missing ones."""
    try:
        model, about = kind.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{folder}: {str(error).splitlines()[0]}") from error
    if wrong := sorted(
        {*about["missing_keys"], *(key for key, *_ in about.get("mismatched_keys", ()))}
    ):
        raise UserError(
            f"{folder} lacks weights of {type(model).__name__}: {', '.join(wrong[:5])}; they would be random"
        )
    return model


def _stored(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a folder whose names begin with a prefix."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = json.loads(index.read_text())["weight_map"]
        files = sorted({file for name, file in names.items() if name.startswith(prefix)})
    else:
        files = [file.name for file in sorted(folder.glob("*.safetensors"))]
    found: dict[str, torch.Tensor] = {}
    for file in files:
        found |= {k: v for k, v in load_file(folder / file).items() if k.startswith(prefix)}
    for file in [] if found else sorted(folder.glob("*.bin")):
        loaded = torch.load(file, map_location="cpu", weights_only=True)
        found |= {k: v for k, v in loaded.items() if k.startswith(prefix)}
    return found


def _layers(
    stored: dict[str, torch.Tensor], prefix: str, folder: Path, dtype: torch.dtype
) -> torch.nn.Module:
    """Return stored linear layers in order, with ReLU between them."""
    names = sorted(name.removesuffix(".weight") for name in stored if name.endswith(".weight"))
    if not names:
        raise UserError(f"{folder} lacks the weights {prefix}*; they would be random")
    layers: list[torch.nn.Module] = []
    for name in names:
        weight, bias = stored[f"{name}.weight"], stored.get(f"{name}.bias")
        linear = torch.nn.Linear(
            weight.shape[1], weight.shape[0], bias=bias is not None, dtype=dtype
        )
        linear.weight.data = weight.to(dtype)
        if bias is not None:
            linear.bias.data = bias.to(dtype)
        layers += [torch.nn.ReLU(), linear] if layers else [linear]
    return torch.nn.Sequential(*layers)


qwen_prm = partial(PublishedRewardModel, Recipe(load_labels, texts.qwen))
math_shepherd = partial(
    PublishedRewardModel, Recipe(load_words, texts.shepherd, special_tokens=True)
)
skywork_prm = partial(PublishedRewardModel, Recipe(load_value, texts.skywork))
orm = partial(PublishedRewardModel, Recipe(load_sequence, texts.chat, per_step=False))

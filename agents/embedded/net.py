"""The embedded transformers: Llama-shaped, a few layers, built by hand, saved as safetensors that transformers loads."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stepgym.agents.embedded.games import PAD, VOCABULARY_SIZE, GAMES, Plan, plan


class Shape(NamedTuple):
    """The size of a tiny transformer."""

    hidden: int = 64
    layers: int = 3
    heads: int = 4


class CheckpointError(ValueError):
    """A model folder that cannot be loaded: missing, cut short, or of another kind."""


def build(kind: str, shape: Shape, game: str, *, seed: int = 0) -> Any:
    """Return a fresh `policy` (causal LM) or `prm` (token classification, one label) for a game."""
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaForTokenClassification

    config = LlamaConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=shape.hidden,
        intermediate_size=2 * shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=64,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=kind == "policy",
        use_cache=False,
        num_labels=1,
        initializer_range=1 / math.sqrt(shape.hidden),
    )
    config.stepgym_game = game
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config) if kind == "policy" else LlamaForTokenClassification(config)
    model.eval()
    return model


def save(model: nn.Module, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`; the folder loads with transformers' `from_pretrained`."""
    model.save_pretrained(folder, safe_serialization=True)  # type: ignore[operator]


def load(kind: str, folder: Path) -> Any:
    """Load what `save` wrote. Raises `CheckpointError` with the folder's name."""
    from safetensors import SafetensorError
    from transformers import LlamaForCausalLM, LlamaForTokenClassification

    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"no model.safetensors in {folder}; train one with: stepgym train embedded --out {folder}")
    try:
        game = json.loads((folder / "config.json").read_text()).get("stepgym_game")
        if game not in GAMES:
            raise CheckpointError(f"{folder} is no embedded model (its config names game {game!r}); load it as hf:{folder}")
        cls = LlamaForCausalLM if kind == "policy" else LlamaForTokenClassification
        model = cls.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (SafetensorError, OSError, json.JSONDecodeError, RuntimeError) as error:
        raise CheckpointError(f"cannot read the model in {folder} (cut short?): {error}") from error
    model.eval()
    return model


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def last_outputs(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the model's outputs after the last token of each row, `[rows, outputs]`.

    Rows are padded on the right, which a causal model never sees from the left.
    """
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    last = torch.tensor([len(row) - 1 for row in rows])
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state[torch.arange(len(rows)), last]
    head = model.lm_head if hasattr(model, "lm_head") else model.score
    outputs: Tensor = head(hidden)
    return outputs


class MoveLogProbs(NamedTuple):
    """Log-probabilities of all legal moves of a batch of states, flat; `state` says whose each is."""

    log_probs: Tensor
    state: Tensor
    plans: list[Plan]

    def split(self) -> list[Tensor]:
        return list(self.log_probs.split([len(p.moves) for p in self.plans]))


def move_log_probs(model: Any, publics: Sequence[Hashable]) -> MoveLogProbs:
    """Score every legal move of every state in one forward pass; each state's probabilities sum to one."""
    plans = [plan(model.config.stepgym_game, public) for public in publics]
    rows = [row for p in plans for row in p.rows]
    logits = last_outputs(model, rows)
    first_row, first_move, move_at, row_at, token_at, option_row, option_token = 0, 0, [], [], [], [], []
    for p in plans:
        for m, r, token in p.choices:
            move_at.append(first_move + m)
            row_at.append(first_row + r)
            token_at.append(token)
        for r, tokens in enumerate(p.options):
            option_row.extend([first_row + r] * len(tokens))
            option_token.extend(tokens)
        first_row += len(p.rows)
        first_move += len(p.moves)
    mask = torch.full_like(logits, -math.inf)
    mask[torch.tensor(option_row), torch.tensor(option_token)] = 0.0
    chosen = torch.log_softmax(logits + mask, dim=-1)[torch.tensor(row_at), torch.tensor(token_at)]
    total = torch.zeros(first_move).index_add(0, torch.tensor(move_at), chosen)
    owner = torch.repeat_interleave(torch.arange(len(plans)), torch.tensor([len(p.moves) for p in plans]))
    return MoveLogProbs(total, owner, plans)


def step_logits(model: Any, publics: Sequence[Hashable]) -> Tensor:
    """Return the reward model's logit for each state: how likely the game can still be won from there."""
    game = GAMES[model.config.stepgym_game]
    return last_outputs(model, [game.prompt(public) for public in publics])[:, 0]


def stream(*key: object) -> random.Random:
    """Return a random stream that is a function of `key` alone."""
    return random.Random(repr(key))

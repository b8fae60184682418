"""The embedded transformers: small Llamas, saved as safetensors that the library transformers loads.

Inference runs in double precision, so that a state's probabilities do not depend on the batch it is in.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stepgym.agents.embedded import llama
from stepgym.agents.embedded.games import GAMES, PAD, MoveTree, move_tree, vocabulary_size
from stepgym.plugins.errors import UserError

POLICY, PRM = "policy", "prm"


class Shape(NamedTuple):
    """The size of a tiny transformer."""

    hidden: int = 64
    layers: int = 3
    heads: int = 4


class CheckpointError(UserError):
    """A model folder that cannot be loaded: missing, cut short, or of another kind."""


ARCHITECTURES = {POLICY: llama.CAUSAL, PRM: llama.CLASSIFIER}


def build(kind: str, shape: Shape, game: str, *, seed: int = 0) -> Any:
    """Return a fresh `policy` (causal language model) or `prm` (token classification with one label) for a game."""
    config = llama.configuration(
        ARCHITECTURES[kind], vocabulary=vocabulary_size(game), pad=PAD, **shape._asdict()
    )
    config.stepgym_game = game
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = llama.Llama(config)
    return model.eval()


@contextmanager
def scoring() -> Iterator[None]:
    """No gradients, and one thread: these matrices are so small that a second one only waits for the first."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def save(model: Any, folder: Path) -> None:
    """Write `config.json` and `model.safetensors`, which transformers' `from_pretrained` reads; cut short, the files
    that were there before stay whole."""
    folder.mkdir(parents=True, exist_ok=True)
    weights, config = folder / "model.safetensors.part", folder / "config.json.part"
    save_file(
        {name: weight.detach().contiguous() for name, weight in model.weights().items()},
        weights,
        metadata={"format": "pt"},
    )
    config.write_text(json.dumps(vars(model.config), indent=2) + "\n", encoding="utf-8")
    for part in (weights, config):
        put(part, part.with_suffix(""))


def put(part: Path, file: Path) -> None:
    """Move a finished file to its place, readable as the umask says: safetensors writes for the owner alone."""
    umask = os.umask(0)
    os.umask(umask)
    part.chmod(0o666 & ~umask)
    part.replace(file)


def load(kind: str, folder: Path) -> Any:
    """Load a model that `save` wrote. Raises `CheckpointError` with the folder's name."""
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"no model.safetensors in {folder}; `stepgym train embedded --out FOLDER` makes a policy and a prm"
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if config.get("stepgym_game") not in GAMES:
            raise CheckpointError(
                f"{folder} is not an embedded model (its config names no stepgym_game); load it as hf:{folder}"
            )
        wanted = ARCHITECTURES[kind]
        if config.get("architectures") != [wanted]:
            hint = (
                f"; `stepgym train alphazero --shared --init {folder}` gives a policy a value head"
                if kind == PRM and not (folder / "value_head.safetensors").is_file()
                else ""
            )
            raise CheckpointError(
                f"{folder} holds {config.get('architectures')}, not a {kind} ({wanted}){hint}"
            )
        with torch.random.fork_rng():
            model = llama.Llama(SimpleNamespace(**config))
        weights = load_file(folder / "model.safetensors")
        if wanted == llama.CAUSAL:
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        model.load_state_dict(weights)
    except (
        SafetensorError,
        OSError,
        json.JSONDecodeError,
        RuntimeError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        raise CheckpointError(
            f"cannot read the model in {folder}; is a file cut short? ({error})"
        ) from error
    return model.eval()


def model_folder(folder: Path, kind: str) -> Path:
    """Return where a model of this kind lies: in the `policy/` or `prm/` of the folder, or in the folder itself."""
    return folder / kind if (folder / kind).is_dir() else folder


def num_parameters(model: nn.Module) -> int:
    """Count the parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def last_outputs(model: Any, rows: Sequence[Sequence[int]]) -> Tensor:
    """Return the model's outputs after the last token of each row, `[rows, outputs]`."""
    return outputs_at(model, rows, [(at, len(row) - 1) for at, row in enumerate(rows)])


def outputs_at(
    model: Any, rows: Sequence[Sequence[int]], places: Sequence[tuple[int, int]]
) -> Tensor:
    """Return the model's outputs at `(row, position)` places, `[places, outputs]`.

    Rows are padded on the right, where a causal model does not look.
    """
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[PAD] * (width - len(row))] for row in rows])
    which, at = torch.tensor(places).T
    return outputs_within(model, tokens, which, at)


def outputs_within(model: Any, tokens: Tensor, which: Tensor, at: Tensor) -> Tensor:
    """Return the model's outputs at positions `at` of the rows `which` of padded tokens, `[places, outputs]`."""
    hidden = model.model(tokens)[which, at]
    head = model.lm_head if hasattr(model, "lm_head") else model.score
    outputs: Tensor = head(hidden)
    return outputs


class MoveBatch(NamedTuple):
    """The trees of a batch of states as index tensors, so that scoring all their moves is a few tensor operations."""

    trees: list[MoveTree]
    rows: list[tuple[int, ...]]
    choice: Tensor
    """`[3, choices]`: move, row and token, counted over the batch."""
    option: Tensor
    """`[2, options]`: row and token."""
    num_moves: int


def batch_moves(game: str, publics: Sequence[Hashable]) -> MoveBatch:
    """Join the trees of a batch of states."""
    trees = [move_tree(game, public) for public in publics]
    rows: list[tuple[int, ...]] = []
    choices = []
    options: list[tuple[int, int]] = []
    num_moves = 0
    for p in trees:
        first = len(rows)
        choices.append(p.choices + np.array([num_moves, first, 0]))
        options += [
            (first + row, token) for row, tokens in enumerate(p.options) for token in tokens
        ]
        rows += p.rows
        num_moves += len(p.moves)
    chosen = np.concatenate(choices) if choices else np.empty((0, 3), np.int64)
    return MoveBatch(
        trees, rows, torch.from_numpy(chosen).T, torch.tensor(options).reshape(-1, 2).T, num_moves
    )


def move_log_probs(model: Any, batch: MoveBatch) -> list[Tensor]:
    """Return the log-probability of every legal move of each state; each state's probabilities sum to one."""
    if not batch.rows:
        return [torch.zeros(0) for _ in batch.trees]
    logits = last_outputs(model, batch.rows)
    allowed = torch.full_like(logits, -math.inf)
    allowed[batch.option[0], batch.option[1]] = 0.0
    chosen = torch.log_softmax(logits + allowed, dim=-1)[batch.choice[1], batch.choice[2]]
    total = torch.zeros(batch.num_moves, dtype=chosen.dtype).index_add(0, batch.choice[0], chosen)
    return list(torch.split(total, [len(p.moves) for p in batch.trees]))


def position_logits(model: Any, readings: Sequence[Hashable]) -> Tensor:
    """Return a reward model's logit for each reading: how likely the game can still be won from there."""
    game = GAMES[model.config.stepgym_game]
    return last_outputs(model, [game.reading_tokens(reading) for reading in readings])[:, 0]

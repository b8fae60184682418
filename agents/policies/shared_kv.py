"""A KV cache in which the children of one node share its prefix: one row per node, its children are columns.

A batch is `rows` x `columns`: every row holds one prefix, once, and every decoding step adds one column per child
still being decoded. The attention mask follows from the owner of each column: a token sees the prefix and the earlier
tokens of its own child. Nothing is copied per child, and rows of different length are padded on the left. It works with
every decoder that takes a four-dimensional mask and position ids; `check` tests whether a model does. It does not work
with recurrent or linear attention, where a prefix is not a list of keys and values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from stepgym.plugins.errors import UserError

PREFIX = -1
"""Owner of what all children of the row see."""
PADDING = -2
"""Owner of padding, which no child sees."""
GROUPED_ATTENTION = "stepgym_grouped"
CACHE = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"
"""The cache's name in the arguments and outputs of models: newer versions of transformers renamed it."""


class CacheShape(NamedTuple):
    """The shape of one token's keys and values."""

    layers: int
    heads: int
    key_dim: int
    value_dim: int

    def token_bytes(self, dtype: torch.dtype) -> int:
        return self.layers * self.heads * (self.key_dim + self.value_dim) * dtype.itemsize


def cache_shape(model: Any) -> CacheShape:
    """Find the shape by reading one token; raises `ValueError` for another kind of cache."""
    with torch.inference_mode():
        output = model(torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=True)
    cache = getattr(output, CACHE, None)
    layers = getattr(cache, "layers", [])
    tensors = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in layers]
    shapes = {
        (k.shape[1], k.shape[3], v.shape[3]) if k is not None and v is not None else None
        for k, v in tensors
    }
    if len(shapes) != 1 or None in shapes:
        raise UserError(
            f"a {model.config.model_type!r} model does not keep the same keys and values in every layer, so that "
            "a prefix cannot be shared; use a plain attention model, or serve it and use chat:URL#MODEL"
        )
    (shape,) = shapes
    assert shape is not None
    return CacheShape(len(layers), *shape)


class SharedKV:
    """Keys and values of a batch of nodes, with room for `capacity` tokens in each row."""

    def __init__(
        self,
        shape: CacheShape,
        num_rows: int,
        capacity: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ):
        sizes = (shape.layers, num_rows, shape.heads, capacity)
        self.keys = torch.zeros(*sizes, shape.key_dim, device=device, dtype=dtype)
        self.values = torch.zeros(*sizes, shape.value_dim, device=device, dtype=dtype)
        self.owner = torch.full((num_rows, capacity), PADDING, device=device)
        self.position = torch.zeros((num_rows, capacity), dtype=torch.long, device=device)
        self.used = 0

    def load(
        self, row: int, start: int, keys: torch.Tensor, values: torch.Tensor, *, position: int
    ) -> int:
        """Copy a piece of a prefix into a row from column `start` on; return the column after it."""
        end = start + keys.shape[2]
        self.keys[:, row, :, start:end] = keys
        self.values[:, row, :, start:end] = values
        self.owner[row, start:end] = PREFIX
        self.position[row, start:end] = torch.arange(
            position, position + end - start, device=self.owner.device
        )
        return end

    def take(self, row: int, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return copies of the keys and values of some columns of a row."""
        return self.keys[:, row].index_select(2, columns), self.values[:, row].index_select(
            2, columns
        )

    def rows(self, start: int, stop: int) -> SharedKV:
        """Return a view of some rows."""
        view = object.__new__(SharedKV)
        view.keys, view.values = self.keys[:, start:stop], self.values[:, start:stop]
        view.owner, view.position, view.used = (
            self.owner[start:stop],
            self.position[start:stop],
            self.used,
        )
        return view

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all rows but these."""
        self.keys, self.values = self.keys.index_select(1, rows), self.values.index_select(1, rows)
        self.owner, self.position = self.owner[rows], self.position[rows]

    def read(
        self,
        model: Any,
        ids: torch.Tensor,
        positions: torch.Tensor,
        owners: torch.Tensor,
        *,
        last: int = 0,
    ) -> Any:
        """Let the model read one block of columns, all [rows, columns]; return logits [rows, columns, vocabulary].

        `last` asks for the logits of the last columns only (0 is all).
        """
        new = slice(self.used, self.used + ids.shape[1])
        self.owner[:, new], self.position[:, new] = owners, positions
        self.used = new.stop
        masks = self._masks(model, positions, owners)
        cache = Cache(layers=[_Layer(k, v, new) for k, v in zip(self.keys, self.values)])
        return model(
            input_ids=ids,
            attention_mask=masks,
            position_ids=positions,
            use_cache=True,
            logits_to_keep=last,
            **{CACHE: cache},
        ).logits

    def _masks(self, model: Any, positions: torch.Tensor, owners: torch.Tensor) -> Any:
        owner, position = self.owner[:, None, : self.used], self.position[:, None, : self.used]
        ours = (owner == PREFIX) | (owner == owners[:, :, None])
        distance = positions[:, :, None] - position
        # A padding query sees padding: a query that saw nothing would come out as NaN and spread through its value.
        visible = ours & (distance >= 0)
        full = _additive(visible, model.dtype)
        window = getattr(model.config, "sliding_window", None)
        kinds = getattr(model.config, "layer_types", None)
        if not window or (kinds and "sliding_attention" not in kinds):
            return full
        sliding = _additive(visible & (distance < window), model.dtype)
        return {"full_attention": full, "sliding_attention": sliding} if kinds else sliding


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, torch.finfo(dtype).min)[:, None]


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's view of `SharedKV`: new keys and values go to columns that are already there."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, new: slice) -> None:
        self.keys, self.values, self.new = keys, values, new
        self.is_initialized = True

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None: ...

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        assert self.keys is not None and self.values is not None
        self.keys[:, :, self.new], self.values[:, :, self.new] = key_states, value_states
        return self.keys[:, :, : self.new.stop], self.values[:, :, : self.new.stop]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.new.stop, 0

    def get_seq_length(self) -> int:
        start: int = self.new.start
        return start

    def get_max_length(self) -> int:
        return -1


def _grouped(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: Any = None,
    **_: Any,
) -> tuple[Any, None]:
    """Attend with the query heads of one key head as further query rows, so that no key or value is repeated."""
    rows, heads, columns, dim = query.shape
    groups = heads // key.shape[1]
    packed = query.reshape(rows, key.shape[1], groups * columns, dim)
    mask = attention_mask.repeat(1, 1, groups, 1)
    out = torch.nn.functional.scaled_dot_product_attention(
        packed, key, value, attn_mask=mask, scale=scaling
    )
    return out.reshape(rows, heads, columns, -1).transpose(1, 2).contiguous(), None


@contextmanager
def grouped_attention(model: Any) -> Iterator[None]:
    """Let a model that attends by torch's own kernel use `_grouped` for a while; leave any other as it is."""
    before = model.config._attn_implementation
    if before != "sdpa" or not getattr(model, "_supports_attention_backend", False):
        yield
        return
    if GROUPED_ATTENTION not in ALL_ATTENTION_FUNCTIONS:
        AttentionInterface.register(GROUPED_ATTENTION, _grouped)
    model.config._attn_implementation = GROUPED_ATTENTION
    try:
        yield
    finally:
        model.config._attn_implementation = before


def check(model: Any, shape: CacheShape) -> None:
    """Read a few tokens both ways; raises `ValueError` if two children in one row change the result."""
    size = model.get_input_embeddings().weight.shape[0]
    tokens = (torch.arange(1, 7, device=model.device) * 7919) % size
    with torch.inference_mode(), grouped_attention(model):
        rows = SharedKV(shape, 1, 7, device=model.device, dtype=model.dtype)
        prefix, position = tokens[None, :3], torch.arange(3, device=model.device)[None]
        rows.read(model, prefix, position, torch.full_like(prefix, PREFIX))
        owners = torch.tensor([[0, 1]], device=model.device)
        for depth in (3, 4):
            both = torch.stack([tokens[depth], tokens[5]])[None]
            shared = rows.read(model, both, torch.full_like(both, depth), owners)[0, 0]
    with torch.inference_mode():
        plain = model(tokens[None, :5]).logits[0, -1]
    gap = (shared.float().log_softmax(-1) - plain.float().log_softmax(-1)).abs().max().item()
    if not gap < (1e-2 if model.dtype == torch.float32 else 1.0):
        raise UserError(
            f"a {model.config.model_type!r} model reads a shared prefix differently (log-probabilities off by "
            f"{gap:.3g}); use another architecture, or serve it and use chat:URL#MODEL"
        )

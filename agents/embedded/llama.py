"""A small Llama (Touvron et al. 2023, arXiv:2302.13971) in plain PyTorch.

It has the parameter names, the configuration and the arithmetic of Llama in the library transformers, which loads what is
saved from it. Importing transformers takes seconds; a model of this size is done before.

Not covered: caches of keys and values, grouped keys, attention masks other than the causal one.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional

CAUSAL, CLASSIFIER = "LlamaForCausalLM", "LlamaForTokenClassification"
"""Architectures as configurations name them."""
ROPE_THETA = 10_000.0


def configuration(
    architecture: str, *, vocabulary: int, hidden: int, layers: int, heads: int, pad: int
) -> SimpleNamespace:
    """Return the configuration of a model in the words of transformers."""
    return SimpleNamespace(
        architectures=[architecture],
        model_type="llama",
        dtype="float32",
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=hidden // heads,
        hidden_act="silu",
        attention_bias=False,
        attention_dropout=0.0,
        mlp_bias=False,
        max_position_embeddings=64,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_theta": ROPE_THETA, "rope_type": "default"},
        pad_token_id=pad,
        bos_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=architecture == CAUSAL,
        use_cache=False,
        id2label={"0": "LABEL_0"},
        label2id={"LABEL_0": 0},
        initializer_range=1 / math.sqrt(hidden),
    )


class Llama(nn.Module):
    """The transformer with one head: `lm_head`, tied to the embedding, or `score` with one output."""

    def __init__(self, config: SimpleNamespace) -> None:
        """Make a model with random weights."""
        super().__init__()
        self.config = config
        self.model = Layers(config)
        if config.architectures == [CAUSAL]:
            self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
            self.lm_head.weight = self.model.embed_tokens.weight
        else:
            self.score = nn.Linear(config.hidden_size, 1)
            nn.init.normal_(self.score.weight, std=config.initializer_range)
            nn.init.zeros_(self.score.bias)

    def weights(self) -> dict[str, Tensor]:
        """Return the weights by name, tied ones once."""
        tied = {"lm_head.weight"}
        return {name: weight for name, weight in self.state_dict().items() if name not in tied}


class Layers(nn.Module):
    """The transformer without a head."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config)
        self.head_dim = config.hidden_size // config.num_attention_heads
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=config.initializer_range)
        with torch.no_grad():
            self.embed_tokens.weight[config.pad_token_id] = 0.0

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the hidden states after the last layer, `[rows, positions, hidden]`."""
        hidden: Tensor = self.embed_tokens(tokens)
        turns = rotations(tokens.shape[1], self.head_dim, hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, turns)
        normed: Tensor = self.norm(hidden)
        return normed


class Layer(nn.Module):
    """Attention, then a gated feed-forward network; each adds to what it reads."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = FeedForward(config)
        self.input_layernorm = Norm(config)
        self.post_attention_layernorm = Norm(config)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        hidden = hidden + self.self_attn(self.input_layernorm(hidden), turns)
        after: Tensor = hidden + self.mlp(self.post_attention_layernorm(hidden))
        return after


class Attention(nn.Module):
    """Causal attention with rotary positions (Su et al. 2021, arXiv:2104.09864)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.q_proj = nn.Linear(size, size, bias=False)
        self.k_proj = nn.Linear(size, size, bias=False)
        self.v_proj = nn.Linear(size, size, bias=False)
        self.o_proj = nn.Linear(size, size, bias=False)

    def forward(self, hidden: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        rows, length, size = hidden.shape
        query, key, value = (
            project(hidden).view(rows, length, self.num_heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = functional.scaled_dot_product_attention(
            rotated(query, turns), rotated(key, turns), value, is_causal=length > 1
        )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).reshape(rows, length, size))
        return out


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        size, inner = config.hidden_size, config.intermediate_size
        self.gate_proj = nn.Linear(size, inner, bias=False)
        self.up_proj = nn.Linear(size, inner, bias=False)
        self.down_proj = nn.Linear(inner, size, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        gated = functional.silu(self.gate_proj(hidden)) * self.up_proj(hidden)
        out: Tensor = self.down_proj(gated)
        return out


class Norm(nn.Module):
    """Root-mean-square normalisation (Zhang and Sennrich 2019, arXiv:1910.07467), in single precision."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(config.hidden_size))
        self.eps = config.rms_norm_eps

    def forward(self, hidden: Tensor) -> Tensor:
        single = hidden.to(torch.float32)
        scaled = single * torch.rsqrt(single.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled.to(hidden.dtype)


def rotations(length: int, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return cosine and sine of each position's rotation, `[positions, head_dim]`, computed in single precision."""
    frequencies = 1.0 / (ROPE_THETA ** (torch.arange(0, head_dim, 2, dtype=torch.float) / head_dim))
    angles = torch.outer(torch.arange(length, dtype=torch.float), frequencies)
    both = torch.cat((angles, angles), dim=-1)
    return both.cos().to(dtype), both.sin().to(dtype)


def rotated(heads: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate queries or keys, `[rows, heads, positions, head_dim]`, by their positions."""
    cosine, sine = turns
    first, second = heads.chunk(2, dim=-1)
    return heads * cosine + torch.cat((-second, first), dim=-1) * sine

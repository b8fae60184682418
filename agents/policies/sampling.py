"""Token sampling that depends on (seed, state, child) alone, never on the rest of the batch."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import numpy as np
import torch

NUCLEUS_GUESSES = (128, 1024)
"""How many of the likeliest tokens are looked at first for a nucleus, before the whole vocabulary is sorted."""


def stream(*parts: object, length: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return `length` uniform numbers in [0, 1) that are a hash of the `str` of the parts and of nothing else."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = str(part).encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    key = int.from_bytes(digest.digest(), "big")
    return np.random.Generator(np.random.Philox(key=key)).random(length)


class Drawn(NamedTuple):
    """One token per row, and its log-probability under the model itself (temperature 1, nothing cut off)."""

    tokens: torch.Tensor
    log_probs: torch.Tensor
    """NaN if the model's output was not finite."""


def draw(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    likeliest: torch.Tensor,
    *,
    temperature: float,
    top_p: float,
) -> Drawn:
    """Draw one token per row of `logits` [rows, vocabulary] by inverse transform of `uniforms` [rows].

    Rows marked in `likeliest` [rows] take their likeliest token. Top-p is nucleus sampling (Holtzman et al. 2020):
    the smallest set of likeliest tokens whose mass reaches `top_p`.
    """
    logits = logits.float()
    tokens = logits.argmax(-1)
    if not bool(likeliest.all()):
        probabilities = torch.softmax(logits / temperature, -1)
        sampled = (
            _invert(probabilities, uniforms)
            if top_p >= 1
            else _nucleus(probabilities, uniforms, top_p)
        )
        tokens = torch.where(likeliest, tokens, sampled)
    chosen = logits.gather(-1, tokens[:, None])[:, 0]
    return Drawn(tokens, chosen - logits.logsumexp(-1))


def _invert(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    cumulative = probabilities.cumsum(-1)
    target = uniforms[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0].clamp_(
        max=probabilities.shape[-1] - 1
    )


def _nucleus(probabilities: torch.Tensor, uniforms: torch.Tensor, top_p: float) -> torch.Tensor:
    size = probabilities.shape[-1]
    for guess in (*NUCLEUS_GUESSES, size):
        likeliest, tokens = probabilities.topk(min(guess, size), -1)
        before = likeliest.cumsum(-1) - likeliest
        if guess >= size or bool((before[:, -1] >= top_p).all()):
            break
    kept = torch.where(before < top_p, likeliest, torch.zeros_like(likeliest))
    return tokens.gather(-1, _invert(kept, uniforms)[:, None])[:, 0]

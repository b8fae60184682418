"""Sampling steps token by token: all samples of all states in one batch, one forward pass for each token of a step.

Only the prefixes that are drawn are read; scoring every legal step of a position would read them all.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES

_REMEMBERED = 50_000
_BATCH = 2048
Prefix = tuple[Hashable, tuple[int, ...]]
"""A position, and the tokens of a step so far."""


class Following(NamedTuple):
    """What may be written after a prefix."""

    tokens: tuple[int, ...]
    """Empty if the step is complete."""
    log_probs: list[float]
    """At temperature 1."""
    below: list[float]
    """Cumulative probabilities at the sampler's temperature."""


class SampledStep:
    """A step, token by token."""

    __slots__ = ("log_probs", "open", "public", "tokens", "uniforms")

    def __init__(self, public: Hashable, uniforms: list[float]) -> None:
        self.public = public
        self.uniforms = uniforms
        self.tokens: tuple[int, ...] = ()
        self.log_probs: tuple[float, ...] = ()
        self.open = True


class TokenSampler:
    """Samples steps with a model's probabilities, which it caches by prefix."""

    def __init__(self, model: Any, temperature: float) -> None:
        self.model = model
        self.game = GAMES[model.config.stepgym_game]
        self.temperature = temperature
        self._known: dict[Prefix, Following] = {}

    def write(
        self,
        publics: Sequence[Hashable],
        streams: Sequence[random.Random],
        asked: Sequence[tuple[int, int]],
    ) -> list[list[SampledStep]]:
        """Return samples for each position: numbers `first` to `first + count` of its random stream (`asked` is the two)."""
        drawn = [
            [
                SampledStep(public, uniforms)
                for uniforms in _uniforms(stream, first, count, size=self.game.most_tokens)
            ]
            for public, stream, (first, count) in zip(publics, streams, asked, strict=True)
        ]
        live = [draw for row in drawn for draw in row]
        while live:
            prefixes = [(draw.public, draw.tokens) for draw in live]
            self._read(prefixes)
            for draw, prefix in zip(live, prefixes):
                _extend(draw, self._known[prefix])
            live = [draw for draw in live if draw.open]
        return drawn

    def _read(self, prefixes: Sequence[Prefix]) -> None:
        """Compute the legal next tokens of each prefix; a prefix with only one needs no model call."""
        new = [prefix for prefix in dict.fromkeys(prefixes) if prefix not in self._known]
        if len(self._known) + len(new) > _REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(prefixes))
        options = [self.game.following(*prefix) for prefix in new]
        hard = []
        for prefix, tokens in zip(new, options):
            if len(tokens) > 1:
                hard.append((prefix, tokens))
            else:
                self._known[prefix] = Following(tokens, [0.0] * len(tokens), [1.0] * len(tokens))
        for at in range(0, len(hard), _BATCH):
            self._score(hard[at : at + _BATCH])

    def _score(self, part: Sequence[tuple[Prefix, tuple[int, ...]]]) -> None:
        rows = [self.game.prompt(public) + tokens for (public, tokens), _ in part]
        sizes = [len(tokens) for _, tokens in part]
        at = torch.repeat_interleave(torch.arange(len(part)), torch.tensor(sizes))
        option = torch.tensor([token for _, tokens in part for token in tokens])
        with net.scoring():
            logits = net.last_outputs(self.model, rows)
            masked = torch.full_like(logits, -torch.inf)
            masked[at, option] = logits[at, option]
            log_probs = torch.log_softmax(masked, dim=-1)[at, option].round(decimals=9).tolist()
            # Options are in ascending order, so that cumulating the whole row cumulates them.
            below = (
                torch.softmax(masked / self.temperature, dim=-1)
                .cumsum(-1)[at, option]
                .round(decimals=9)
                .tolist()
            )
        first = 0
        for (prefix, tokens), size in zip(part, sizes):
            self._known[prefix] = Following(
                tokens, log_probs[first : first + size], below[first : first + size]
            )
            first += size


def _extend(draw: SampledStep, following: Following) -> None:
    if not following.tokens:
        draw.open = False
        return
    chosen = min(
        bisect_right(following.below, draw.uniforms[len(draw.tokens)]), len(following.tokens) - 1
    )
    draw.log_probs += (following.log_probs[chosen],)
    draw.tokens += (following.tokens[chosen],)


def _uniforms(stream: random.Random, first: int, count: int, *, size: int) -> list[list[float]]:
    """Return the random numbers of draws `first` and later; every draw uses `size`, so that a later call can continue."""
    for _ in range(first * size):
        stream.random()
    return [[stream.random() for _ in range(size)] for _ in range(count)]

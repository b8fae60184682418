"""A cache of keys and values of the text that a model has read, within a memory limit.

An entry holds the tokens of one segment only (the prompt, one step, one reply) and is found by the tokens of all
segments up to it. Siblings therefore share all that is above them, and a child costs the tokens of its own step.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment's tokens with the keys and values of the first `length` of them.

    The last token of a sampled step was never read by the model, so that `length` is then one less than `ids`.
    """

    ids: tuple[int, ...]
    keys: torch.Tensor
    """[layers, heads, length, dimension]"""
    values: torch.Tensor

    @property
    def length(self) -> int:
        return self.keys.shape[2]

    @property
    def num_bytes(self) -> int:
        return self.keys.nbytes + self.values.nbytes


class Found(NamedTuple):
    """What the cache holds of a state: keys and values from its start, and two counts of tokens."""

    pieces: list[tuple[torch.Tensor, torch.Tensor]]
    num_cached: int
    num_sampled: int
    """Tokens after the cached ones that the model sampled and has not read back."""


def chain_keys(segments: Sequence[str] | Sequence[tuple[int, ...]]) -> list[bytes]:
    """Return one key per segment, of text or of tokens; each key covers that segment and all before it."""
    keys, before = [], b""
    for segment in segments:
        if isinstance(segment, str):
            content = segment.encode("utf-8", "surrogatepass")
        else:
            content = array("q", segment).tobytes()
        before = hashlib.blake2b(before + content, digest_size=16).digest()
        keys.append(before)
    return keys


class KVStore:
    """Entries by key; the least recently used go first when they hold more than `limit_bytes`."""

    def __init__(self, limit_bytes: int | None) -> None:
        self.limit_bytes = limit_bytes
        self.num_bytes = 0
        self.num_evicted = 0
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, keys: Sequence[bytes], ids: Sequence[tuple[int, ...]]) -> Found:
        """Return what is known of a state whose segments have these keys and token ids."""
        found = Found([], 0, 0)
        used = []
        for key, tokens in zip(keys, ids, strict=True):
            entry = self._entries.get(key)
            if entry is None:
                break
            used.append(key)
            same = next(
                (i for i, (a, b) in enumerate(zip(entry.ids, tokens)) if a != b),
                min(len(entry.ids), len(tokens)),
            )
            cached = min(same, entry.length)
            found.pieces.append((entry.keys[:, :, :cached], entry.values[:, :, :cached]))
            found = Found(found.pieces, found.num_cached + cached, same - cached)
            if cached < len(tokens):
                break
        # Ancestors are touched last: an entry is of no use without those above it, so leaves must go first.
        for key in reversed(used):
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, entry: Entry) -> None:
        """Keep an entry, in place of an older one with the same key, and evict what no longer fits."""
        old = self._entries.pop(key, None)
        self.num_bytes += entry.num_bytes - (old.num_bytes if old else 0)
        self._entries[key] = entry
        while self.limit_bytes is not None and self.num_bytes > self.limit_bytes and self._entries:
            _, gone = self._entries.popitem(last=False)
            self.num_bytes -= gone.num_bytes
            self.num_evicted += 1

    def clear(self) -> None:
        """Forget everything (the weights have changed)."""
        self._entries.clear()
        self.num_bytes = 0

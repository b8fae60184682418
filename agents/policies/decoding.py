"""Decoding the next steps of many states in one batch, each up to its own end, from prefixes that are read once.

A `ChildGroup` is one prefix with its children. Groups are laid side by side as rows of `SharedKV`; every round of the loop
adds a token to each unfinished child, and finished rows leave the batch. A child's tokens depend only on its prefix and
its own random numbers, up to rounding in the model's arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from stepgym.agents.policies.continuation import Stop
from stepgym.agents.policies.kv_store import Entry, KVStore
from stepgym.agents.policies.sampling import draw
from stepgym.agents.policies.shared_kv import (
    PADDING,
    PREFIX,
    CacheShape,
    SharedKV,
    grouped_attention,
)

MAX_COLUMNS = 32
"""Most children in one row. Each attends over the columns of all, masked; in wider rows that costs more than sharing saves."""
PREFILL_TOKENS = 4096
"""How many new prompt tokens are read in one forward pass."""


@dataclass(slots=True, eq=False)
class Child:
    """One continuation, token by token."""

    uniforms: np.ndarray[Any, np.dtype[np.float64]]
    """One number in [0, 1) per token it may have."""
    likeliest: bool = False
    """Take the likeliest token each time instead of sampling."""
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    """The model's own, one per token."""
    stop: Stop | None = None


class NextSegment(NamedTuple):
    """The segment that a finished child adds: its key, and how many tokens at the end of the prefix belong to it."""

    key: bytes
    num_opening: int


@dataclass(slots=True, eq=False)
class ChildGroup:
    """One prefix and the children to sample after it."""

    keys: list[bytes]
    """One per segment, see `kv_store`."""
    ids: list[tuple[int, ...]]
    """Token ids of each segment."""
    children: list[Child]
    ended: Callable[[list[int]], bool]
    """Returns whether these new ids complete a step; called after each token."""
    segment_after: Callable[[Child], NextSegment | None]
    """Returns the segment that a finished child makes; `None` if nothing can follow it."""
    num_read: int = 0
    """Prompt tokens that had to be read and had not been before (written by `decode`).

    The first segment, which all problems share, is charged to each of them although it is read once: what a problem
    costs must not depend on those beside it.
    """

    @property
    def length(self) -> int:
        return sum(map(len, self.ids))

    @property
    def room(self) -> int:
        return max((len(child.uniforms) for child in self.children), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoder:
    """A model with the settings of decoding."""

    model: Any
    shape: CacheShape
    store: KVStore
    end_ids: frozenset[int]
    temperature: float
    top_p: float
    max_children: int
    """Children written at once."""
    working_bytes: int
    """Memory for the keys and values of one batch."""

    def decode(self, groups: Sequence[ChildGroup]) -> None:
        """Write all children of all groups; results are in the children."""
        with torch.inference_mode(), grouped_attention(self.model):
            self._read_shared(groups)
            for batch in self._batches([part for group in groups for part in self._split(group)]):
                self._decode(batch)

    def _read_shared(self, groups: Sequence[ChildGroup]) -> None:
        """Read the first segments, of which many groups have the same, once each."""
        if self.store.limit_bytes == 0:
            return
        first = {
            group.keys[0]: group.ids[0] for group in groups if len(group.keys) > 1 and group.ids[0]
        }
        for key, ids in first.items():
            if self.store.find([key], [ids]).num_cached < len(ids):
                self._prefill([ChildGroup([key], [ids], [], lambda _: True, lambda _: None)])

    def _split(self, group: ChildGroup) -> list[ChildGroup]:
        """Give a group with very many children several rows, for which its prefix is read once before."""
        if len(group.children) <= MAX_COLUMNS or self.store.limit_bytes == 0:
            return [group]
        parts = [
            group.children[at : at + MAX_COLUMNS]
            for at in range(0, len(group.children), MAX_COLUMNS)
        ]
        prefix = replace(group, children=[])
        self._prefill([prefix])
        group.num_read = prefix.num_read
        return [replace(group, children=children) for children in parts]

    def _batches(self, groups: Sequence[ChildGroup]) -> Iterator[list[ChildGroup]]:
        batch: list[ChildGroup] = []
        token_bytes = self.shape.token_bytes(self.model.dtype)
        for group in sorted(groups, key=lambda group: group.length):
            rows = [*batch, group]
            columns = max(len(each.children) * each.room for each in rows)
            too_big = len(rows) * (group.length + columns) * token_bytes > self.working_bytes
            if batch and (too_big or sum(len(each.children) for each in rows) > self.max_children):
                yield batch
                rows = [group]
            batch = rows
        if batch:
            yield batch

    def _decode(self, groups: list[ChildGroup]) -> None:
        rows, logits = self._prefill(groups)
        columns = [list(range(len(group.children))) for group in groups]
        logits = logits.expand(-1, max(map(len, columns)), -1)
        while True:
            self._draw(logits, groups, columns)
            columns = [
                [c for c in live if group.children[c].stop is None]
                for group, live in zip(groups, columns)
            ]
            live = [row for row, left in enumerate(columns) if left]
            if len(live) * 2 <= len(groups):
                for row in set(range(len(groups))).difference(live):
                    self._keep_children(rows, row, groups[row])
                if not live:
                    return
                groups, columns = [groups[row] for row in live], [columns[row] for row in live]
                rows.keep(torch.tensor(live, device=self.model.device))
            logits = self._forward(rows, groups, columns)

    def _prefill(self, groups: list[ChildGroup]) -> tuple[SharedKV, torch.Tensor]:
        """Read what is not yet cached of each prefix; return the rows and the logits [rows, 1, vocabulary] at its end."""
        found = [self.store.find(group.keys, group.ids) for group in groups]
        # A prefix that is cached whole is read again by one token, for its logits.
        cached = [min(each.num_cached, group.length - 1) for each, group in zip(found, groups)]
        longest = max(cached)
        block = max(group.length - n for group, n in zip(groups, cached))
        capacity = longest + block + max(len(group.children) * group.room for group in groups)
        rows = SharedKV(
            self.shape, len(groups), capacity, device=self.model.device, dtype=self.model.dtype
        )
        for row, (each, group, n) in enumerate(zip(found, groups, cached)):
            column = longest - n
            for keys, values in each.pieces:
                start = column - longest + n
                keys, values = keys[:, :, : n - start], values[:, :, : n - start]
                column = rows.load(row, column, keys, values, position=start)
            group.num_read = group.length - (n + each.num_sampled if n > len(group.ids[0]) else 0)
        logits = self._read_prompts(rows, groups, cached, longest, block)
        for row, group in enumerate(groups):
            self._keep_prompt(rows, row, group, cached[row], longest + block)
        return rows, logits

    def _read_prompts(
        self, rows: SharedKV, groups: list[ChildGroup], cached: list[int], start: int, block: int
    ) -> torch.Tensor:
        logits = []
        for first, last in _chunks([group.length - n for group, n in zip(groups, cached)]):
            size = max(group.length - n for group, n in zip(groups[first:last], cached[first:last]))
            view = rows.rows(first, last)
            view.used = start + block - size
            ids = torch.zeros(last - first, size, dtype=torch.long)
            positions, owners = torch.zeros_like(ids), torch.full_like(ids, PADDING)
            for i, (group, n) in enumerate(zip(groups[first:last], cached[first:last])):
                new = [token for segment in group.ids for token in segment][n:]
                ids[i, size - len(new) :] = torch.tensor(new)
                positions[i, size - len(new) :] = torch.arange(n, group.length)
                owners[i, size - len(new) :] = PREFIX
            device = self.model.device
            logits.append(
                view.read(
                    self.model, ids.to(device), positions.to(device), owners.to(device), last=1
                )
            )
        rows.used = start + block
        return torch.cat(logits)

    def _keep_prompt(
        self, rows: SharedKV, row: int, group: ChildGroup, cached: int, end: int
    ) -> None:
        """Keep every segment of which some tokens were read just now."""
        if self.store.limit_bytes == 0:
            return
        columns = torch.nonzero(rows.owner[row, :end] == PREFIX)[:, 0]
        start = 0
        for key, ids in zip(group.keys, group.ids):
            stop = start + len(ids)
            if stop > cached and ids:
                self.store.put(key, Entry(ids, *rows.take(row, columns[start:stop])))
            start = stop

    def _draw(
        self, logits: torch.Tensor, groups: list[ChildGroup], columns: list[list[int]]
    ) -> None:
        """Draw the next token of every live child; logits are [rows, columns, vocabulary]."""
        places = [(r, c) for r, live in enumerate(columns) for c in range(len(live))]
        children = [groups[r].children[columns[r][c]] for r, c in places]
        uniforms = torch.tensor(
            [child.uniforms[len(child.ids)] for child in children], dtype=torch.float32
        )
        at = torch.tensor(places, device=logits.device)
        likeliest = torch.tensor([child.likeliest for child in children], device=logits.device)
        drawn = draw(
            logits[at[:, 0], at[:, 1]],
            uniforms.to(logits.device),
            likeliest,
            temperature=self.temperature,
            top_p=self.top_p,
        )
        tokens, log_probs = drawn.tokens.tolist(), drawn.log_probs.tolist()
        for (r, _), child, token, log_prob in zip(places, children, tokens, log_probs):
            self._extend(groups[r], child, token, log_prob)

    def _extend(self, group: ChildGroup, child: Child, token: int, log_prob: float) -> None:
        if not math.isfinite(log_prob):
            child.stop = Stop.NOT_FINITE
            return
        child.ids.append(token)
        child.log_probs.append(log_prob)
        if token in self.end_ids:
            child.stop = Stop.END
        elif group.ended(child.ids):
            child.stop = Stop.DELIMITER
        elif len(child.ids) == len(child.uniforms):
            child.stop = Stop.LENGTH

    def _forward(
        self, rows: SharedKV, groups: list[ChildGroup], columns: list[list[int]]
    ) -> torch.Tensor:
        """Let the model read the last token of every live child."""
        width = max(map(len, columns))
        block = []
        for group, live in zip(groups, columns):
            prefix, written = group.length, [(index, group.children[index].ids) for index in live]
            padding = [0] * (width - len(live))
            block.append(
                (
                    [ids[-1] for _, ids in written] + padding,
                    [prefix + len(ids) - 1 for _, ids in written] + padding,
                    live + [PADDING] * len(padding),
                )
            )
        ids, positions, owners = torch.tensor(block, device=self.model.device).unbind(1)
        return rows.read(self.model, ids, positions, owners)  # type: ignore[no-any-return]

    def _keep_children(self, rows: SharedKV, row: int, group: ChildGroup) -> None:
        """Cache the tokens of a row's children, each under its next state."""
        if self.store.limit_bytes == 0:
            return
        owners = rows.owner[row, : rows.used]
        prefix = torch.nonzero(owners == PREFIX)[:, 0]
        tokens = [token for segment in group.ids for token in segment]
        for index, child in enumerate(group.children):
            columns = torch.nonzero(owners == index)[:, 0]
            after = group.segment_after(child)
            if len(columns) and after is not None:
                first = len(tokens) - after.num_opening
                ids = (*tokens[first:], *child.ids)
                self.store.put(
                    after.key, Entry(ids, *rows.take(row, torch.cat([prefix[first:], columns])))
                )


def _chunks(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Cut rows into runs whose padded size stays within `PREFILL_TOKENS` (a longer row is a run by itself)."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if (
            stop == len(lengths)
            or max(lengths[start : stop + 1]) * (stop + 1 - start) > PREFILL_TOKENS
        ):
            yield start, stop
            start = stop

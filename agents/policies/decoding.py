"""Writing the next steps of many states at once, each up to its own end, from prefixes that are read once.

One `Job` is one prefix with its children. Jobs are laid side by side as rows of `Rows`; every round of the loop
adds a token to each child still being written, and rows that are finished leave. What a child becomes depends on
its job and its own stream of random numbers alone, up to rounding in the model's arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from stepgym.agents.policies.kv_store import Entry, KVStore
from stepgym.agents.policies.sampling import draw
from stepgym.agents.policies.shared_kv import PADDING, PREFIX, CacheShape, Rows, grouped_attention
from stepgym.agents.policies.writing import Stop

MAX_COLUMNS = 32
"""Children in one row: each attends over the columns of all, masked, so that very wide rows cost more than they share."""
PREFILL_TOKENS = 4096
"""How many new prompt tokens are read in one forward pass."""


@dataclass(slots=True, eq=False)
class Child:
    """One continuation being written."""

    uniforms: np.ndarray[Any, np.dtype[np.float64]]
    """One number in [0, 1) per token it may have."""
    likeliest: bool = False
    """Take the likeliest token each time, in place of a sample."""
    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    """The model's own, one per token."""
    stop: Stop | None = None


class After(NamedTuple):
    """The segment that a finished child adds: its key, and how many tokens at the prefix's end belong to it too."""

    key: bytes
    num_opening: int


@dataclass(slots=True, eq=False)
class Job:
    """One prefix and the children to write under it."""

    keys: list[bytes]
    """One per segment, see `kv_store`."""
    ids: list[tuple[int, ...]]
    """Token ids of each segment."""
    children: list[Child]
    ended: Callable[[list[int]], bool]
    """Whether these new ids complete a step; asked after each token."""
    segment_after: Callable[[Child], After | None]
    """The segment a finished child makes, `None` where nothing can follow it."""
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
    """A model with all that decoding needs to know of it."""

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

    def decode(self, jobs: Sequence[Job]) -> None:
        """Write all children of all jobs; results are in the children."""
        with torch.inference_mode(), grouped_attention(self.model):
            self._read_shared(jobs)
            for batch in self._batches([part for job in jobs for part in self._split(job)]):
                self._decode(batch)

    def _read_shared(self, jobs: Sequence[Job]) -> None:
        """Read the first segments, of which many jobs have the same, once each."""
        if self.store.limit_bytes == 0:
            return
        first = {job.keys[0]: job.ids[0] for job in jobs if len(job.keys) > 1 and job.ids[0]}
        for key, ids in first.items():
            if self.store.find([key], [ids]).num_cached < len(ids):
                self._prefill([Job([key], [ids], [], lambda _: True, lambda _: None)])

    def _split(self, job: Job) -> list[Job]:
        """Give a job with very many children several rows, for which its prefix is read once before."""
        if len(job.children) <= MAX_COLUMNS or self.store.limit_bytes == 0:
            return [job]
        parts = [
            job.children[at : at + MAX_COLUMNS] for at in range(0, len(job.children), MAX_COLUMNS)
        ]
        prefix = replace(job, children=[])
        self._prefill([prefix])
        job.num_read = prefix.num_read
        return [replace(job, children=children) for children in parts]

    def _batches(self, jobs: Sequence[Job]) -> Iterator[list[Job]]:
        batch: list[Job] = []
        token_bytes = self.shape.token_bytes(self.model.dtype)
        for job in sorted(jobs, key=lambda job: job.length):
            rows = [*batch, job]
            columns = max(len(each.children) * each.room for each in rows)
            too_big = len(rows) * (job.length + columns) * token_bytes > self.working_bytes
            if batch and (too_big or sum(len(each.children) for each in rows) > self.max_children):
                yield batch
                rows = [job]
            batch = rows
        if batch:
            yield batch

    def _decode(self, jobs: list[Job]) -> None:
        rows, logits = self._prefill(jobs)
        columns = [list(range(len(job.children))) for job in jobs]
        logits = logits.expand(-1, max(map(len, columns)), -1)
        while True:
            self._draw(logits, jobs, columns)
            columns = [
                [c for c in live if job.children[c].stop is None]
                for job, live in zip(jobs, columns)
            ]
            live = [row for row, left in enumerate(columns) if left]
            if len(live) * 2 <= len(jobs):
                for row in set(range(len(jobs))).difference(live):
                    self._keep_children(rows, row, jobs[row])
                if not live:
                    return
                jobs, columns = [jobs[row] for row in live], [columns[row] for row in live]
                rows.keep(torch.tensor(live, device=self.model.device))
            logits = self._forward(rows, jobs, columns)

    def _prefill(self, jobs: list[Job]) -> tuple[Rows, torch.Tensor]:
        """Read what is not yet cached of each prefix; return the rows and the logits [rows, 1, vocabulary] at its end."""
        found = [self.store.find(job.keys, job.ids) for job in jobs]
        # A prefix that is cached whole is read again by one token, for its logits.
        cached = [min(each.num_cached, job.length - 1) for each, job in zip(found, jobs)]
        longest = max(cached)
        block = max(job.length - n for job, n in zip(jobs, cached))
        capacity = longest + block + max(len(job.children) * job.room for job in jobs)
        rows = Rows(
            self.shape, len(jobs), capacity, device=self.model.device, dtype=self.model.dtype
        )
        for row, (each, job, n) in enumerate(zip(found, jobs, cached)):
            column = longest - n
            for keys, values in each.pieces:
                start = column - longest + n
                keys, values = keys[:, :, : n - start], values[:, :, : n - start]
                column = rows.load(row, column, keys, values, position=start)
            job.num_read = job.length - (n + each.num_sampled if n > len(job.ids[0]) else 0)
        logits = self._read_prompts(rows, jobs, cached, longest, block)
        for row, job in enumerate(jobs):
            self._keep_prompt(rows, row, job, cached[row], longest + block)
        return rows, logits

    def _read_prompts(
        self, rows: Rows, jobs: list[Job], cached: list[int], start: int, block: int
    ) -> torch.Tensor:
        logits = []
        for first, last in _chunks([job.length - n for job, n in zip(jobs, cached)]):
            size = max(job.length - n for job, n in zip(jobs[first:last], cached[first:last]))
            view = rows.rows(first, last)
            view.used = start + block - size
            ids = torch.zeros(last - first, size, dtype=torch.long)
            positions, owners = torch.zeros_like(ids), torch.full_like(ids, PADDING)
            for i, (job, n) in enumerate(zip(jobs[first:last], cached[first:last])):
                new = [token for segment in job.ids for token in segment][n:]
                ids[i, size - len(new) :] = torch.tensor(new)
                positions[i, size - len(new) :] = torch.arange(n, job.length)
                owners[i, size - len(new) :] = PREFIX
            device = self.model.device
            logits.append(
                view.read(
                    self.model, ids.to(device), positions.to(device), owners.to(device), last=1
                )
            )
        rows.used = start + block
        return torch.cat(logits)

    def _keep_prompt(self, rows: Rows, row: int, job: Job, cached: int, end: int) -> None:
        """Keep every segment of which some tokens were read just now."""
        if self.store.limit_bytes == 0:
            return
        columns = torch.nonzero(rows.owner[row, :end] == PREFIX)[:, 0]
        start = 0
        for key, ids in zip(job.keys, job.ids):
            stop = start + len(ids)
            if stop > cached and ids:
                self.store.put(key, Entry(ids, *rows.take(row, columns[start:stop])))
            start = stop

    def _draw(self, logits: torch.Tensor, jobs: list[Job], columns: list[list[int]]) -> None:
        """Draw the next token of every live child; logits are [rows, columns, vocabulary]."""
        places = [(r, c) for r, live in enumerate(columns) for c in range(len(live))]
        children = [jobs[r].children[columns[r][c]] for r, c in places]
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
            self._extend(jobs[r], child, token, log_prob)

    def _extend(self, job: Job, child: Child, token: int, log_prob: float) -> None:
        if not math.isfinite(log_prob):
            child.stop = Stop.NOT_FINITE
            return
        child.ids.append(token)
        child.log_probs.append(log_prob)
        if token in self.end_ids:
            child.stop = Stop.END
        elif job.ended(child.ids):
            child.stop = Stop.DELIMITER
        elif len(child.ids) == len(child.uniforms):
            child.stop = Stop.LENGTH

    def _forward(self, rows: Rows, jobs: list[Job], columns: list[list[int]]) -> torch.Tensor:
        """Let the model read the last token of every live child."""
        width = max(map(len, columns))
        block = []
        for job, live in zip(jobs, columns):
            prefix, written = job.length, [(index, job.children[index].ids) for index in live]
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

    def _keep_children(self, rows: Rows, row: int, job: Job) -> None:
        """Keep what a row's children wrote, each under the state it leads to."""
        if self.store.limit_bytes == 0:
            return
        owners = rows.owner[row, : rows.used]
        prefix = torch.nonzero(owners == PREFIX)[:, 0]
        tokens = [token for segment in job.ids for token in segment]
        for index, child in enumerate(job.children):
            columns = torch.nonzero(owners == index)[:, 0]
            after = job.segment_after(child)
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

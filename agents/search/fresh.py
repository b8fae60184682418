"""The first numbers of new children, for all nodes that grew in a round at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp

import numpy as np

from stepgym.agents.search.arena import NOBODY, Arena, Floats, Ints
from stepgym.agents.search.puct import priors_of


@dataclass(slots=True)
class Fresh:
    """The first children of nodes that had none, all of one round."""

    base: int
    """The first of all new slots."""
    log_probs: list[float | None]
    """Of all new slots, also those that are no node's first children."""
    nodes: list[int] = field(default_factory=list)
    firsts: list[int] = field(default_factory=list)
    """The first child's slot; a node's children lie side by side."""
    counts: list[int] = field(default_factory=list)
    odd: dict[int, list[int]] = field(default_factory=dict)
    """Nodes some of whose children walks may not enter -> those they may."""

    def place(self, arena: Arena, temperature: float) -> None:
        """Set priors, and the children that walks may enter."""
        counts, firsts = np.array(self.counts), np.array(self.firsts)
        starts = np.cumsum(counts) - counts
        slots = np.arange(counts.sum()) + np.repeat(firsts - starts, counts)
        if len(slots) < len(self.log_probs):
            self.log_probs = [self.log_probs[at] for at in (slots - self.base).tolist()]
        arena.prior[slots] = arena.pull[slots] = self._priors(counts, starts, temperature)
        width = max(self.counts)
        arena.widen(width)
        kids = firsts[:, None] + np.arange(width)
        kids[np.arange(width) >= counts[:, None]] = NOBODY
        arena.kids[self.nodes, :width] = kids
        for node, live in self.odd.items():
            arena.set_kids(node, live)

    def _priors(self, counts: Ints, starts: Ints, temperature: float) -> Floats:
        """See `priors_of`. Exponentials and sums are Python's own, which numpy's need not equal to the last bit."""
        ends = (starts + counts).tolist()
        log_probs = np.array(self.log_probs, float)  # NaN for none
        if np.isnan(log_probs).any():
            rows = [self.log_probs[start:end] for start, end in zip(starts.tolist(), ends)]
            drawn = [range(len(row)) for row in rows]
            return np.array(
                [p for row, own in zip(rows, drawn) for p in priors_of(row, own, own, temperature)]
            )
        top = np.repeat(np.maximum.reduceat(log_probs, starts), counts)
        weights = list(map(exp, ((log_probs - top) / temperature).tolist()))
        sums = [sum(weights[start:end]) for start, end in zip(starts.tolist(), ends)]
        return np.array(weights) * np.repeat(1.0 / np.array(sums), counts)

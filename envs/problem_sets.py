"""Procedural problem sets: item `i` is a pure function of `(seed, level, i)`.

The three numbers go through one hash (`numpy.random.SeedSequence`), so that no two sets share a run of items. The
common way, seeding item `i` with `seed + i`, makes item `i` of seed `k + 1` equal to item `i + 1` of seed `k`: training
and test sets from neighbouring seeds would hold the same problems.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, Self

from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError


class Draft(NamedTuple):
    """One item as a family makes it; the set adds id, level, seed and index."""

    prompt: str
    """`Problem.prompt`: what the agent reads."""
    reference: str
    """`Problem.reference`: the right answer, or a text that the verifier can use as one."""
    public: Hashable = None
    """`Problem.public`: the domain's own data that the agent may see."""
    task: Mapping[str, Any] = {}
    """`Problem.task`: the verifier's own data, hidden from the agent."""
    solution: tuple[str, ...] = ()
    """`Problem.solution`: a worked solution as texts of steps; empty if there is none."""


Generator = Callable[[random.Random, int], Draft]
"""A function from a random stream and a level to one item; a module-level function, so that problem sets pickle."""


@dataclass(frozen=True)
class ProceduralSet:
    """Unlimited problems of one family at one level and seed."""

    name: str
    """The environment's id; it begins the id of every problem."""
    generate: Generator = field(repr=False)
    """Makes one item from its random stream and the level."""
    level: int = 1
    """Difficulty, from 1 to `num_levels`."""
    seed: int = 0
    """0 or more; sets with different seeds share no run of items."""
    num_levels: int = 10
    """The hardest level."""

    def __post_init__(self) -> None:
        if not isinstance(self.level, int) or not 1 <= self.level <= self.num_levels:
            raise UserError(f"{self.name} has levels 1 to {self.num_levels}, not {self.level!r}")
        if not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"a seed is a whole number of 0 or more, not {self.seed!r}")

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < sys.maxsize:
            raise IndexError(f"{self.name} has items 0 to {sys.maxsize - 1}, not {index!r}")
        draft = self.generate(item_random(self.seed, self.level, index), self.level)
        return Problem(
            id=f"{self.name}/level-{self.level}/seed-{self.seed}/{index}",
            prompt=draft.prompt,
            reference=draft.reference,
            level=self.level,
            seed=self.seed,
            index=index,
            public=draft.public,
            task=draft.task,
            solution=draft.solution,
        )

    def with_seed(self, seed: int) -> Self:
        """Return the same family and level with another seed."""
        return replace(self, seed=seed)

    def with_level(self, level: int) -> Self:
        """Return the same family and seed at another level."""
        return replace(self, level=level)


def item_entropy(seed: int, level: int, index: int) -> list[int]:
    """Return the words to hash for one item.

    No two triples give the same words, because each number has a fixed or stated width.
    """
    seed_words = max(1, -(-seed.bit_length() // 32))
    words = [seed_words, level & 0xFFFFFFFF, index & 0xFFFFFFFF, index >> 32, seed & 0xFFFFFFFF]
    return words + [(seed >> 32 * k) & 0xFFFFFFFF for k in range(1, seed_words)]


def item_random(seed: int, level: int, index: int) -> random.Random:
    """Return the random stream of one item."""
    array, word, hashed = _hashing()
    words = array(item_entropy(seed, level, index), word)  # an array is hashed faster than a list
    return random.Random(int.from_bytes(hashed(words).generate_state(4).tobytes(), "little"))


@cache
def _hashing() -> tuple[Any, Any, Any]:
    """Import the hash once; an import statement in `item_random` would cost a tenth of an item."""
    from numpy import array, uint32
    from numpy.random import SeedSequence

    return array, uint32, SeedSequence

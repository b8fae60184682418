"""Seeds derived from the purpose of each random stream: results do not depend on the order of calls."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import is_dataclass, replace
from typing import TypeVar

from stepgym.agents.types import Seeded
from stepgym.envs.types import State

T = TypeVar("T")


def derive_seed(*parts: object) -> int:
    """Hash the `str` of the parts into 64 bits, the same on every machine and in every process."""
    digest = hashlib.blake2b(
        "\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8
    )
    return int.from_bytes(digest.digest(), "big")


def proposal_seed(seed: int, state: State, count: int) -> int:
    """Return the seed of one proposal, a function of `(seed, state, draw, count)`."""
    words = [word for step in state.steps for word in (step.text, step.reply)]
    return derive_seed(seed, state.prompt, *words, state.draw, count)


def reseeded(plug_in: T, seed: int) -> T:
    """Return a copy of a policy or search that draws with another seed; itself if it has none."""
    if not isinstance(plug_in, Seeded):
        return plug_in
    if is_dataclass(plug_in) and not isinstance(plug_in, type):
        return replace(plug_in, seed=seed)
    copied = copy.copy(plug_in)
    copied.seed = seed
    return copied

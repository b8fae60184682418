"""Seeds derived from the purpose of each random stream: results do not depend on the order of calls."""

from __future__ import annotations

import hashlib

from stepgym.envs.types import State


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

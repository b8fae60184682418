"""Near-duplicate problems: how they are recognised, and how a replay buffer is cleared of them."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

from stepgym.agents.types import EpisodeRecord

_WORD = re.compile(r"\w+|[^\w\s]")


def likeness(text: str) -> Hashable:
    """Return a key that near-duplicates share: the words and numbers of a text, without order, case and spacing."""
    return tuple(sorted(_WORD.findall(text.casefold())))


def without_near_duplicates(
    generations: Sequence[Sequence[EpisodeRecord]], *, apart: Iterable[str] = ()
) -> list[list[EpisodeRecord]]:
    """Keep the newest of the episodes on near-duplicate problems, and none on problems like a prompt in `apart`.

    Generations are oldest first and keep their order. The same three numbers in another order are the same sum: a buffer
    full of one problem teaches only that problem, and held-out problems must not be learned.
    """
    seen: set[Hashable] = {("", likeness(prompt)) for prompt in apart}
    kept: list[list[EpisodeRecord]] = []
    for generation in reversed(generations):
        fresh = []
        for record in reversed(generation):
            alike = likeness(record.prompt)
            if ("", alike) not in seen and (record.env_id, alike) not in seen:
                seen.add((record.env_id, alike))
                fresh.append(record)
        kept.append(fresh[::-1])
    return kept[::-1]

"""The replay buffer: the episodes of the last generations, without near-duplicates."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence

from stepgym.agents.types import EpisodeRecord

_WORD = re.compile(r"\w+|[^\w\s]")


def likeness(text: str) -> Hashable:
    """Return what near-duplicates share: the words and numbers of a text, whatever their order, case and spacing."""
    return tuple(sorted(_WORD.findall(text.casefold())))


def without_near_duplicates(
    generations: Sequence[Sequence[EpisodeRecord]], *, apart: Iterable[str] = ()
) -> list[list[EpisodeRecord]]:
    """Keep of episodes on near-duplicate problems the newest; none on a problem like one of the prompts in `apart`.

    Generations stand oldest first and keep their order. The same three numbers in another order are the same sum:
    a buffer full of one problem teaches that problem, and a held-out problem in it would be no test.
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

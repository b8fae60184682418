"""The list of environments this package registers with Gymnasium. Cheap: entry points are strings.

To add an environment: the file that makes it, a line in `ENVIRONMENTS`, its test.
"""

from __future__ import annotations

from typing import NamedTuple


class EnvironmentCard(NamedTuple):
    """What is known of an environment without making it."""

    id: str
    entry_point: str
    """`module:function` that returns a `ReasoningEnv` and takes `level`, `seed` and the family's own options."""
    levels: int | None
    """Levels run from 1 to this; `None` where the problems are a data file."""
    source: str
    """Where the problems come from, in a few words."""


ENVIRONMENTS: tuple[EnvironmentCard, ...] = ()


def register_all() -> None:
    """Register every environment with Gymnasium; a second call changes nothing."""
    import gymnasium

    for card in ENVIRONMENTS:
        if card.id not in gymnasium.registry:
            gymnasium.register(id=card.id, entry_point=card.entry_point)

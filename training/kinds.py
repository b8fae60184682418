"""What can be trained, and which settings only some trainers have. Light, so that `--help` can read it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Kind(StrEnum):
    """What is trained, and on what."""

    SFT = "sft"
    """Policy, on the steps of verified solutions (of an agent's own: STaR, ReST-EM, expert iteration)."""
    DPO = "dpo"
    """Policy, on verified against refuted steps."""
    PRM = "prm"
    """Step reward model."""
    ORM = "orm"
    """Outcome reward model."""
    ALPHAZERO = "alphazero"
    """Policy on visits and reward model on outcomes, into `policy/` and `prm/`; with `shared` one network, into `policy/`."""
    GRPO = "grpo"
    """Policy, on an environment's verdicts; needs no records."""


PLAYED = ("env", "level", "variant", "group", "max_new_tokens", "max_steps", "apart")
ONLY_FOR: Mapping[str, frozenset[Kind]] = {
    "runs": frozenset(Kind) - {Kind.GRPO},
    "labels": frozenset({Kind.PRM}),
    "hard": frozenset({Kind.PRM}),
    "beta": frozenset({Kind.DPO}),
    "shared": frozenset({Kind.ALPHAZERO}),
    **dict.fromkeys(PLAYED, frozenset({Kind.GRPO})),
    **dict.fromkeys(("lora", "device"), frozenset(Kind) - {Kind.ALPHAZERO}),
}
"""Setting -> the trainers that have it; the settings that are not here belong to all."""


def has(kind: Kind, setting: str) -> bool:
    """Say whether a trainer has a setting."""
    return kind in ONLY_FOR.get(setting, Kind)

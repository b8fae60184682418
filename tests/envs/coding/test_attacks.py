"""No hostile solution is graded CORRECT, and none does damage; once over each backend."""

from __future__ import annotations

import pytest

from stepgym.envs.coding.attacks import load_attacks, run_attacks
from stepgym.sandbox import open_sandbox
from stepgym.sandbox.types import Limits

LIMITS = Limits(wall_s=1.5, memory_mib=512)


@pytest.mark.timeout(1200)  # more than a hundred programs, many of which use up their time
@pytest.mark.parametrize("backend", ["local", pytest.param("docker", marks=pytest.mark.docker)])
def test_no_attack_wins_or_does_damage(backend: str) -> None:
    attacks = load_attacks()
    with open_sandbox(backend, workers=2) as sandbox:
        results = run_attacks(sandbox, attacks=attacks, batch=16, limits=LIMITS)
    assert [result.attack.id for result in results] == [attack.id for attack in attacks]
    assert [result.attack.id for result in results if result.won] == []
    assert [result.attack.id for result in results if result.did_damage] == []


def test_the_corpus_covers_its_classes_in_every_style() -> None:
    attacks = load_attacks()
    assert len({attack.id for attack in attacks}) == len(attacks) >= 160
    for style in ("unittest", "pytest"):
        assert len({a.category for a in attacks if a.id.endswith(style)}) >= 6

"""Golden problems: an id names the same question and reference in every release."""

from __future__ import annotations

import hashlib

import pytest

from stepgym.envs.registry import load_env


def fingerprint(env_id: str, level: int) -> str:
    problems = load_env(env_id, level=level, seed=1).problems
    drawn = [problems[i] for i in (0, 1, 2, 10**6)]
    return hashlib.sha256(
        "\n".join(f"{p.id}\n{p.prompt}\n{p.reference}" for p in drawn).encode()
    ).hexdigest()[:8]


@pytest.mark.parametrize(
    ("env_id", "expected"),
    [
        (
            "stepgym/Math-v0",
            "e9c7892a 4da2d749 3d496b96 c5a16ff4 7cd4d43d b151b221 27e04dda 56962763 f96ccef1 ad42d186",
        ),
        (
            "stepgym/Countdown-v0",
            "5f4854d9 dfb46c72 e3ccc6fb 4e5bd453 b328a445 f6cad83e bca2cb5b 12c908b5 c1069195 f88c847c",
        ),
        (
            "stepgym/ModularSums-v0",
            "7c837333 61d27a28 9d288c91 3d8ea10c 0e960cd3 34b6f279 f9890672 1d8e0247 730bc35a c221372e",
        ),
    ],
)
def test_every_level_draws_what_it_always_drew(env_id: str, expected: str) -> None:
    """A change here is a new version of the environment, not a fix: give it the next number, `-v1`."""
    assert " ".join(fingerprint(env_id, level) for level in range(1, 11)) == expected

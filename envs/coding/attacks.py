"""A corpus of hostile and cheating solutions, none of which may be graded CORRECT.

Each row of `attacks.jsonl` is a solution with the tests it tries to get past: HumanEval's style, unittest, pytest,
call tables and standard input. After each attack a right solution is graded, so that damage to the pool shows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from stepgym.envs.coding.grading import LIMITS, grade
from stepgym.envs.types import Status, Verdict
from stepgym.sandbox.types import Limits, Sandbox

RIGHT = (
    "def add(a, b):\n    return a + b\n",
    "def check(candidate):\n    assert candidate(2, 3) == 5\n",
    "add",
)


@dataclass(frozen=True, slots=True)
class Attack:
    """One solution that must not be CORRECT."""

    id: str
    """Name of the attack, unique in the corpus."""
    category: str
    """The kind of attack, such as `early-exit`."""
    entry_point: str | None
    """Name of the function under test; `None` if the tests need none."""
    tests: Any
    """The hidden tests, in any form that `grade` takes."""
    solution: str
    """The hostile source."""
    note: str = ""
    """How the attack tries to win, in a few words."""
    prompt: str | None = None
    """The problem's prompt, for tests that need it; `None` without one."""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """What happened in one attack."""

    attack: Attack
    """The attack that was tried."""
    verdict: Verdict
    """The verdict on it."""
    right_after: Verdict
    """The verdict on a right solution straight after."""
    wall_s: float
    """For the attack's whole batch."""

    @property
    def won(self) -> bool:
        """Whether the attack was graded CORRECT."""
        return self.verdict.status is Status.CORRECT

    @property
    def did_damage(self) -> bool:
        """Whether a correct solution straight after the attack was not graded CORRECT."""
        return self.right_after.status is not Status.CORRECT

    def row(self) -> dict[str, Any]:
        """Return the result as a JSON-able row."""
        return {
            "id": self.attack.id,
            "category": self.attack.category,
            "verdict": self.verdict.status.value,
            "reason": self.verdict.reason,
            "won": self.won,
            "did_damage": self.did_damage,
            "wall_s": round(self.wall_s, 3),
            "note": self.attack.note,
        }


def load_attacks() -> list[Attack]:
    """Return the corpus that ships with the package."""
    text = (files("stepgym.envs.coding") / "attacks.jsonl").read_text("utf-8")
    return [Attack(**json.loads(line)) for line in text.splitlines()]


def run_attacks(
    sandbox: Sandbox,
    *,
    attacks: Sequence[Attack] | None = None,
    batch: int = 1,
    limits: Limits = LIMITS,
) -> list[AttackResult]:
    """Run every attack, each followed by a correct solution; return the results in order.

    `batch` attacks at a time share the sandbox's workers. `attacks=None` takes the corpus of the package. Raises
    `SandboxError`.
    """
    return list(iterate_attacks(sandbox, attacks=attacks, batch=batch, limits=limits))


def iterate_attacks(
    sandbox: Sandbox,
    *,
    attacks: Sequence[Attack] | None = None,
    batch: int = 1,
    limits: Limits = LIMITS,
) -> Iterator[AttackResult]:
    """Yield results as they come; see `run_attacks`."""
    corpus = load_attacks() if attacks is None else list(attacks)
    for start in range(0, len(corpus), batch):
        chunk = corpus[start : start + batch]
        begin = time.monotonic()
        verdicts = grade(
            [source for attack in chunk for source in (attack.solution, RIGHT[0])],
            tests=[tests for attack in chunk for tests in (attack.tests, RIGHT[1])],
            entry_points=[name for attack in chunk for name in (attack.entry_point, RIGHT[2])],
            prompts=[prompt for attack in chunk for prompt in (attack.prompt, None)],
            sandbox=sandbox,
            limits=limits,
        )
        wall_s = time.monotonic() - begin
        for i, attack in enumerate(chunk):
            yield AttackResult(attack, verdicts[2 * i], verdicts[2 * i + 1], wall_s)

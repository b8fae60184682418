"""From what the runner saw to an outcome."""

from __future__ import annotations

from typing import Any

import pytest

from stepgym.sandbox import Limits, Outcome
from stepgym.sandbox.outcomes import judge

SEEN: dict[str, Any] = {
    "status": 0,
    "overrun": None,
    "hint": None,
    "refused_processes": 0,
    "disk_full": False,
    "peak": 10 << 20,
}
EXIT_1 = 1 << 8
CASES = [
    ({}, Outcome.OK, "status 0 and nothing seen"),
    ({"hint": "memory"}, Outcome.OK, "a program that ended well coped with what it met"),
    ({"refused_processes": 3}, Outcome.OK, "likewise"),
    ({"status": EXIT_1}, Outcome.ERROR, "its own failure"),
    ({"status": EXIT_1, "hint": "memory"}, Outcome.MEMORY, "an uncaught MemoryError"),
    ({"status": EXIT_1, "hint": "missing"}, Outcome.ERROR, "a hint of another kind is no outcome"),
    (
        {"status": EXIT_1, "refused_processes": 1},
        Outcome.PROCESSES,
        "failed after a fork was refused",
    ),
    ({"status": EXIT_1, "disk_full": True}, Outcome.DISK, "failed with the disk full"),
    ({"status": 9, "overrun": "wall_time"}, Outcome.WALL_TIME, "killed by us"),
    (
        {"status": 9, "overrun": "wall_time", "refused_processes": 40},
        Outcome.PROCESSES,
        "a patient fork bomb",
    ),
    ({"status": 9}, Outcome.KILLED, "killed by itself"),
    ({"status": 11, "peak": 500 << 20}, Outcome.MEMORY, "a crash at the limit"),
    ({"status": 24}, Outcome.CPU_TIME, "SIGXCPU"),
    ({"status": 25}, Outcome.DISK, "SIGXFSZ"),
    ({"status": 9, "overrun": "grace"}, Outcome.OK, "a candidate ended with its tester"),
]


@pytest.mark.parametrize(("seen", "outcome", "reason"), CASES, ids=[case[2] for case in CASES])
def test_outcomes(seen: dict[str, Any], outcome: Outcome, reason: str) -> None:
    assert judge(SEEN | seen, Limits())[0] is outcome, reason

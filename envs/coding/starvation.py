"""Whether a program ran out of time because others used the CPU: that is no fault of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from stepgym.sandbox.types import ExecutionResult

ENOUGH = 0.9
"""A program that had this share of its time has had it: waiting is measured with an error."""
BUSY = 20.0
"""Percent of the last ten seconds in which some process waited for a CPU: a machine is busy from here on."""
PRESSURE = Path("/proc/pressure/cpu")
NO_CPU = "it ran out of time, and the machine was busy with other programs"


def was_starved(run: ExecutionResult, wall_s: float | None) -> bool:
    """Whether a program that ran out of time had less than `wall_s`, the time it waited for a CPU not counted."""
    if wall_s is None:
        return False
    if run.starved_s is None:
        return _machine_is_busy()
    return run.wall_s - run.starved_s < ENOUGH * wall_s


def _machine_is_busy() -> bool:
    try:
        share = re.search(r"some avg10=([\d.]+)", PRESSURE.read_text())
        return share is not None and float(share[1]) > BUSY
    except OSError:  # a kernel without pressure information
        return os.getloadavg()[0] > (os.cpu_count() or 1)

"""What solutions used of their limits, as the evidence of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgym.sandbox.types import ExecutionResult, Limits


def used(results: Sequence[ExecutionResult], limits: Limits) -> dict[str, Any]:
    """Return the most that one of some runs used, and the limits (`None` is no limit)."""
    peaks = [result.peak_memory_bytes or 0 for result in results]
    return {
        "cpu_s": round(max((result.cpu_s for result in results), default=0.0), 4),
        "memory_mib": round(max(peaks, default=0) / 2**20, 1),
        "limit_cpu_s": limits.cpu_s,
        "limit_memory_mib": limits.memory_mib,
    }


def share(use: dict[str, Any]) -> float:
    """Return which part of its nearest limit was used."""
    pairs = ((use["cpu_s"], use["limit_cpu_s"]), (use["memory_mib"], use["limit_memory_mib"]))
    return max((amount / limit for amount, limit in pairs if limit), default=0.0)

"""From what a runner reports to an `ExecutionResult`."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from stepgym.sandbox.runner_client import RunningStage
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome

REASONS = {
    Outcome.WALL_TIME: "it ran for longer than {wall_s} s",
    Outcome.CPU_TIME: "it used more than {cpu_s} s of CPU time",
    Outcome.MEMORY: "it needed more than {memory_mib} MiB of memory",
    Outcome.PROCESSES: "it started more than {max_processes} processes and threads",
    Outcome.OUTPUT: "it wrote more than {output_bytes} bytes of output",
    Outcome.DISK: "it wrote more than {disk_mib} MiB of files",
}


def result_of(running: RunningStage) -> ExecutionResult:
    """Turn the runner's reply into a result."""
    reply, limits = running.reply, running.stage.limits
    assert reply is not None
    outcome, code = judge(reply, limits)
    reason = REASONS[outcome].format(**dataclasses.asdict(limits)) if outcome in REASONS else ""
    if " None " in reason:
        reason = "it used up all that its sandbox has"
    if outcome is Outcome.KILLED:
        reason = f"signal {os.WTERMSIG(reply['status'])} ended it"
    return ExecutionResult(
        outcome,
        code,
        running.streams[1].decode("utf-8", "replace"),
        running.streams[2].decode("utf-8", "replace"),
        wall_s=reply["wall_s"],
        cpu_s=reply["cpu_s"],
        peak_memory_bytes=reply["peak"],
        reason=reason,
        starved_s=reply.get("starved_s", 0.0),
    )


def judge(reply: dict[str, Any], limits: Limits) -> tuple[Outcome, int | None]:
    """Decide the outcome and the exit code from the runner's reply. Hints count only for a program that failed."""
    status: int = reply["status"]
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    if reply["overrun"] == "grace":
        return Outcome.OK, code
    if reply["overrun"] in ("wall_time", "cpu_time") and reply["refused_processes"] > 8:
        return Outcome.PROCESSES, code
    if reply["overrun"]:
        return Outcome(reply["overrun"]), code
    if code == 0:
        return Outcome.OK, code
    if reply["refused_processes"] and code is not None:
        return Outcome.PROCESSES, code
    if reply["hint"] in ("memory", "processes", "disk"):
        return Outcome(reply["hint"]), code
    if reply["disk_full"]:
        return Outcome.DISK, code
    near = limits.memory_mib is not None and reply["peak"] >= 0.9 * (limits.memory_mib << 20)
    if code is None:
        signal_number = os.WTERMSIG(status)
        if signal_number == 24:
            return Outcome.CPU_TIME, code
        if signal_number == 25:
            return Outcome.DISK, code
        if near or reply.get("oom"):
            return Outcome.MEMORY, code
        return Outcome.KILLED, code
    return (Outcome.MEMORY if near else Outcome.ERROR), code

"""A name for this process, from which another process can later decide whether it still runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def this_process() -> list[str]:
    """Return four words that name this process: boot, PID namespace, PID, start in clock ticks after the boot."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    namespace = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    return [boot, namespace, str(os.getpid()), str(_start_time(str(os.getpid())))]


def is_dead(process: Sequence[str]) -> bool:
    """Whether these words name a process that ended.

    False if this process cannot decide: another boot, another namespace, or an unknown format.
    """
    if len(process) != 4 or list(process[:2]) != this_process()[:2]:
        return False
    return process[2].isdecimal() and _start_time(process[2]) != process[3]


def _start_time(pid: str) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None

"""Namespaces for a runner that no container engine started: own processes, network, IPC and file systems.

What the kernel or the administrator refuses is left out; `enter` returns what was granted.
"""

from __future__ import annotations

import os
import socket
import struct

from stepgym.sandbox.runner import wire
from stepgym.sandbox.runner.confine import LIBC

NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
ISOLATED = NEWNS | NEWIPC | NEWPID | NEWNET
NOSUID, NODEV, NOEXEC, REC, PRIVATE = 2, 4, 8, 16384, 1 << 18


def enter(
    folder: str, tmpfs_mib: int | None, run_written: bool, control: socket.socket
) -> list[str]:
    """Move into new namespaces and continue as process 1 there; return what the kernel granted.

    The calling process ends and tells the host the new process number. Without namespaces it continues itself.
    """
    if not _unshare():
        return []
    forked = os.fork()
    if forked:
        wire.send(control, {"op": "pid", "pid": forked})
        os._exit(0)
    gained = ["processes", "network", "ipc"]
    _mount("none", "/", "", REC | PRIVATE, "")
    if _mount("proc", "/proc", "proc", NOSUID | NODEV | NOEXEC, ""):
        gained.append("proc")
    if _read_only():
        gained.append("read-only")
    options = (
        f"size={tmpfs_mib}m,nr_inodes=8192,mode=0700" if tmpfs_mib else "nr_inodes=8192,mode=0700"
    )
    if _mount("tmpfs", folder, "tmpfs", NOSUID | NODEV | (0 if run_written else NOEXEC), options):
        gained.append("tmpfs")
    options = "size=16m,nr_inodes=1024,mode=1777"
    if _mount("tmpfs", "/dev/shm", "tmpfs", NOSUID | NODEV | NOEXEC, options):
        gained.append("shared memory")
    return gained


def _unshare() -> bool:
    user, group = os.geteuid(), os.getegid()
    if user == 0 and LIBC.unshare(ISOLATED) == 0:
        return True
    if LIBC.unshare(ISOLATED | NEWUSER) != 0:
        return False
    try:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as stream:
                stream.write(text)
    except OSError:
        pass  # an unmapped user still owns nothing outside, which is what is wanted
    return True


def _mount(source: str, target: str, kind: str, flags: int, options: str) -> bool:
    texts = [text.encode() or None for text in (source, target, kind)]
    return int(LIBC.mount(*texts, flags, options.encode() or None)) == 0


def _read_only() -> bool:
    """Make every mount here read-only (mount_setattr, Linux 5.12)."""
    attributes = struct.pack("QQQQ", 1, 0, 0, 0)
    return int(LIBC.syscall(442, -100, b"/", 0x8000, attributes, len(attributes))) == 0

"""A tester that stays: one process that runs many trusted test programs, one after the other.

It is trusted to tell the truth, but not to end: the supervisor kills it when a program is over its time, and forks another.
Each program has fresh globals; `sys.path`, the recursion limit and the random state are put back. The process ends itself
unless the program says that it leaves nothing else behind (`Remote.leaves_traces`).
"""

from __future__ import annotations

import _socket
import gc
import json
import os
import random
import resource
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

from stepgym.sandbox.runner import child, tester, wire

MAX_PROGRAMS = 1000
MAX_GROWTH_KIB = 64 << 10


def serve(line: _socket.socket) -> NoReturn:
    """Run programs from `line` until a fresh process is needed; ends with the process."""
    quiet = os.open("/dev/null", os.O_RDWR)
    path, recursion = list(sys.path), sys.getrecursionlimit()
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gc.freeze()
    for left in reversed(range(MAX_PROGRAMS)):
        header, descriptors = wire.take_over(line)
        if header is None:
            break
        done, clean = _run(dict(zip(header[1], descriptors)))
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        wire.close_all(descriptors)
        sys.path[:] = path
        sys.setrecursionlimit(recursion)
        random.seed()
        done["last"] = (
            not (left and clean)
            or threading.active_count() > 1
            or done["peak"] >> 10 > start + MAX_GROWTH_KIB
        )
        line.send(json.dumps(done).encode())
        if done["last"]:
            break
    os._exit(0)


def _run(by_name: dict[str, int]) -> tuple[dict[str, Any], bool]:
    """Run one test program; its report goes to the descriptor `report`.

    Returns what the supervisor wants to know, and whether this process is surely as it was before.
    """
    clean = False
    before = resource.getrusage(resource.RUSAGE_SELF)
    child.HINT[0] = 0
    code = 0
    payload = child.read_payload(by_name["payload"])
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if name in by_name:
            os.dup2(by_name[name], number)
    channel = socket.socket(fileno=os.dup(by_name["channel"]))
    try:
        child.write_files(payload["files"])
        remote = tester.run(
            channel,
            payload["source"],
            by_name["report"],
            arguments=payload["args"],
            library_at=(payload["library"], by_name["library"]) if "library" in by_name else None,
        )
        clean = not remote.leaves_traces and not any(n.endswith(".py") for n in payload["files"])
    except BaseException as error:  # noqa: BLE001 - the boundary: a failing test program is a status
        code = 1
        child.HINT[0] = child.hint_of(error)
        traceback.print_exception(error)
    finally:
        channel.close()
    for output in (sys.stdout, sys.stderr):
        output.flush()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"code": code, "cpu_s": cpu, "peak": after.ru_maxrss << 10}, clean

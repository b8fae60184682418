"""The program of a worker process: pairs come in as JSON lines, decisions go out, one line each.

The process loads SymPy once and forks a child that serves. A child that uses more CPU time than its pair may is ended
by the kernel's profiling timer, also inside C code; the process then forks the next child, which costs milliseconds.
A child's memory is limited. Everything ends when standard input closes, and so with the caller's process.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from stepgym.envs.maths import symbolic
from stepgym.envs.maths.ladder import decide
from stepgym.envs.maths.options import MathOptions, Percent
from stepgym.envs.types import Status

MEMORY_MIB = 480
PAIRS_PER_CHILD = 500
"""A child is replaced after so many pairs, because SymPy's caches grow."""
RECURSION_LIMIT = 3_000
_WORN_OUT = 3
"""Exit status of a child that has served its pairs."""
_CAN_FORK = hasattr(os, "fork")


def limit_memory() -> None:
    """Bound the address space, if the system supports it (Linux does, macOS does not)."""
    try:
        import resource  # not on Windows

        wanted = MEMORY_MIB << 20
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))
    except (ImportError, ValueError, OSError):
        return


def limit_cpu(seconds: float) -> None:
    """End this process after so much more CPU time; 0 takes the limit off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def decide_task(task: dict[str, object]) -> dict[str, object]:
    """Decide one pair with every rung there is."""
    given = task["options"]
    assert isinstance(given, dict)
    options = MathOptions(**{**given, "percent": Percent(given["percent"])})
    decision = decide(str(task["reference"]), str(task["answer"]), options, last_rung=symbolic.same)
    return {
        "status": decision.status.value,
        "rung": decision.rung,
        "reason": decision.reason,
        "fault": decision.fault.value if decision.fault else None,
    }


def reply_to(line: bytes) -> dict[str, object]:
    """Decide one pair within its CPU time; a failure of a library is one undecided pair."""
    try:
        task = json.loads(line)
        limit_cpu(float(task["cpu_s"]))
        return decide_task(task)
    except MemoryError:
        reason = "out of memory"
    except Exception as error:  # noqa: BLE001 - the boundary: whatever SymPy raises is one undecided pair
        reason = f"{type(error).__name__}: {error}"[:300]
    finally:
        limit_cpu(0)
    return {"status": Status.UNDECIDED.value, "rung": "symbolic", "reason": reason, "fault": None}


def read_line() -> bytes:
    """One line of standard input, unbuffered: what follows it is left to the next child."""
    pieces = []
    while True:
        piece = os.read(0, 1 << 16)
        pieces.append(piece)
        if not piece or piece.endswith(b"\n"):
            return b"".join(pieces)


def serve(replies: int) -> int:
    """Serve pairs until standard input closes (exit status 0) or the child is worn out."""
    limit_memory()
    for _ in range(PAIRS_PER_CHILD):
        line = read_line()
        if not line:
            return 0
        write(replies, reply_to(line))
    return _WORN_OUT if _CAN_FORK else serve(replies)


def write(replies: int, message: dict[str, object]) -> None:
    """Write one message as a line."""
    os.write(replies, json.dumps(message).encode() + b"\n")


def main() -> None:
    """Fork one child after the other until standard input closes."""
    replies = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not be taken for a reply
    sys.setrecursionlimit(RECURSION_LIMIT)
    write(replies, {"ready": os.getpid()})
    if not _CAN_FORK:
        sys.exit(serve(replies))
    while True:
        child = os.fork()
        if child == 0:
            os._exit(serve(replies))
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if ended == 0:
            return
        if ended != _WORN_OUT:
            write(replies, {"ended": ended})


if __name__ == "__main__":
    main()

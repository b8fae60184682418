"""The program of a worker process: pairs come in as JSON lines, verdicts go out, one line each.

It limits its own memory, leaves with its parent (standard input closes), and never sees anything but text. It is
killed from outside when it overruns; the CPU limit is the second fence, for a parent that died.
"""

from __future__ import annotations

import json
import os
import sys

MEMORY_MIB = 480
CPU_S_SPARE = 2


def limit_memory() -> None:
    """Bound the address space where the system honours it (Linux does, macOS does not)."""
    try:
        import resource

        wanted = MEMORY_MIB << 20
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))
    except (ImportError, ValueError, OSError):
        return


def limit_cpu(seconds: float) -> None:
    """Allow this much more CPU time from now on."""
    try:
        import resource

        usage = resource.getrusage(resource.RUSAGE_SELF)
        until = int(usage.ru_utime + usage.ru_stime + seconds) + CPU_S_SPARE
        resource.setrlimit(resource.RLIMIT_CPU, (until, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    except (ImportError, ValueError, OSError):
        return


def answer(task: dict[str, object]) -> dict[str, object]:
    """Decide one pair with every rung there is."""
    from stepgym.envs.maths import symbolic
    from stepgym.envs.maths.ladder import decide
    from stepgym.envs.maths.options import MathOptions, Percent
    from stepgym.envs.types import Status

    given = task["options"]
    assert isinstance(given, dict)
    options = MathOptions(**{**given, "percent": Percent(given["percent"])})
    reference, text = str(task["reference"]), str(task["answer"])
    decision = decide(reference, text, options, last_rung=symbolic.same)
    if decision.again and decision.status is not Status.CORRECT:
        found = symbolic.same_latex(reference, text)
        if found is not None:
            return {
                "status": ("correct" if found else "incorrect"),
                "rung": "symbolic",
                "reason": "",
            }
    return {
        "status": decision.status.value,
        "rung": decision.rung,
        "reason": decision.reason,
        "fault": decision.fault.value if decision.fault else None,
    }


def main() -> None:
    """Serve until standard input closes."""
    from stepgym.envs.maths import symbolic  # warm: SymPy takes half a second to import

    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what a library prints must not be taken for a reply
    sys.setrecursionlimit(3_000)
    limit_memory()
    assert symbolic
    print(json.dumps({"ready": os.getpid()}), file=replies, flush=True)
    for line in sys.stdin:
        task = json.loads(line)
        limit_cpu(float(task["limit_s"]))
        try:
            reply = answer(task)
        except MemoryError:
            reply = {"status": "undecided", "rung": "symbolic", "reason": "out of memory"}
        except Exception as error:  # noqa: BLE001 - the boundary: any failure of a library is one undecided pair
            reply = {
                "status": "undecided",
                "rung": "symbolic",
                "reason": f"{type(error).__name__}: {error}"[:300],
            }
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()

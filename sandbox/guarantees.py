"""What a sandbox keeps a program from; each guarantee has a probe that shows it.

A probe is a program that tries the forbidden thing. It prints `held` if it fails, or is stopped with the expected outcome.
Whoever writes a backend can run these over it: `stepgym sandbox doctor` does for those that ship.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One sentence about what a program cannot do, and the programs that try it in turn."""

    sentence: str
    programs: Sequence[Program]
    outcome: Outcome = Outcome.OK
    """What must become of the last program."""


class Probe(NamedTuple):
    """What a probe showed."""

    sentence: str
    held: bool
    detail: str


def _attempt(action: str, *, setup: str = "", limits: Limits | None = None) -> Program:
    """A program that prints `held` when `action` raises."""
    source = f"import os, sys\n{setup}\ntry:\n    {action}\nexcept BaseException:\n    print('held')\nelse:\n    print('done')\n"
    return Program(source, limits=limits or Limits())


CTYPES = "import ctypes; libc = ctypes.CDLL(None, use_errno=True)\ndef call(*a):\n    r = libc.syscall(*a)\n    if r < 0: raise OSError\n    return r"
NUMBERS = "import platform; arm = platform.machine() == 'aarch64'"

GUARANTEES = (
    Guarantee(
        "It is stopped when its wall time is over.",
        [Program("import time; time.sleep(60)", limits=Limits(wall_s=0.3))],
        Outcome.WALL_TIME,
    ),
    Guarantee(
        "It is stopped when its CPU time is over.",
        [Program("while True: pass", limits=Limits(wall_s=20, cpu_s=0.3))],
        Outcome.CPU_TIME,
    ),
    Guarantee(
        "It gets no more memory than its limit.",
        [Program("x = bytearray(256 << 20)", limits=Limits(memory_mib=128))],
        Outcome.MEMORY,
    ),
    Guarantee(
        "It starts no more processes and threads than its limit.",
        [
            Program(
                "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
                limits=Limits(wall_s=5),
            )
        ],
        Outcome.PROCESSES,
    ),
    Guarantee(
        "It writes no more output than its limit.",
        [Program("while True: print('x' * 4096)", limits=Limits(output_bytes=1 << 16))],
        Outcome.OUTPUT,
    ),
    Guarantee(
        "It writes no more to disk than its limit.",
        [
            Program(
                "for i in range(64): open(f'f{i}', 'wb').write(bytes(1 << 20))",
                limits=Limits(disk_mib=8),
            )
        ],
        Outcome.DISK,
    ),
    Guarantee(
        "It reaches no network.",
        [_attempt("socket.create_connection(('1.1.1.1', 53), timeout=2)", setup="import socket")],
    ),
    Guarantee(
        "It writes no file outside its working folder.",
        [
            Program(
                "import os\nfor folder in ('/', '/etc', '/var/tmp', '/usr', '/root', '/home', '/dev'):\n"
                "    try: open(os.path.join(folder, 'stepgym-probe'), 'w')\n    except OSError: continue\n"
                "    os.unlink(os.path.join(folder, 'stepgym-probe')); print('wrote in', folder); break\n"
                "else: print('held')"
            )
        ],
    ),
    Guarantee(
        "It reads no file of the user who started it.",
        [_attempt("print(open(path).read()[:0])", setup="path = {secret!r}")],
    ),
    Guarantee(
        "It sees no environment variable of the process that started it.",
        [Program("import os\nprint('done' if 'STEPGYM_PROBE' in os.environ else 'held')")],
    ),
    Guarantee(
        "It traces no other process.",
        [
            _attempt(
                "call(117 if arm else 101, 16, os.getppid(), 0, 0)", setup=f"{CTYPES}\n{NUMBERS}"
            )
        ],
    ),
    Guarantee(
        "It signals no process but its own.",
        [
            _attempt(
                "os.kill(os.getppid() or {pid}, 0) if os.getppid() != 1 else os.kill(1, 0)",
                setup="import signal",
            )
        ],
    ),
    Guarantee(
        "It makes no namespaces.",
        [_attempt("call(97 if arm else 272, 0x10000000)", setup=f"{CTYPES}\n{NUMBERS}")],
    ),
    Guarantee(
        "It leaves no process behind.",
        [
            Program(
                "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(2)\n    open('late', 'w')\n    time.sleep(60)",
                limits=Limits(max_processes=4),
            ),
            Program(
                "import os, time; time.sleep(0.1); print('done' if os.listdir('.') else 'held')"
            ),
        ],
    ),
    Guarantee(
        "It leaves no file behind, locked and deep trees included.",
        [
            Program(
                "import os\nfor _ in range(300):\n    os.mkdir('d'); os.chdir('d')\nos.chmod('..', 0)"
            ),
            Program("import os; print('done' if os.listdir('.') else 'held')"),
        ],
    ),
    Guarantee(
        "It leaves no shared memory behind.",
        [
            Program("open('/dev/shm/stepgym-probe', 'w')"),
            _attempt(
                "os.path.exists('/dev/shm/stepgym-probe') or call(194 if arm else 29, 0x5359, 4096, 0o1666)",
                setup=f"{CTYPES}\n{NUMBERS}",
            ),
        ],
    ),
)


def probe(sandbox: Sandbox, *, secret: str, pid: int) -> list[Probe]:
    """Try every guarantee on a sandbox. `secret` is a file, `pid` a process that programs must not reach."""
    return [_try(sandbox, guarantee, secret, pid) for guarantee in GUARANTEES]


def _try(sandbox: Sandbox, guarantee: Guarantee, secret: str, pid: int) -> Probe:
    result = ExecutionResult(Outcome.ERROR)
    for program in guarantee.programs:
        source = program.source.replace("{secret!r}", repr(secret)).replace("{pid}", str(pid))
        [result] = sandbox.run([Program(source, limits=program.limits)])
    held = result.outcome is guarantee.outcome
    if guarantee.outcome is Outcome.OK:
        held = held and result.stdout.endswith("held\n")
    last = (result.stderr.strip().splitlines() or [""])[-1]
    detail = result.reason or last or result.stdout.strip()
    return Probe(guarantee.sentence, held, f"{result.outcome.value}: {detail}"[:120])

"""The guarantees of a sandbox, each with a probe: a program that tries what is forbidden.

A probe is a program that tries the forbidden thing. It prints `held` if it fails, or is stopped with the expected outcome.
Whoever writes a backend can run these over it: `stepgym sandbox doctor` does for those that ship.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from stepgym.sandbox.sessions import PooledSession
from stepgym.sandbox.types import ExecutionResult, Limits, Outcome, Program, Sandbox, Session


@dataclass(frozen=True, slots=True)
class Guarantee:
    """One thing that a program cannot do, and the programs that try it in turn."""

    sentence: str
    """The guarantee in one sentence, with the program as `It`."""
    programs: Sequence[Program]
    """Run one after the other in the same sandbox; the last one shows whether the guarantee holds."""
    outcome: Outcome = Outcome.OK
    """What must become of the last program."""


class Probe(NamedTuple):
    """The result of a probe."""

    sentence: str
    """`Guarantee.sentence`."""
    held: bool
    """Whether the guarantee holds."""
    detail: str
    """What happened to the last program, in a few words."""


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


SESSION_ATTACKS = {
    "A session signals no other session.": "import os, signal\nfor pid in range(1, 400):\n    if pid != os.getpid():\n        try: os.kill(pid, signal.SIGKILL)\n        except OSError: pass",
    "A session cannot signal everybody.": "import os, signal\ntry: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass",
    "A session reaches no other session's files by path.": (
        "import os\nfor path in ('../../store', '/tmp/store', os.path.dirname(os.path.dirname(os.getcwd())) + '/store'):\n"
        "    for number in range(200):\n        try: open(f'{path}/{number}/f', 'w').write('won')\n        except OSError: pass"
    ),
    "A session reads no other process's memory.": (
        "import os\nfor pid in os.listdir('/proc') if os.path.exists('/proc') else []:\n"
        "    for name in ('mem', 'maps', 'environ', 'fd'):\n        print(open(f'/proc/{pid}/{name}', 'rb').read(1))"
    ),
    "A session that keeps its folder open gains nothing.": (
        "import os\nd = os.open('.', os.O_RDONLY)\nos.chdir('/')"
    ),
    "A session that replaces its folder by a link gains nothing.": (
        "import os\nhere = os.getcwd()\nos.rename(here, here + '2')\nos.symlink('../store', here)"
    ),
    "A session that forges the end of a cell gains nothing.": (
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, bytes(10))\n    except OSError: pass"
    ),
    "A session that hides from the supervisor is not forked.": (
        "import ctypes\nctypes.CDLL(None).prctl(4, 0, 0, 0, 0)"
    ),
    "A session shares no memory with its forks.": "import ctypes\nassert ctypes.CDLL(None).shmget(1, 4096, 0o1666) < 0",
    "A session that patches the fork gains nothing.": (
        "import os, sys\nr, w = os.pipe()\nfor module in list(sys.modules.values()):\n"
        "    if hasattr(module, 'fork_sibling'):\n        module.fork_sibling = os.fork"
    ),
    "A fork that stays in its parent's group is refused.": "import os\nos.setsid = lambda: None",
}
"""Sentence about what a session cannot do to its parent and siblings -> a cell that tries it."""


def probe(sandbox: Sandbox, *, secret: str, pid: int) -> list[Probe]:
    """Try every guarantee on a sandbox and return the results in order.

    `secret` is a file and `pid` a process that programs must not reach.
    """
    programs = [_try(sandbox, guarantee, secret, pid) for guarantee in GUARANTEES]
    return programs + [try_session_attack(sandbox, sentence) for sentence in SESSION_ATTACKS]


def try_session_attack(sandbox: Sandbox, sentence: str) -> Probe:
    """Run an attack in a fork of a session.

    Its parent, a sibling and the files they wrote must stay as they were.
    """
    parent = sandbox.open_session()
    parent.run("import os\nsecret = 'kept'\nopen('f', 'w').write('parent')")
    sibling, attacker = parent.fork(), parent.fork()
    sibling.run("open('f', 'w').write('sibling')")
    attacker.run(SESSION_ATTACKS[sentence])
    grandchild = attacker.fork()
    grandchild.run("open('f', 'w').write('grandchild')")
    attacker.run("try: os.write(d, b'won')\nexcept Exception: pass")
    harmed = []
    for session, name in ((parent, "parent"), (sibling, "sibling")):
        result = session.run("secret, open('f').read()")
        if result.stdout != f"('kept', {name!r})\n" or _was_killed(session):
            harmed.append(f"{name}: {result.outcome.value} {result.stdout}{result.stderr}"[-100:])
    for session in (parent, sibling, attacker, grandchild):
        session.close()
    return Probe(sentence, not harmed, "; ".join(harmed))


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


def _was_killed(session: Session) -> bool:
    """Whether a session of a runner that keeps several had to be rebuilt."""
    if not isinstance(session, PooledSession) or session.runner is None or session.runner.single:
        return False
    return session.num_rebuilt > 0

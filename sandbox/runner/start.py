"""How a runner starts: connect to the host, confine this process, load what programs use, then supervise."""

from __future__ import annotations

import contextlib
import os
import socket
import sys

from stepgym.sandbox.runner import child, confine, heap, namespaces, wire
from stepgym.sandbox.runner.supervisor import SHARED_MEMORY, Descendants, Options, Supervisor
from stepgym.sandbox.runner.work_folder import empty

PRELOADED = [
    "abc",
    "bisect",
    "collections",
    "collections.abc",
    "contextlib",
    "copy",
    "enum",
    "functools",
    "heapq",
    "io",
    "itertools",
    "json",
    "math",
    "operator",
    "random",
    "re",
    "string",
    "struct",
    "time",
    "typing",
]
"""What programs import most. Each module loaded here makes every fork slower, so rarer ones are left out."""


PRELOADED_FOR_TESTS = ["ast", "importlib.util", "inspect", "pathlib", "tempfile", "unittest"]
"""What testers import besides; a tester with leftover state is forked again."""


def _warm(folder: str) -> None:
    """Do once here what every child will do, so that the interpreter has filled its caches before it is copied."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for _ in range(20):
        wire.send(
            ours,
            {"op": "run", "names": ["payload"], "limits": {"wall_s": 1.0, "max_processes": None}},
            [0, 1],
        )
        wire.close_all(wire.receive(theirs)[1])
        wire.pass_on(ours, ("candidate", ["payload"], {"wall_s": 1.0}, True), [0, 1])
        wire.close_all(wire.take_over(theirs)[1])
        child.rehearse(folder)
        empty(folder)
    ours.close()
    theirs.close()


def _kind(options: Options) -> type[Supervisor]:
    """Load what this kind of runner needs."""
    if options.sessions:
        # Here, because each module that is loaded makes every fork of other runners slower.
        from stepgym.sandbox.runner.session_supervisor import SessionSupervisor

        return SessionSupervisor
    if options.tester:
        # Likewise.
        from stepgym.sandbox.runner import resident_tester  # noqa: F401 - for the forks

        for name in PRELOADED_FOR_TESTS:
            __import__(name)
    return Supervisor


def main(descriptor: int, text: str) -> None:
    """Connect to the host (through `descriptor`, or a socket the options name), confine this process, warm it, serve."""
    options = Options(text)
    control = socket.socket(
        socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=None if options.socket else descriptor
    )
    # The stream objects were made for pipes, but a program without input must find the end of its input.
    nothing = os.open("/dev/null", os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if options.socket:
        control.connect(options.socket)
    gained: list[str] = []
    if options.namespaces:
        gained = namespaces.enter(options.folder, options.tmpfs_mib, options.run_written, control)
        options.shared_memory = "shared memory" in gained
    confine.prctl(confine.PR_SET_NO_NEW_PRIVS, 1)
    confine.prctl(confine.PR_SET_CHILD_SUBREAPER, 1)
    kind = _kind(options)
    sys.path.extend(options.packages)
    for name in PRELOADED:
        __import__(name)
    for name in options.preload:
        with contextlib.suppress(ImportError):  # the program that imports it will raise
            __import__(name)
    import builtins
    from _sitebuiltins import Quitter

    builtins.exit = Quitter("exit", "Ctrl-D")
    builtins.quit = Quitter("quit", "Ctrl-D")
    sys.set_int_max_str_digits(0)
    os.chdir(options.folder)
    descendants = Descendants()
    if options.outer_readable is not None:
        # A /proc of the runner's own shows only what is inside.
        own = ["/proc"] if "proc" in gained else []
        outer = confine.landlock_ruleset(
            [*options.outer_readable, *own],
            [options.folder, "/dev/null", *([SHARED_MEMORY] if options.shared_memory else [])],
            exec_writable=options.run_written,
        )
        if enter := confine.landlock_entry(outer):
            enter()
        if outer is not None:
            os.close(outer)
    confine.drop_capabilities()
    confine.prctl(confine.PR_SET_DUMPABLE, 0)
    # Landlock does not protect modes and owners of files; unless the mounts are read-only, no program may change any.
    keep_modes = options.outer_readable is not None and "read-only" not in gained
    _warm(options.folder)
    supervisor = kind(options, control, descendants, keep_modes=keep_modes)
    child.lower_fixed_limits()
    child.NUM_MODULES = len(sys.modules)
    heap.settle()
    seccomp = confine.enter_common_filter()
    wire.send(
        control,
        {
            "op": "hello",
            "landlock": confine.landlock_abi(),
            "seccomp": seccomp,
            "gained": gained,
            "exact": supervisor.exact,
        },
    )
    supervisor.serve()

"""What a forked child does: take its descriptors, lower its limits, run one program and end.

It runs untrusted code. Nothing it says is believed, except `HINT`, which can only turn one failure into
another (an uncaught `MemoryError` into "memory").
"""

from __future__ import annotations

import _socket
import atexit
import builtins
import contextlib
import errno
import gc
import itertools
import linecache
import marshal
import mmap
import os
import resource
import socket
import sys
import threading
import traceback
import types
from typing import Any, NoReturn

from stepgym.sandbox.runner import candidate, confine, wire
from stepgym.sandbox.runner.codec import dumps

HINT = mmap.mmap(-1, 1)
"""One byte shared with the runner: which limit an uncaught exception looked like, 0 for none."""
HINTS = {0: None, 1: "memory", 2: "processes", 3: "disk", 4: "missing"}
MAIN = "main.py"
NUM_MODULES = 1 << 30
"""How many modules the runner has loaded; set when it is warm."""
PARTING_LINE = 100


def lower_limits(limits: dict[str, Any], *, address_space: bool = True) -> None:
    """Set the rlimits of this process; they cannot be raised again."""
    cpu, disk, memory = limits.get("cpu_s"), limits.get("disk_mib"), limits.get("memory_mib")
    if cpu is not None:
        _lower(resource.RLIMIT_CPU, int(cpu) + 2)
    if disk is not None:
        _lower(resource.RLIMIT_FSIZE, disk << 20)
    if memory is not None and address_space:
        _lower(resource.RLIMIT_AS, memory << 20)
    _lower(resource.RLIMIT_NOFILE, 128)


def lower_fixed_limits() -> None:
    """Set the rlimits that are the same for every program."""
    for kind in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE):
        _lower(kind, 0)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def take_descriptors(names: list[str], descriptors: list[int]) -> dict[str, Any]:
    """Put the standard streams in place and the channel on descriptor 3; close all else; return the payload."""
    by_name = dict(zip(names, descriptors))
    payload: dict[str, Any] = read_payload(by_name["payload"])
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2), ("channel", 3)):
        if name in by_name:
            os.dup2(by_name[name], number, inheritable=number < 3)
    os.closerange(4 if "channel" in by_name else 3, PARTING_LINE)
    os.closerange(PARTING_LINE + 1, 1024)
    return payload


def read_payload(descriptor: int) -> Any:
    """Read what the host marshalled into a descriptor."""
    size, pieces = os.fstat(descriptor).st_size, []
    while piece := os.read(descriptor, size):
        pieces.append(piece)
    return marshal.loads(b"".join(pieces))


def rehearse() -> None:
    """Run a small program and answer two calls to it, so that the interpreter has seen all that a real one does."""
    ours, theirs = _socket.socketpair()
    ours.sendall(REHEARSED_CALLS)
    ours.shutdown(socket.SHUT_WR)
    candidate.serve(theirs, REHEARSAL, name="rehearsal")
    del sys.modules["rehearsal"]
    ours.close()
    theirs.close()
    marshal.loads(marshal.dumps({"source": REHEARSAL, "args": [], "files": {}}))


REHEARSAL = """
from typing import List
class Thing:
    def __init__(self, x): self.x = x
    def value(self): return [self.x * 2 + i for i in range(3)]
def f(xs: List[int]) -> dict:
    try:
        return {str(x): sorted(Thing(x).value()) for x in xs if x % 2 == 0}
    except ValueError as error:
        raise TypeError(f"{error!r}") from error
assert f([1, 2, 3, 4]) and "a b".split() == ["a", "b"]
"""
REHEARSED_CALLS = dumps(["?", 1, "get", "f", [], [], []]) + dumps(
    ["?", 2, "special", 1, ["__call__", ["l", 1, 2, 2.5]], [], []]
)


def write_files(files: dict[str, str | bytes]) -> None:
    """Write a program's files into the working directory."""
    for name, content in files.items():
        if os.path.dirname(name):
            os.makedirs(os.path.dirname(name), exist_ok=True)
        with open(name, "wb") as stream:
            stream.write(
                content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
            )


def run(header: tuple[Any, ...], descriptors: list[int], line: _socket.socket) -> NoReturn:
    """Run one program of the kind the header names; never returns. A candidate says on `line` when it is done."""
    code, uses_c = 1, False
    kind, names, limits, address_space = header
    folder = os.getcwd()
    try:
        HINT[0] = 0
        if kind == "candidate":
            os.dup2(line.detach(), PARTING_LINE, inheritable=False)
        else:
            line.close()
        payload = take_descriptors(names, descriptors)
        lower_limits(limits, address_space=address_space)
        write_files(payload["files"])
        if kind == "candidate":
            channel = _socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=3)
            candidate.serve(channel, payload["source"])
            code = 0
        elif kind == "command":
            _become(payload["command"])
        else:
            uses_c = bool(payload["files"]) or "ctypes" in payload["source"]
            code = _run_python(payload["source"], payload["args"])
    except SystemExit as ending:
        code = exit_code(ending.code)
    except BaseException as error:  # noqa: BLE001 - the boundary: the program's failure becomes its exit status
        HINT[0] = hint_of(error)
        _show(error)
    finally:
        code = _wind_down(code, folder if kind == "program" else None)
        if uses_c:
            confine.LIBC.fflush(None)
        if kind == "candidate":
            _part(code)
        os._exit(code)


def _part(code: int) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    with contextlib.suppress(OSError):  # the program closed it, and is waited for
        os.write(PARTING_LINE, wire.PARTING.pack(code & 0xFF, peak))


def _become(command: list[str]) -> NoReturn:
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": os.getcwd(),
        "TMPDIR": os.getcwd(),
        "LANG": "C.UTF-8",
    }
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        HINT[0] = 4
        os._exit(127)


def _run_python(source: str, args: list[str]) -> int:
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __file__=MAIN)
    sys.modules["__main__"] = main
    sys.argv = [MAIN, *args]
    sys.path.insert(0, os.getcwd())
    source = source.removeprefix("\ufeff")
    # Tracebacks show source lines without a file that other code could find.
    linecache.cache[MAIN] = (len(source), None, source.splitlines(keepends=True), MAIN)
    exec(compile(source, MAIN, "exec", dont_inherit=True), main.__dict__)
    return 0


def exit_code(code: object) -> int:
    """Return the exit status that the argument of `SystemExit` stands for; print it if it is a message."""
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def hint_of(error: BaseException) -> int:
    """Return the key in `HINTS` of the limit that the exception looks like."""
    if isinstance(error, MemoryError):
        return 1
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return 3
    if isinstance(error, BlockingIOError) or (
        type(error) is RuntimeError and "new thread" in str(error)
    ):
        return 2
    return 0


def _show(error: BaseException) -> None:
    """Print the traceback without the runner's own frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename != MAIN:
        trace = trace.tb_next
    try:
        traceback.print_exception(type(error), error, trace)
    except BaseException:  # noqa: BLE001 - an exception whose own text fails has nothing more to say
        os.write(2, b"(the exception could not be printed)\n")


def _wind_down(code: int, folder: str | None) -> int:
    """End as the interpreter does: join threads, run exit handlers, flush; return the exit status.

    With the `folder` that the program started in, also destroy its modules.
    """
    try:
        if len(threading._active) > 1 or threading._threading_atexits:  # type: ignore[attr-defined]
            threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException as error:  # noqa: BLE001 - the boundary: a failing exit handler is a failing program
        HINT[0] = HINT[0] or hint_of(error)
        code = code or 120
    flushed = flush()
    if folder is not None:
        with contextlib.suppress(BaseException):  # a program may have put anything into sys.modules
            _destroy_modules(folder)
        flushed = flush() and flushed
    return code if flushed else code or 120


def flush() -> bool:
    """Flush the standard streams, also those that the program replaced; false when one fails."""
    well = _flushed(sys.stdout) and _flushed(sys.stderr)
    if sys.stdout is not sys.__stdout__:
        well = _flushed(sys.__stdout__) and well
    if sys.stderr is not sys.__stderr__:
        well = _flushed(sys.__stderr__) and well
    return well


def _flushed(stream: Any) -> bool:
    try:
        stream.flush()
    except BaseException as error:  # noqa: BLE001 - the stream may be any object of the program
        try:
            if stream is None or stream.closed:
                return True
        except BaseException:  # noqa: BLE001 - as above
            return False
        HINT[0] = HINT[0] or hint_of(error)
        return False
    return True


def _destroy_modules(folder: str) -> None:
    """Destroy the program's own modules, so that destructors run and open files are flushed."""
    own = ["__main__"]
    if (
        len(sys.modules) > NUM_MODULES
    ):  # the newest come last; a look at all would copy a page for each
        here = os.path.join(folder, "")
        for name in itertools.islice(reversed(sys.modules), len(sys.modules) - NUM_MODULES):
            path = getattr(sys.modules[name], "__file__", None)
            if type(path) is str and path.startswith(here):
                own.append(name)
    for name in own:
        _clear(vars(sys.modules.pop(name)))
    # A full collection also clears the interpreter's free lists, which copies pages.
    gc.collect(2 if any(gc.get_count()[1:]) else 0)


def _clear(names: dict[str, Any]) -> None:
    """Clear a module's names in the order in which the interpreter does."""
    for private in (True, False):
        for key in list(names):
            if key != "__builtins__" and (key[:1] == "_" and key[1:2] != "_") is private:
                names[key] = None
    names.clear()

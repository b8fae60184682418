"""What a forked child does: take its descriptors, lower its limits, run one program and end.

It runs untrusted code. Nothing it says is believed, except `HINT`, which can only turn one failure into
another (an uncaught `MemoryError` into "memory").
"""

from __future__ import annotations

import _socket
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
from _socket import AF_UNIX, SOCK_STREAM
from _socket import socket as unix_socket
from atexit import _run_exitfuncs
from marshal import loads
from os import _exit, closerange, dup2, getcwd, lseek, read, write
from resource import (
    RLIMIT_AS,
    RLIMIT_CPU,
    RLIMIT_FSIZE,
    RLIMIT_NOFILE,
    RUSAGE_SELF,
    getrusage,
    setrlimit,
)
from threading import _active, _threading_atexits  # type: ignore[attr-defined]
from typing import Any, NoReturn

from stepgym.sandbox.runner import candidate, confine, wire
from stepgym.sandbox.runner.candidate import serve as serve_candidate
from stepgym.sandbox.runner.codec import dumps
from stepgym.sandbox.runner.wire import take_over

HINT = mmap.mmap(-1, 1)
"""One byte shared with the runner: which limit an uncaught exception looked like, 0 for none."""
HINTS = {0: None, 1: "memory", 2: "processes", 3: "disk", 4: "missing"}
MAIN = "main.py"
LINK = candidate.CandidateLink()
"""Made once here, because what a fork makes costs it memory that it writes to."""
pack_parting = wire.PARTING.pack
NUM_MODULES = 1 << 30
"""How many modules the runner has loaded; set when it is warm."""
PARTING_LINE = 100
HARD_LIMITS: dict[int, int] = {}
"""The most that each rlimit of this process may be set to."""
FIXED_LIMITS = (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE)


def lower_limits(limits: dict[str, Any], *, address_space: bool = True) -> None:
    """Set the rlimits of this process; they cannot be raised again."""
    cpu, disk, memory = limits.get("cpu_s"), limits.get("disk_mib"), limits.get("memory_mib")
    if cpu is not None:
        _lower(RLIMIT_CPU, int(cpu) + 2)
    if disk is not None:
        _lower(RLIMIT_FSIZE, disk << 20)
    if memory is not None and address_space:
        _lower(RLIMIT_AS, memory << 20)
    _lower(RLIMIT_NOFILE, 128)


def lower_fixed_limits() -> None:
    """Set the rlimits that are the same for every program, and note how far the others may go."""
    for kind in (RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_AS, RLIMIT_NOFILE, *FIXED_LIMITS):
        hard = resource.getrlimit(kind)[1]
        HARD_LIMITS[kind] = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    for kind in FIXED_LIMITS:
        _lower(kind, 0)


def _lower(kind: int, value: int) -> None:
    value = min(value, HARD_LIMITS[kind])
    setrlimit(kind, (value, value))


def take_descriptors(by_name: dict[str, int]) -> dict[str, Any]:
    """Put the standard streams in place and the channel on descriptor 3; return the payload."""
    payload: dict[str, Any] = read_payload(by_name["payload"])
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2), ("channel", 3)):
        if name in by_name:
            dup2(by_name[name], number, number < 3)
    return payload


def read_payload(descriptor: int) -> Any:
    """Read what the host marshalled into a descriptor."""
    size = lseek(descriptor, 0, 2)
    lseek(descriptor, 0, 0)
    data = read(descriptor, size)
    while len(data) < size:  # one call reads at most 2 GiB
        data += read(descriptor, size)
    return loads(data)


def rehearse(folder: str) -> None:
    """Do what each child will do, so that the interpreter has filled its caches before it is copied.

    That is: take descriptors, run a small program in the working folder, answer two calls to it, flush, report.
    """
    ours, theirs = _socket.socketpair()
    ours.sendall(REHEARSED_CALLS)
    ours.shutdown(socket.SHUT_WR)
    payload = os.memfd_create("rehearsal")
    os.write(payload, marshal.dumps({"source": REHEARSAL, "args": [], "files": {}}, 2))
    by_name = dict(zip(["payload", "stdout"], [payload, os.dup(1)]))
    write_files(take_descriptors(by_name)["files"])
    getcwd()
    HINT[0] = 0
    serve_candidate(theirs, REHEARSAL, candidate.CandidateLink())
    del sys.modules[candidate.MODULE_NAME]
    flush()
    _part(0, ours.fileno())
    wire.close_all(list(by_name.values()))
    ours.close()
    theirs.close()


REHEARSAL = """
from typing import Any, Dict, List, Optional, Set, Tuple, Union
ANNOTATIONS = [
    List[int], List[str], List[float], List[bool], List[Any], List[List[int]], List[List[str]], Dict[str, int],
    Dict[str, Any], Dict[int, int], Set[int], Tuple[int, int], Optional[int], Optional[str], Union[int, str],
]
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


def run_next(line: _socket.socket) -> NoReturn:
    """Wait on `line` for one program and run it; never returns. A candidate says on the line when it is done.

    Functions of C are globals here and not attributes of modules: see `prefork.child_start`.
    """
    header, descriptors = take_over(line)
    if header is None:
        os._exit(0)
    code, uses_c = 1, False
    kind, names, limits, address_space = header
    folder = getcwd()
    try:
        HINT[0] = 0
        if kind == "candidate":
            dup2(line.detach(), PARTING_LINE, False)
        else:
            line.close()
        by_name = dict(zip(names, descriptors))
        payload = take_descriptors(by_name)
        closerange(4 if "channel" in by_name else 3, PARTING_LINE)
        closerange(PARTING_LINE + 1, 1024)
        lower_limits(limits, address_space=address_space)
        write_files(payload["files"])
        if kind == "candidate":
            serve_candidate(unix_socket(AF_UNIX, SOCK_STREAM, 0, 3), payload["source"], LINK)
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
            _part(code, PARTING_LINE)
        _exit(code)


def _part(code: int, line: int) -> None:
    try:
        write(line, pack_parting(code & 0xFF, getrusage(RUSAGE_SELF)[2] << 10))
    except OSError:  # the program closed it, and is waited for
        return


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
        if len(_active) > 1 or _threading_atexits:
            threading._shutdown()  # type: ignore[attr-defined]
        _run_exitfuncs()
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

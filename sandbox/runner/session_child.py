"""The interpreter of one session: it runs cells one after another in one namespace, and forks itself when told to.

It runs untrusted code. The supervisor believes only how a cell ended, which concerns that cell alone. It stops this process
between cells, interrupts cells that take too long, and checks each fork before using it.
"""

from __future__ import annotations

import _socket
import ast
import builtins
import contextlib
import linecache
import os
import resource
import signal
import sys
import traceback
import types
from typing import Any, NoReturn

from stepgym.sandbox.runner import child, confine, prefork, wire


def serve(line: _socket.socket, limits: dict[str, Any], folder: str) -> NoReturn:
    """Run cells from `line` in the working folder `folder` until the supervisor hangs up."""
    child.HINT.close()  # memory shared with other sessions
    confine.prctl(
        confine.PR_SET_DUMPABLE, 1
    )  # lets the supervisor, and nobody else, look at descriptors
    child.lower_limits({**limits, "cpu_s": None})
    Interpreter(line, folder).serve()


class Interpreter:
    """One namespace and what it takes to run cells in it."""

    def __init__(self, line: _socket.socket, folder: str) -> None:
        self.line = line
        self.folder = folder
        """The current folder as the last cell left it."""
        self.moved = True
        """Whether the current folder must be entered anew before the next cell."""
        self.num_cells = 0
        self.running = False
        self.main = types.ModuleType("__main__")
        self.main.__dict__.update(__builtins__=builtins)
        sys.modules["__main__"] = self.main
        sys.argv = [""]
        sys.path.insert(0, folder)
        self.quiet = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(self.quiet, number)
        os.close(self.quiet)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]

    def serve(self) -> NoReturn:
        """Do what the supervisor says until it hangs up."""
        while True:
            header, descriptors = wire.take_over(self.line)
            if header is None:
                os._exit(0)
            if header[0] == "cell":
                self.run_cell(dict(zip(header[1], descriptors)))
            else:
                self.fork(descriptors[0])

    def run_cell(self, by_name: dict[str, int]) -> None:
        """Run one cell; its output goes to the descriptors given, how it ended to the supervisor."""
        code = hint = 0
        try:
            source = child.read_payload(by_name["payload"])["code"]
            os.dup2(by_name["stdout"], 1)
            os.dup2(by_name["stderr"], 2)
            for descriptor in by_name.values():
                os.close(descriptor)
            if self.moved:
                os.chdir(self.folder)
                self.moved = False
            self.num_cells += 1
            signal.signal(signal.SIGINT, self._interrupt)
            try:
                self.running = True
                self.execute(source, f"<cell {self.num_cells}>")
            finally:
                self.running = False
        except SystemExit as ending:
            code = child.exit_code(ending.code)
        except BaseException as error:  # noqa: BLE001 - the boundary: the cell's failure becomes its status
            code, hint = 1, child.hint_of(error)
            show(error)
        self.end_cell(code, hint)

    def execute(self, source: str, name: str) -> None:
        """Execute a cell; show the value of its last expression, as a notebook does, unless a semicolon follows."""
        source = source.removeprefix("\ufeff")
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        tree = ast.parse(source, name)
        last = None
        shown = tree.body[-1] if tree.body and not source.rstrip().endswith(";") else None
        if isinstance(shown, ast.Expr):
            last = ast.Expression(shown.value)
            tree.body.pop()
        names = self.main.__dict__
        exec(compile(tree, name, "exec", dont_inherit=True), names)
        if last is not None:
            value = eval(compile(last, name, "eval", dont_inherit=True), names)
            if value is not None:
                names["_"] = value
                print(repr(value))

    def end_cell(self, code: int, hint: int) -> None:
        """Flush and close the output, then tell the supervisor."""
        with contextlib.suppress(OSError):
            self.folder = os.getcwd()
        child.flush()
        confine.LIBC.fflush(None)
        quiet = os.open("/dev/null", os.O_RDWR)
        for number in (1, 2):
            os.dup2(quiet, number)
        os.close(quiet)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        self.line.send(wire.CELL_DONE.pack(code & 0xFF, hint, peak))

    def fork(self, descriptor: int) -> None:
        """Fork this process. The child takes its orders from `descriptor`; this one tells the child's number."""
        pid = prefork.fork_sibling()
        if pid == 0:
            os.setsid()
            os.dup2(descriptor, self.line.fileno(), inheritable=False)
            self.moved = True
            pid = os.getpid()
        os.close(descriptor)
        self.line.send(max(pid, 0).to_bytes(4, "little"))

    def _interrupt(self, number: int, frame: types.FrameType | None) -> None:
        if self.running:
            raise KeyboardInterrupt("the cell was over its limit")


def show(error: BaseException) -> None:
    """Print the traceback without this file's own frames."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
        trace = trace.tb_next
    last = trace
    while last is not None and last.tb_next is not None:
        if last.tb_next.tb_frame.f_code.co_filename == __file__:
            last.tb_next = None  # the handler that interrupts a cell
        last = last.tb_next
    try:
        traceback.print_exception(type(error), error, trace)
    except BaseException:  # noqa: BLE001 - an exception whose own text fails has nothing more to say
        os.write(2, b"(the exception could not be printed)\n")

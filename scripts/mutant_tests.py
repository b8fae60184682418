"""A pytest plugin for `scripts/mutants`: it finds the tests that execute a mutant's statement, and runs only these.

First, the unchanged tests run once. Each drawn statement has a probe before it, which sets a flag in a file that all
processes share, workers included. Then one process collects the tests. For each mutant it is forked, the changed
functions are replaced, and the chosen tests run, the quickest first.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import mutant_code
import pytest

FLAGS = os.environ.get("STEPGYM_MUTANTS_FLAGS")
REQUESTS = os.environ.get("STEPGYM_MUTANTS_REQUESTS")
MIN_TIMEOUT_S = 20
TIMEOUT_FACTOR = 10
"""A test fails if it takes this many times as long as on unchanged code, and at least `MIN_TIMEOUT_S`."""


class Recorder:
    """Writes each test's duration, the probes that it passes, and those that only its shared fixtures pass."""

    def __init__(self, flags: Path) -> None:
        self.stream = flags.open("r+b")
        self.flags = mmap.mmap(self.stream.fileno(), 0)
        self.fixtures: dict[str, set[int]] = {}
        self.tests: dict[str, tuple[float, list[int], list[int]]] = {}
        self.imported: set[int] | None = None
        self.target = flags.with_suffix(".json")

    def _passed(self) -> set[int]:
        found = {number for number, flag in enumerate(self.flags[:]) if flag}
        self.flags[:] = bytes(len(self.flags))
        return found

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
        """Count what a shared fixture executes for all tests that use it, not for the first alone."""
        before = self._passed()
        yield
        inside = self._passed()
        if fixturedef.scope != "function":
            self.fixtures.setdefault(fixturedef.argname, set()).update(inside)
        for number in before | inside:
            self.flags[number] = 1

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Run a test without cached results, so that each statement that it needs is executed."""
        for name, module in list(sys.modules.items()):
            if name.startswith("stepgym."):
                for value in list(vars(module).values()):
                    getattr(value, "cache_clear", bool)()
        before = self._passed()
        if self.imported is None:
            self.imported = before
        begin = time.perf_counter()
        yield
        duration, own = time.perf_counter() - begin, self._passed()
        names = getattr(item, "fixturenames", ())
        shared = set().union(*(self.fixtures.get(name, ()) for name in names)) - own
        self.tests[item.nodeid] = (duration, sorted(own), sorted(shared))

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        self.target.write_text(
            json.dumps({"imported": sorted(self.imported or ()), "tests": self.tests})
        )


class Server:
    """Runs the chosen tests of one mutant after the other, each in a fork of the process that collected them."""

    def __init__(self, requests: Connection) -> None:
        self.requests = requests

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Answer requests: in a child, return `None`, so that pytest runs the tests that are left."""
        self.requests.send("ready")
        while True:
            try:
                request = self.requests.recv()
            except EOFError:
                return True
            child = os.fork()
            if child == 0:
                os.setsid()
                self.requests.close()
                if request["swap"]:
                    mutant_code.swap(*request["swap"])
                items = {item.nodeid: item for item in session.items}
                session.items[:] = [items[name] for name in request["tests"] if name in items]
                for item in session.items:
                    allowed_s = MIN_TIMEOUT_S + TIMEOUT_FACTOR * request["tests"][item.nodeid]
                    item.add_marker(pytest.mark.timeout(allowed_s), append=False)
                return None
            self.requests.send(_ended(child, request["timeout_s"]))


def _ended(child: int, timeout_s: float) -> int | None:
    """The exit status of a child; `None` if it took longer. Its own children are killed."""
    deadline = time.monotonic() + timeout_s
    ended, status = 0, 0
    while not ended and time.monotonic() < deadline:
        time.sleep(0.02)
        ended, status = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not ended:
        os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) if ended else None


def pytest_configure(config: pytest.Config) -> None:
    """Record what the tests execute, or serve."""
    if FLAGS:
        config.pluginmanager.register(Recorder(Path(FLAGS)))
    if REQUESTS:
        config.pluginmanager.register(Server(Connection(int(REQUESTS))))

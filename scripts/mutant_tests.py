"""A pytest plugin for `scripts/mutants`: a mutant runs only the tests that executed the changed statement.

The unchanged tests run once under coverage with one context a test, or one a shared fixture. For each mutant, the tests
run whose context (or whose fixture's) holds a line of the changed statement, in the order of the command line. If none
does, all tests run: the statement is executed at import, or in a worker process.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

PRISTINE = Path(os.environ["STEPGYM_MUTANTS"], "pristine")


running = coverage.Coverage.current()
context = [""]
chosen: set[str] = set()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Record what each test executes while the unchanged tests run under coverage."""
    if running is not None:
        _clear_caches()
        context[0] = item.nodeid
        running.switch_context(item.nodeid)
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    """Record what a shared fixture executes for all tests that use it, not for the first alone."""
    shared = fixturedef.scope != "function"
    if running is not None and shared:
        running.switch_context(f"fixture {fixturedef.argname}")
    yield
    if running is not None and shared:
        running.switch_context(context[0])


def pytest_configure(config: pytest.Config) -> None:
    """Find the tests that executed the changed statement, and collect only their files."""
    changed = [p for p in PRISTINE.rglob("*.py") if p.read_bytes() != _mutated(p).read_bytes()]
    if running is None and len(changed) == 1:
        chosen.update(_contexts(_mutated(changed[0]).resolve(), _statement(changed[0])))
        files = {name.split("::")[0] for name in chosen}
        if chosen and all(Path(file).is_file() for file in files):  # no shared fixture among them
            known = [arg for arg in config.args if arg in files]
            config.args[:] = [*known, *sorted(files - set(known))]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that executed the changed statement."""
    if chosen:
        items[:] = [item for item in items if chosen & {item.nodeid, *_fixtures(item)}]


def _clear_caches() -> None:
    """Without cached results, a statement is recorded for each test that needs it."""
    for name, module in list(sys.modules.items()):
        if name.startswith("stepgym."):
            for value in list(vars(module).values()):
                getattr(value, "cache_clear", bool)()


def _fixtures(item: pytest.Item) -> set[str]:
    return {f"fixture {name}" for name in getattr(item, "fixturenames", ())}


def _mutated(path: Path) -> Path:
    return Path.cwd() / path.relative_to(PRISTINE)


def _statement(path: Path) -> range:
    """The lines of the innermost statement that holds the first changed line, without its body."""
    old, new = path.read_text().splitlines(), _mutated(path).read_text().splitlines()
    line = next((i for i, (a, b) in enumerate(zip(old, new), 1) if a != b), 1)
    found = range(line, line + 1)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            end = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            if node.lineno <= line <= end:
                found = range(node.lineno, end + 1)
    return found


def _contexts(path: Path, lines: range) -> set[str]:
    """The tests and fixtures that executed one of these lines."""
    data = coverage.CoverageData(os.environ["COVERAGE_FILE"])
    data.read()
    found = data.contexts_by_lineno(str(path))
    return {name for line in lines for name in found.get(line, []) if name}

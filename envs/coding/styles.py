"""How tests are written: one style per kind, recognised by form, and the tester program that each becomes.

| style | what the tests are |
|---|---|
| `check` | source with `def check(candidate)`, as in HumanEval |
| `files` | a unittest or pytest file; `import solution` or the entry point's name reaches the candidate |
| `asserts` | bare statements with asserts, as in MBPP |
| `calls` | a table `[[args, kwargs], expected]`, as Python objects or JSON |
| `stdio` | `{"cases": [{"stdin", "stdout"}], "checker", "tolerance", "language"}`; `stdout` may list several answers |
| `property` | `{"strategies", "reference"}`: see `stepgym.envs.coding.property` |
| `reference` | `{"reference", "inputs", "tolerance", "equality"}`: inputs packed by `pack_inputs` |
| `same_program` | `{"style": "same_program", "language", "source"}`: see `stepgym.envs.coding.same_program` |

Published forms of the last but two (APPS, LiveCodeBench) are read by `stepgym.envs.coding.published_forms`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from stepgym.envs.coding.published_forms import FormError, read_published
from stepgym.envs.coding.repo.folder import FolderError, checked_path
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name
from stepgym.sandbox.runner.codec import Packer, Unsendable

STYLES = ("check", "files", "asserts", "calls", "stdio", "property", "reference", "same_program")
NEED_ENTRY_POINT = ("check", "calls", "property", "reference")
Tests = str | Mapping[str, Any] | Sequence[Any]

TEST_FILE = re.compile(
    r"^\s*(?:class\s+\w+\s*\([^)]*TestCase|class\s+Test\w*\s*[:(]|(?:async\s+)?def\s+test|from\s+unittest\s+import\s+TestCase|import\s+(?:unittest|pytest)\s*$|from\s+pytest)",
    re.MULTILINE,
)
CHECK = re.compile(r"^def\s+check\s*\(", re.MULTILINE)
HARNESS = (
    "syntax",
    "traces",
    "pytest_stand_in",
    "binding",
    "failures",
    "foreseen_calls",
    "candidate_access",
    "call_tables",
    "assert_styles",
    "patches",
    "test_files",
    "property_tests",
    "reference_tests",
    "judging",
)
"""Modules of the tester's side, each after those it imports."""


class TestsError(UserError):
    """The tests of a task are not of any known form; the message shows what was found."""

    __test__ = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Tests in a known style, and what they say of the solution."""

    style: str
    """One of `STYLES`."""
    source: str = ""
    """Tests as source text (`check`, `files`, `asserts`)."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """Tests as data (`calls`, `stdio`, `property`)."""
    from_json: bool = False
    """Whether the data was written in JSON, which has no tuples."""
    entry_point: str | None = None
    """The entry point, if the tests name it."""
    names: tuple[str, ...] = ()
    """Further names that the tests take from the solution."""
    modules: tuple[str, ...] = ()
    """Names by which the tests import the solution, besides `solution`."""
    support: Mapping[str, str] = field(default_factory=dict)
    """Modules of the tests: name -> source (`files`)."""
    data_files: Mapping[str, str | bytes] = field(default_factory=dict)
    """Files that lie in the folder of the solution and of the tests: relative path -> content."""
    folder: Mapping[str, str | bytes] | None = None
    """The solution's own folder, whose modules the tests import by the names in `modules`."""


def read_tests(tests: Tests, *, style: str | None = None, entry_point: str | None = None) -> Task:
    """Recognise the style of tests; `style` names it instead. Raises `TestsError`."""
    if style is not None and style not in STYLES:
        raise unknown_name("test style", style, STYLES, dotted=False)
    if isinstance(tests, str):
        data = _data_in(tests)
        if data is None:
            return Task(style=style or _style_of_source(tests), source=tests)
        return _read_data(data, style, entry_point, from_json=not _has_tuples(data))
    if not isinstance(tests, Mapping | Sequence) or isinstance(tests, bytes):
        raise TestsError(f"tests are {tests!r:.60}; they must be source text, a list or a mapping")
    return _read_data(tests, style, entry_point, from_json=False)


def _data_in(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        data = json.loads(text)
    except ValueError:
        data = _literal(text)
    return data if isinstance(data, list | dict) else None


def _has_tuples(data: Any) -> bool:
    """Whether data was written in Python, where a tuple differs from a list."""
    if isinstance(data, Mapping):
        return any(_has_tuples(value) for value in data.values())
    return isinstance(data, tuple) or (isinstance(data, list) and any(map(_has_tuples, data)))


def _literal(text: str) -> Any:
    """Read data written as a Python literal, `float("inf")` and `set()` included; `None` for any other text."""
    try:
        return ast.literal_eval(_Calls().visit(ast.parse(text.strip(), mode="eval")).body)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


class _Calls(ast.NodeTransformer):
    """Puts constants in the place of calls such as `float("inf")`, which Python has no literal for."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and node.func.id == "float" and len(node.args) == 1:
            return ast.copy_location(ast.Constant(float(ast.literal_eval(node.args[0]))), node)
        return node


def _style_of_source(text: str) -> str:
    if CHECK.search(text):
        return "check"
    return "files" if TEST_FILE.search(text) else "asserts"


def _read_data(data: Any, style: str | None, entry_point: str | None, *, from_json: bool) -> Task:
    if not isinstance(data, Mapping):
        if data and all(isinstance(line, str) for line in data):
            source = "\n".join(data)
            return Task(style=style or _style_of_source(source), source=source)
        if not any(isinstance(row, Mapping) for row in data):
            table = {"calls": data, "bare": True}
            return Task(style=style or "calls", data=table, from_json=from_json)
    try:
        published = read_published(data, entry_point)
    except FormError as error:
        raise TestsError(str(error)) from None
    if published is not None:
        data, entry_point = published
        style, from_json = None, True
    if not isinstance(data, Mapping):
        raise TestsError(f"tests {data!r:.80} are of no known style; known: {', '.join(STYLES)}")
    if "style" in data and style is None:
        style = read_tests("", style=data["style"]).style
    keys = (
        ("strategies", "property"),
        ("reference", "reference"),
        ("cases", "stdio"),
        ("calls", "calls"),
        ("source", ""),
    )
    found = next((known for key, known in keys if key in data), None)
    if found is None:
        raise TestsError(
            f"tests with keys {sorted(data)} are of no known style; known: {', '.join(STYLES)}"
        )
    source = data.get("source", "") if not found else ""
    return Task(
        style=style or found or _style_of_source(source),
        source=source,
        data={} if source and style != "same_program" else data,
        from_json=from_json or bool(data.get("from_json")),
        entry_point=data.get("entry_point", entry_point),
        names=tuple(data.get("names", ())),
        modules=tuple(data.get("modules", ())),
        support=dict(data.get("support", {})),
        data_files=_data_files(data.get("data_files") or {}),
        folder=data.get("folder"),
    )


def _data_files(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise TestsError(
            f"data_files are {given!r:.60}; they must be an object of paths and contents"
        )
    try:
        return {checked_path(path): content for path, content in given.items()}
    except FolderError as error:
        raise TestsError(f"data_files: {error}") from error


@cache
def harness(name: str) -> str:
    """Return the source of a tester-side module."""
    return (files("stepgym.envs.coding.harness") / f"{name}.py").read_text("utf-8")


@cache
def harness_sources(*names: str) -> tuple[tuple[str, str], ...]:
    """Return tester-side modules, full name and source, the packages they lie in first."""
    package = "stepgym.envs.coding.harness"
    parents = [(package.rsplit(".", depth)[0], "") for depth in (2, 1)]
    return (*parents, (package, ""), *((f"{package}.{name}", harness(name)) for name in names))


def judging_arguments(
    task: Task, *, entry_point: str | None, prompt: str | None, candidate_s: float
) -> list[Any]:
    """Return the arguments of `harness.judging.judge` besides the solution, as JSON-able data."""
    options: dict[str, Any] = {"source": task.source}
    if task.style == "calls":
        options = _call_table(task)
    elif task.style in ("property", "reference"):
        options = {key: value for key, value in task.data.items() if key != "style"}
    elif task.style == "files":
        options |= {"support": dict(task.support), "folder": task.folder is not None}
    declared = {
        "entry_point": entry_point,
        "prompt": prompt,
        "names": list(task.names),
        "modules": list(task.modules),
    }
    return [task.style, declared, options, candidate_s]


TESTER_PROGRAM = """\
import json
remote.library().judge(remote, *json.loads(remote.arguments[0]))
"""
"""The tester's program. Its library is `harness_sources(*HARNESS)`, its argument `judging_arguments` as JSON."""


def _call_table(task: Task) -> dict[str, Any]:
    data = task.data
    rows = []
    for number, row in enumerate(data["calls"]):
        if isinstance(row, Mapping | str) or not isinstance(row, Sequence) or len(row) != 2:
            raise TestsError(
                f"row {number} of the call table is {row!r:.80}, not [[args, kwargs], expected]"
            )
        call, expected = row
        accepted = list(expected) if data.get("alternatives") else [expected]
        rows.append((_call(number, call, data), accepted))
    try:
        cases = Packer(_refuse).pack(rows)
    except Unsendable as error:
        raise TestsError(f"the call table cannot be handed over: {error}") from None
    return {
        "cases": cases,
        "lenient": task.from_json,
        "tolerance": data.get("tolerance"),
        "any_order": bool(data.get("any_order")),
    }


def _call(number: int, call: Any, data: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return the positional and named arguments of one row."""
    if isinstance(call, Mapping | str) or not isinstance(call, Sequence):
        raise TestsError(
            f"row {number} of the call table has the arguments {call!r:.80}, not a list"
        )
    named = len(call) == 2 and isinstance(call[0], list | tuple) and isinstance(call[1], Mapping)
    if not named or data.get("positional"):
        return list(call), {}
    if call[1] and data.get("bare"):
        raise TestsError(
            f"row {number} of the call table is ambiguous: {call!r:.80} may be [args, kwargs] or two arguments; "
            'write {"calls": [[[args, kwargs], expected]]}, with {} for no named arguments'
        )
    if not all(isinstance(name, str) and name.isidentifier() for name in call[1]):
        return list(call), {}
    return list(call[0]), dict(call[1])


def pack_inputs(inputs: Sequence[Sequence[Any]]) -> Any:
    """Return lists of arguments in the JSON-able form that tests of the style `reference` take."""
    try:
        return Packer(_refuse).pack([list(args) for args in inputs])
    except Unsendable as error:
        raise TestsError(f"the inputs cannot be handed over: {error}") from None


def _refuse(value: Any) -> Any:
    raise TestsError(f"{value!r:.80} in a call table is no plain data")

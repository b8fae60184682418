"""How tests are written: one style per kind of text, told apart here, and the tester program each becomes.

| style | what the tests are |
|---|---|
| `check` | source with `def check(candidate)`, as in HumanEval |
| `files` | a unittest or pytest file; `import solution` or the entry point's name reaches the candidate |
| `asserts` | bare statements with asserts, as in MBPP |
| `calls` | a table `[[args, kwargs], expected]`, as Python objects or JSON |
| `stdio` | `{"cases": [{"stdin", "stdout"}], "checker", "tolerance", "language"}`; `stdout` may list several answers |
| `property` | `{"strategies", "reference"}`: see `stepgym.envs.coding.property` |
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name
from stepgym.sandbox.runner.codec import Packer

STYLES = ("check", "files", "asserts", "calls", "stdio", "property")
Tests = str | Mapping[str, Any] | Sequence[Any]

TEST_FILE = re.compile(
    r"^\s*(?:class\s+\w+\s*\([^)]*TestCase|class\s+Test\w*\s*[:(]|(?:async\s+)?def\s+test|from\s+unittest|import\s+(?:unittest|pytest))",
    re.MULTILINE,
)
CHECK = re.compile(r"^def\s+check\s*\(", re.MULTILINE)


class TestsError(UserError):
    """The tests of a task are not of any known form; the message shows what was found."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Task:
    """Tests in a known style."""

    style: str
    source: str = ""
    """Tests as source text (`check`, `files`, `asserts`)."""
    data: Any = None
    """Tests as data (`calls`, `stdio`, `property`)."""
    from_json: bool = False
    """Whether the data was written in JSON, which knows no tuples."""


def read_tests(tests: Tests, *, style: str | None = None) -> Task:
    """Tell the style of tests; `style` names it instead. Raises `TestsError`."""
    if style is not None and style not in STYLES:
        raise unknown_name("test style", style, STYLES, dotted=False)
    if isinstance(tests, str):
        data = _json(tests)
        if data is not None:
            return Task(style or _style_of_data(data), data=data, from_json=True)
        return Task(style or _style_of_source(tests), source=tests)
    return Task(style or _style_of_data(tests), data=tests)


def _json(text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, list | dict) else None


def _style_of_source(text: str) -> str:
    if CHECK.search(text):
        return "check"
    return "files" if TEST_FILE.search(text) else "asserts"


def _style_of_data(data: Any) -> str:
    if isinstance(data, Mapping):
        for key, style in (
            ("style", None),
            ("strategies", "property"),
            ("cases", "stdio"),
            ("calls", "calls"),
        ):
            if key in data:
                return style or read_tests("", style=data["style"]).style
        raise TestsError(
            f"tests with keys {sorted(data)} are of no known style; known: {', '.join(STYLES)}"
        )
    return "calls"


@cache
def harness(*names: str) -> str:
    """Return tester-side modules as one text."""
    folder = files("stepgym.envs.coding.harness")
    return "\n".join((folder / f"{name}.py").read_text("utf-8") for name in names)


@cache
def quoted_harness(*names: str) -> str:
    """Return them as a literal."""
    return repr(harness(*names))


def tester_program(
    task: Task, *, entry_point: str | None, prompt: str | None, candidate_s: float
) -> str:
    """Return the source of the tester's program."""
    options: dict[str, Any] = {"entry_point": entry_point}
    modules: tuple[str, ...] = ("core",)
    function = {"check": "run_check", "asserts": "run_asserts", "files": "run_files"}.get(
        task.style, "run_calls"
    )
    if task.style == "calls":
        options |= _call_table(task)
        values = "unpack_cases(remote, OPTIONS)"
    elif task.style == "property":
        modules, function = ("core", "properties"), "run_property"
        options |= dict(task.data)
        options.pop("style", None)
        values = "OPTIONS"
    else:
        options |= {"source": task.source, "prompt": prompt}
        modules = ("core", "cases", "pytest_shim") if task.style == "files" else modules
        values = "OPTIONS"
    return (
        f"OPTIONS = {options!r}\n"
        f"names = remote.cached({quoted_harness(*modules)})\n"
        f"unpack_cases = names.get('unpack_cases')\n"
        f"names['judge'](remote, Broken, {candidate_s!r}, names[{function!r}], **{values})\n"
    )


def _call_table(task: Task) -> dict[str, Any]:
    table = task.data
    options: dict[str, Any] = {"lenient": task.from_json, "tolerance": None}
    if isinstance(table, Mapping):
        options["tolerance"] = table.get("tolerance")
        table = table["calls"]
    rows = []
    for number, row in enumerate(table):
        try:
            call, expected = row
            args, kwargs = call if len(call) == 2 and isinstance(call[1], Mapping) else (call, {})
            rows.append(((list(args), dict(kwargs)), expected))
        except (TypeError, ValueError) as error:
            raise TestsError(
                f"row {number} of the call table is {row!r:.80}, not [[args, kwargs], expected]"
            ) from error
    packer = Packer(_refuse)
    return options | {"cases": packer.pack(rows)}


def _refuse(value: Any) -> Any:
    raise TestsError(f"{value!r:.80} in a call table is no plain data")

"""Tests in the forms that published data sets use, turned into the forms of `stepgym.envs.coding.styles`.

| data set | form |
|---|---|
| APPS, TACO, PRIME | `{"inputs": [...], "outputs": [...], "fn_name": NAME}`; without `fn_name` standard input and output |
| LiveCodeBench | `[{"input", "output", "testtype": "functional" or "stdin"}]` |
| CodeContests | `{"input": [...], "output": [...]}` |

A form that could mean two things is refused.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any


class FormError(ValueError):
    """Tests that look like a published form but are none; the message shows what was found."""


Read = tuple[dict[str, Any], str | None]


def read_published(data: Any, entry_point: str | None) -> Read | None:
    """Return tests as `calls` or `stdio` data and their entry point; `None` if they are of no published form."""
    if isinstance(data, Mapping):
        if "inputs" in data and "outputs" in data:
            return _inputs_and_outputs(data, entry_point)
        if _is_list(data.get("input")) and _is_list(data.get("output")):
            cases = _paired(data["input"], data["output"])
            return {"cases": [{"stdin": _text(i), "stdout": _text(o)} for i, o in cases]}, None
        return None
    if _is_list(data) and data and all(isinstance(row, Mapping) for row in data):
        return _rows(data, entry_point)
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _paired(inputs: Any, outputs: Any) -> list[tuple[Any, Any]]:
    if not _is_list(inputs) or not _is_list(outputs) or len(inputs) != len(outputs):
        raise FormError(
            f"inputs and outputs must be lists of one length, not {inputs!r:.60} and {outputs!r:.60}"
        )
    return list(zip(inputs, outputs))


def _inputs_and_outputs(data: Mapping[str, Any], entry_point: str | None) -> Read:
    cases = _paired(data["inputs"], data["outputs"])
    name = data.get("fn_name")
    if not name:
        return {"cases": [{"stdin": _text(i), "stdout": _text(o)} for i, o in cases]}, None
    rows = []
    for given, expected in cases:
        args = _values(given) if isinstance(given, str) else given
        if not _is_list(args):
            raise FormError(f"an input of {name!r} is {given!r:.80}, not a list of arguments")
        # Graders of APPS accept the output itself and the only item of a list.
        accepted = (
            [expected, expected[0]] if _is_list(expected) and len(expected) == 1 else [expected]
        )
        accepted += [_whole_keys(each) for each in accepted if _whole_keys(each) != each]
        rows.append([[*map(_whole_keys, args[:1]), *args[1:]], accepted])
    return _table(rows, alternatives=True), _method_or_function(name, entry_point)


def _rows(data: Sequence[Mapping[str, Any]], entry_point: str | None) -> Read:
    kinds = {row.get("testtype") for row in data}
    missing = next((row for row in data if "input" not in row or "output" not in row), None)
    if missing is not None:
        if "stdout" in missing:
            return {"cases": list(data)}, None
        raise FormError(f"a test is {dict(missing)!r:.80}, without 'input' and 'output'")
    if kinds <= {"stdin", "stdin_stdout"} or (kinds == {None} and entry_point is None):
        cases = [{"stdin": _text(row["input"]), "stdout": _text(row["output"])} for row in data]
        return {"cases": cases}, None
    if kinds != {"functional"}:
        raise FormError(
            f"tests with the test types {sorted(map(str, kinds))} and the entry point {entry_point!r} may be calls "
            "or programs; give each the 'testtype' 'functional' or 'stdin'"
        )
    if entry_point is None:
        raise FormError("functional tests need the name of the function as entry point")
    rows = [[_values(row["input"]), [_value(row["output"])]] for row in data]
    return _table(rows, alternatives=True), _method_or_function(entry_point, entry_point)


def _whole_keys(value: Any) -> Any:
    """Give a mapping the keys that JSON took from it: all of them whole numbers, as graders of APPS read it."""
    if isinstance(value, Mapping) and value and all(_is_whole(key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


def _is_whole(key: Any) -> bool:
    return isinstance(key, str) and key.removeprefix("-").isdecimal() and key.isascii()


def _table(rows: list[Any], *, alternatives: bool) -> dict[str, Any]:
    return {"calls": rows, "alternatives": alternatives, "positional": True}


def _method_or_function(name: str, entry_point: str | None) -> str:
    """Return the entry point; `Solution` alone means its method of this name."""
    if entry_point == "Solution":
        return f"Solution().{name}"
    return entry_point if entry_point and "()." in entry_point else name


def _values(text: Any) -> list[Any]:
    """Read the arguments of a call, one JSON value a line."""
    return [_value(line) for line in str(text).split("\n") if line.strip()]


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise FormError(
            f"a value of a functional test is {text!r:.80}, neither JSON nor a literal"
        ) from None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if _is_list(value) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    raise FormError(f"standard input or output is {value!r:.80}, not text")

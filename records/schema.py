"""`EpisodeRecord` <-> one line of JSON. What was written comes back equal; what cannot be a record says why.

Not covered: values in `agent` and `usage` that JSON itself cannot hold (tuples come back as lists).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from stepgym.agents.types import SCHEMA_VERSION, EpisodeRecord, NodeRecord
from stepgym.records.types import RecordError


def to_line(record: EpisodeRecord) -> str:
    """Return the record as one line of strict JSON, ASCII only, without the line's end.

    ASCII, because a model's text may hold lone surrogates or line separators that other readers trip over.
    Infinities and NaN, which strict JSON lacks, become null where a field may be null, otherwise 0.
    """
    data = _finite(record, EpisodeRecord)
    data["nodes"] = [_finite(node, NodeRecord) for node in record.nodes]
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def from_line(line: str, *, where: str = "record") -> EpisodeRecord:
    """Read a record back; raises `RecordError` that starts with `where` (say `episodes.jsonl:17`)."""
    try:
        data = json.loads(line)
    except ValueError as error:
        raise RecordError(f"{where}: not JSON: {error}; the line begins {line[:60]!r}") from error
    if not isinstance(data, dict):
        raise RecordError(f"{where}: a record is a JSON object, not {type(data).__name__}")
    if data.get("schema") != SCHEMA_VERSION:
        raise RecordError(
            f"{where}: schema {data.get('schema')!r}, but this stepgym reads schema {SCHEMA_VERSION}"
        )
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise RecordError(f"{where}: field 'nodes' should be a list, is {type(nodes).__name__}")
    data["nodes"] = tuple(
        _make(NodeRecord, node, f"{where}, node {i}") for i, node in enumerate(nodes)
    )
    if isinstance(data.get("path"), list):
        data["path"] = tuple(data["path"])
    record: EpisodeRecord = _make(EpisodeRecord, data, where)
    _check_tree(record, where)
    return record


def _finite(thing: EpisodeRecord | NodeRecord, kind: type) -> dict[str, Any]:
    """Return the fields of a record or node as JSON holds them; nodes are left to the caller."""
    clean = {}
    for name, hint in _hints(kind).items():
        value = getattr(thing, name)
        if isinstance(value, float):
            if not math.isfinite(value):
                value = None if NoneType in get_args(hint) else 0.0
        elif isinstance(value, Mapping):
            value = _finite_json(value)
        clean[name] = value
    return clean


def _finite_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _plain_types(kind: type) -> dict[str, frozenset[type]]:
    """Return for each field the exact types that fit without a closer look: records have thousands of nodes."""
    known: dict[Any, set[type]] = {
        str: {str},
        int: {int},
        float: {float, int},
        NoneType: {NoneType},
    }
    return {
        name: frozenset().union(
            *(known.get(option, set()) for option in (get_args(hint) or (hint,)))
        )
        if isinstance(hint, UnionType) or hint in known
        else frozenset()
        for name, hint in _hints(kind).items()
    }


@cache
def _required(kind: type) -> frozenset[str]:
    return frozenset(
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    )


def _make(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise RecordError(f"{where}: should be a JSON object, is {type(data).__name__}")
    hints, plain = _hints(kind), _plain_types(kind)
    if unknown := data.keys() - hints.keys():
        raise RecordError(
            f"{where}: unknown field {min(unknown)!r}; known: {', '.join(sorted(hints))}"
        )
    if missing := _required(kind) - data.keys():
        raise RecordError(f"{where}: field {min(missing)!r} is missing")
    for name, value in data.items():
        if type(value) not in plain[name] and not _fits(value, hints[name]):
            raise RecordError(f"{where}: field {name!r} should be {hints[name]}, is {value!r:.60}")
    return kind(**data)


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(hint, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin = get_origin(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(inner, get_args(hint)[0]) for inner in value)
    return isinstance(value, origin or hint)


def _check_tree(record: EpisodeRecord, where: str) -> None:
    for i, node in enumerate(record.nodes):
        if not -1 <= node.parent < max(i, 0) or (node.parent == -1) != (i == 0):
            raise RecordError(
                f"{where}: node {i} has parent {node.parent}, but parents precede their children"
            )
    for step in record.path:
        if not 0 <= step < len(record.nodes):
            raise RecordError(f"{where}: path names node {step} of {len(record.nodes)}")

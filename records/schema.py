"""`EpisodeRecord` <-> one line of JSON. What was written comes back equal; what cannot be a record says why.

Fields that have their default are left out of a node's object. Not covered: values in `agent`, `usage` and
`env_options` that JSON itself cannot hold (tuples come back as lists).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from stepgym.agents.types import SCHEMA_VERSION, EpisodeRecord, NodeRecord
from stepgym.records.types import RecordError, SchemaError


def to_line(record: EpisodeRecord) -> str:
    """Return the record as one line of strict JSON, ASCII only, without the line's end.

    ASCII, because a model's text may hold lone surrogates or line separators that other readers trip over.
    Infinities and NaN, which strict JSON lacks, become null where a field may be null, otherwise 0.
    """
    data = {
        name: _finite(getattr(record, name), hint) for name, hint in _hints(EpisodeRecord).items()
    }
    data["nodes"] = [_node_object(node) for node in record.nodes]
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def from_line(line: str, *, where: str = "record") -> EpisodeRecord:
    """Read a record back; raises `RecordError` that starts with `where` (say `episodes.jsonl:17`)."""
    data = object_of(line, where)
    if data.get("schema") != SCHEMA_VERSION:
        raise SchemaError(
            f"{where}: " + other_version("schema", data.get("schema"), SCHEMA_VERSION, where="DIR")
        )
    nodes = data.get("nodes")
    if not isinstance(nodes, list):
        raise RecordError(f"{where}: field 'nodes' should be a list, is {type(nodes).__name__}")
    data["nodes"] = tuple(
        _make(NodeRecord, node, f"{where}, node {i}") for i, node in enumerate(nodes)
    )
    record: EpisodeRecord = _make(EpisodeRecord, data, where)
    _check_tree(record, where)
    return record


class Heading(NamedTuple):
    """The fields of an episode that resuming a run reads."""

    problem_id: str
    attempt: int
    verdict: str


def heading_of(line: str, *, where: str = "record") -> Heading:
    """Read a record's heading, several times as fast as the whole; raises as `from_line` if that is broken."""
    data = object_of(line, where)
    found: list[Any] = [data.get(name) for name in Heading._fields]
    if data.get("schema") != SCHEMA_VERSION or list(map(type, found)) != [str, int, str]:
        record = from_line(line, where=where)
        found = [getattr(record, name) for name in Heading._fields]
    return Heading(*found)


def other_version(what: str, found: Any, known: int, *, where: str) -> str:
    """Return the message for data of another version: an older one is migrated, a newer one needs a newer stepgym."""
    newer = isinstance(found, int) and not isinstance(found, bool) and found > known
    way = (
        "a newer stepgym wrote it; install that version"
        if newer
        else f"`stepgym migrate {where}` rewrites a run folder of {what.rpartition(' ')[2]} 1"
    )
    return f"{what} {found!r}, but this stepgym reads {what.rpartition(' ')[2]} {known}; {way}"


def object_of(line: str, where: str) -> dict[str, Any]:
    """Return a line's JSON object; raises `RecordError`."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{where}: not JSON: {error}; the line begins {line[:60]!r}") from error
    if not isinstance(data, dict):
        raise RecordError(f"{where}: a record is a JSON object, not {type(data).__name__}")
    return data


def _node_object(node: NodeRecord) -> dict[str, Any]:
    found = {}
    for name, default, hint in _node_fields():
        value = getattr(node, name)
        if value is not default and value != default:
            found[name] = _finite(value, hint)
        elif type(value) is not type(default):
            found[name] = value  # equal, but of another type: 0 for 0.0
    return found


@cache
def _node_fields() -> tuple[tuple[str, Any, Any], ...]:
    """Return each field of a node with its default (a value equal to nothing if it has none) and its type."""
    return tuple(
        (f.name, object() if f.default is MISSING else f.default, _hints(NodeRecord)[f.name])
        for f in fields(NodeRecord)
    )


def _finite(value: Any, hint: Any) -> Any:
    """Return a field's value as strict JSON holds it; nodes are left to the caller."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None if NoneType in get_args(hint) else 0.0
    if value is None or isinstance(value, str | int):
        return value
    return _finite_json(value) if hint is Any or hint not in _NO_FLOATS else value


_NO_FLOATS = (tuple[int, ...] | None, tuple[int, ...], tuple[NodeRecord, ...])


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
        bool: {bool},
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
def _tuple_fields(kind: type) -> frozenset[str]:
    """Return the names of fields that are tuples, which JSON holds as lists."""
    return frozenset(
        name
        for name, hint in _hints(kind).items()
        if any(get_origin(option) is tuple for option in (hint, *get_args(hint)))
    )


@cache
def _required(kind: type) -> frozenset[str]:
    return frozenset(
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    )


def _make(kind: type, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise RecordError(f"{where}: should be a JSON object, is {type(data).__name__}")
    hints, plain, tuples = _hints(kind), _plain_types(kind), _tuple_fields(kind)
    if unknown := data.keys() - hints.keys():
        raise RecordError(
            f"{where}: unknown field {min(unknown)!r}; known: {', '.join(sorted(hints))}"
        )
    if missing := _required(kind) - data.keys():
        raise RecordError(f"{where}: field {min(missing)!r} is missing")
    for name, value in data.items():
        if name in tuples and isinstance(value, list):
            value = data[name] = tuple(value)
        if type(value) not in plain[name] and not _fits(value, hints[name]):
            raise RecordError(f"{where}: field {name!r} should be {hints[name]}, is {value!r:.60}")
    return kind(**data)


def _fits(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if isinstance(hint, UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    origin = get_origin(hint)
    if origin is tuple:
        inner = get_args(hint)[0]
        plain = {float, NoneType} if isinstance(inner, UnionType) else {inner}
        return isinstance(value, tuple) and (
            set(map(type, value)) <= plain or all(_fits(item, inner) for item in value)
        )
    return isinstance(value, origin or hint)


def _check_tree(record: EpisodeRecord, where: str) -> None:
    for i, node in enumerate(record.nodes):
        if not -1 <= node.parent < max(i, 0) or (node.parent == -1) != (i == 0):
            raise RecordError(
                f"{where}: node {i} has parent {node.parent}, but parents precede their children"
            )
        if node.token_log_probs is not None and len(node.token_log_probs) != len(
            node.token_ids or ()
        ):
            raise RecordError(
                f"{where}: node {i} has {len(node.token_log_probs)} token_log_probs for "
                f"{len(node.token_ids or ())} token_ids"
            )
    for step in record.path:
        if not 0 <= step < len(record.nodes):
            raise RecordError(f"{where}: path names node {step} of {len(record.nodes)}")

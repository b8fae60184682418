"""Run folders to training data on disk: Parquet or JSONL that `datasets.load_dataset` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from stepgym.plugins.errors import UserError
from stepgym.records.rows import Row, rows
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import ExportFormat

SUFFIXES = (".parquet", ".jsonl")
_ROWS_PER_GROUP = 2000

# What makes two rows the same example, whichever episode they came from; formats that are not listed keep all.
_IDENTITY = {
    ExportFormat.SFT: ("prompt", "completion"),
    ExportFormat.PREFERENCE: ("prompt", "chosen", "rejected"),
    ExportFormat.STEPS: ("prompt", "completions", "labels"),
    ExportFormat.OPENRLHF: ("input", "label"),
    ExportFormat.VERL: ("prompt", "reward_model"),
}


def export(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: ExportFormat = ExportFormat.SFT,
    dedup: bool = True,
    learn_reasoning: bool = True,
) -> int:
    """Write the rows of all `runs` to `out` (`.parquet` or `.jsonl`) and return how many there are.

    The file appears when it is whole. A half surrogate in a model's text, which no other reader takes, becomes `?`.
    """
    target = Path(out)
    if target.suffix not in SUFFIXES:
        raise UserError(
            f"cannot tell the format of {str(out)!r}: the name should end in {' or '.join(SUFFIXES)}"
        )
    every = (
        row
        for run in runs
        for record in read_episodes(run)
        for row in rows(record, kind, learn_reasoning=learn_reasoning)
    )
    wanted = map(_utf8, _distinct(every, _IDENTITY[kind]) if dedup and kind in _IDENTITY else every)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    try:
        write = _write_parquet if target.suffix == ".parquet" else _write_jsonl
        count = write(wanted, draft, kind)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _distinct(every: Iterable[Row], names: Sequence[str]) -> Iterator[Row]:
    seen: set[bytes] = set()
    for row in every:
        identity = json.dumps([row[name] for name in names], sort_keys=True)
        key = hashlib.blake2b(identity.encode("ascii"), digest_size=16).digest()
        if key not in seen:
            seen.add(key)
            yield row


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _utf8(inner) for name, inner in value.items()}
    return [_utf8(inner) for inner in value] if isinstance(value, list) else value


def _write_jsonl(every: Iterable[Row], target: Path, kind: ExportFormat) -> int:
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for row in every:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(every: Iterable[Row], target: Path, kind: ExportFormat) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(kind)
    count = 0
    stream = iter(every)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        while group := list(islice(stream, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _schema(kind: ExportFormat) -> Any:
    """Return the Arrow schema, said once here so that an empty or all-null column has its type all the same."""
    import pyarrow as pa

    text, whole, real, yes = pa.string(), pa.int64(), pa.float64(), pa.bool_()
    span = pa.struct([("start", whole), ("end", whole), ("kind", text), ("learn", yes)])
    problem = [("env_id", text), ("problem_id", text), ("level", whole)]
    columns: dict[ExportFormat, list[tuple[str, Any]]] = {
        ExportFormat.SFT: [
            *problem,
            *[
                ("prompt", text),
                ("completion", text),
                ("spans", pa.list_(span)),
                ("answer", text),
                ("selected", yes),
            ],
        ],
        ExportFormat.PREFERENCE: [
            *problem,
            *[("prompt", text), ("chosen", text), ("rejected", text), ("num_shared_steps", whole)],
        ],
        ExportFormat.STEPS: [
            *problem,
            *[("prompt", text), ("completions", pa.list_(text)), ("replies", pa.list_(text))],
            *[("labels", pa.list_(yes)), ("values", pa.list_(real)), ("correct", yes)],
        ],
        ExportFormat.TREE: [
            *problem,
            *[
                ("node", whole),
                ("parent", whole),
                ("depth", whole),
                ("prompt", text),
                ("text", text),
                ("reply", text),
            ],
            *[
                ("log_prob", real),
                ("num_tokens", whole),
                ("prior", real),
                ("score", real),
                ("visits", whole),
            ],
            *[
                ("value", real),
                ("status", text),
                ("answer", text),
                ("verdict", text),
                ("selected", yes),
            ],
        ],
        ExportFormat.VERL: [
            ("data_source", text),
            ("prompt", pa.list_(pa.struct([("role", text), ("content", text)]))),
            ("ability", text),
            ("reward_model", pa.struct([("style", text), ("ground_truth", text)])),
            (
                "extra_info",
                pa.struct(
                    [("index", whole), ("level", whole), ("problem_id", text), ("verdict", text)]
                ),
            ),
        ],
        ExportFormat.OPENRLHF: [("input", text), ("label", pa.list_(text))],
    }
    return pa.schema(columns[kind])

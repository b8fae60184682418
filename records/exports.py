"""Run folders to training data on disk: Parquet or JSONL that `datasets.load_dataset` reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.policies.layout import Layout
from stepgym.agents.policies.loading import load_tokenizer
from stepgym.agents.types import EpisodeRecord
from stepgym.records.rollouts import mean_rewards
from stepgym.records.rows import nodes, preference, problems, sft, steps, tokens
from stepgym.records.rows.options import Columns, Row, RowOptions
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import Advantage, ExportFormat, TextLayout

SUFFIXES = (".parquet", ".jsonl")
_ROWS_PER_GROUP = 2000


class Family(NamedTuple):
    """What makes the rows of a format."""

    rows: Callable[[EpisodeRecord, RowOptions], Iterator[Row]]
    columns: Columns
    identity: Sequence[str] = ()
    """Columns in which equal rows are one example, whichever episode they came from; none keeps all rows."""


def family(kind: ExportFormat, layout: TextLayout) -> Family:
    """Return what makes the rows of a format in a layout; raises `ValueError` if they do not go together."""
    match kind:
        case ExportFormat.SFT:
            return Family(sft.rows, sft.COLUMNS[layout], sft.IDENTITY[layout])
        case ExportFormat.PREFERENCE:
            if layout is TextLayout.TOKENS:
                raise ValueError("preferences are text; choose layout chat or plain")
            return Family(preference.rows, preference.COLUMNS[layout], preference.IDENTITY)
        case ExportFormat.STEPS:
            return Family(steps.rows, steps.COLUMNS, steps.IDENTITY)
        case ExportFormat.OPENRLHF:
            return Family(steps.openrlhf_rows, steps.OPENRLHF_COLUMNS, steps.OPENRLHF_IDENTITY)
        case ExportFormat.TOKENS:
            return Family(tokens.rows, tokens.COLUMNS)
        case ExportFormat.TREE:
            return Family(nodes.rows, nodes.COLUMNS)
        case ExportFormat.VERL:
            return Family(problems.verl_rows, problems.VERL_COLUMNS, problems.VERL_IDENTITY)


def export(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    kind: ExportFormat = ExportFormat.SFT,
    layout: TextLayout = TextLayout.CHAT,
    model: str | None = None,
    retokenise: bool = False,
    advantages: Advantage = Advantage.GROUP,
    dedup: bool = True,
    learn_reasoning: bool = True,
) -> int:
    """Write the rows of all `runs` to `out` (`.parquet` or `.jsonl`) and return how many there are.

    `model` (`hf:NAME_OR_FOLDER`, `smollm2`) names the tokenizer for token rows; recorded tokens need none. The file
    appears when it is whole. A half surrogate in a model's text, which no other reader takes, becomes `?`.
    """
    target = Path(out)
    if target.suffix not in SUFFIXES:
        raise ValueError(
            f"cannot tell the format of {str(out)!r}: the name should end in {' or '.join(SUFFIXES)}"
        )
    made = family(kind, layout)
    is_grouped = kind is ExportFormat.TOKENS and advantages is Advantage.GROUP
    options = RowOptions(
        layout=layout,
        tokens=None if model is None else Layout(load_tokenizer(model)),
        retokenise=retokenise,
        learn_reasoning=learn_reasoning,
        advantages=advantages,
        mean_rewards=mean_rewards(_episodes(runs)) if is_grouped else {},
    )
    every = (row for record in _episodes(runs) for row in made.rows(record, options))
    wanted = map(_utf8, _distinct(every, made.identity) if dedup and made.identity else every)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.draft")
    try:
        write = _write_parquet if target.suffix == ".parquet" else _write_jsonl
        count = write(wanted, draft, made.columns)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return count


def _episodes(runs: Sequence[str | Path]) -> Iterator[EpisodeRecord]:
    for run in runs:
        yield from read_episodes(run)


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


def _write_jsonl(every: Iterable[Row], target: Path, columns: Columns) -> int:
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for row in every:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def _write_parquet(every: Iterable[Row], target: Path, columns: Columns) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # With an explicit schema, an empty or all-null column has its type too.
    schema = pa.schema([(name, _arrow(kind)) for name, kind in columns.items()])
    count = 0
    stream = iter(every)
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        while group := list(islice(stream, _ROWS_PER_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _arrow(kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()])
    return {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}[kind]

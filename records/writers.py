"""Row files: Parquet or JSONL, written row by row, that appear when they are whole.

A row in memory is one row group at most, so that files larger than memory are written.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepgym.plugins.errors import UserError
from stepgym.records.atomic import make_room
from stepgym.records.rows.options import Columns, Row

SUFFIXES = (".parquet", ".jsonl")
_ROWS_PER_GROUP = 2000


class OutputError(UserError):
    """A path to which these rows cannot be written; the message names it and the reason."""


def check_output(path: Path, columns: Columns | None) -> None:
    """Raise `OutputError` or `OSError` if these rows cannot be written there. Makes the file's folder."""
    if path.suffix not in SUFFIXES:
        raise OutputError(
            f"cannot tell the format of {str(path)!r}: the name should end in {' or '.join(SUFFIXES)}"
        )
    if columns is None and path.suffix != ".jsonl":
        raise OutputError(
            f"{path}: this format has no fixed columns; write {path.with_suffix('.jsonl')}"
        )
    make_room(path)


class RowFile:
    """A row file being written; as a context, it takes its name when the block ends without an error.

    Its permissions follow the umask. After an error of the disk, an earlier file is as it was.
    """

    def __init__(self, path: Path, columns: Columns | None) -> None:
        self.path = path
        self.count = 0
        self._draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
        self._writer = (
            _Jsonl(self._draft)
            if path.suffix == ".jsonl" or columns is None
            else _Parquet(self._draft, columns)
        )

    def add(self, row: Row) -> None:
        """Write a row. A half surrogate in a model's text, which no other reader takes, becomes `?`."""
        self._writer.add(_utf8(row))
        self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._writer.close()
            if kind is None:
                self._draft.replace(self.path)
        except OSError:
            if kind is None:
                raise
        finally:
            self._draft.unlink(missing_ok=True)


class _Jsonl:
    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="\n")

    def add(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def close(self) -> None:
        self._file.close()


class _Parquet:
    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        # With an explicit schema, an empty or all-null column has its type too.
        self._columns = columns
        self._schema = pa.schema([(name, _arrow(kind)) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")
        self._group: list[Row] = []

    def add(self, row: Row) -> None:
        if missing := _without_column(row, self._columns):
            raise OutputError(
                f"a row has {missing!r}, for which the Parquet file has no column (messages with tool calls do); "
                "write a .jsonl file"
            )
        self._group.append(row)
        if len(self._group) >= _ROWS_PER_GROUP:
            self._flush()

    def close(self) -> None:
        try:
            self._flush()
        finally:
            self._writer.close()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
            self._group = []


def _without_column(value: Any, kind: Any) -> str:
    """Return the first name in a row that is no column; empty if all are."""
    if isinstance(kind, dict) and isinstance(value, dict):
        for name, inner in value.items():
            if found := name if name not in kind else _without_column(inner, kind[name]):
                return found
    elif isinstance(kind, list) and isinstance(kind[0], dict) and isinstance(value, list):
        for inner in value:
            if found := _without_column(inner, kind[0]):
                return found
    return ""


def _utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {name: _utf8(inner) for name, inner in value.items()}
    return [_utf8(inner) for inner in value] if isinstance(value, list) else value


def _arrow(kind: Any) -> Any:
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()])
    return {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}[kind]

"""Rows of data files: JSONL, JSON, Parquet and CSV, plain or compressed with gzip or Zstandard.

The format is recognised by content, CSV by its name (`.csv`, `.tsv`); its first row names the columns, and all values are
text. Text is UTF-8, or UTF-16 with a byte order mark. An error names file, line and column. A row in error does not spoil the
others: `usable_rows` leaves it out and lists it. Files are read whole; a million rows is the size in mind.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name

GZIP, ZSTANDARD, PARQUET = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
ROW_ERRORS = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What code that reads a row raises if the row is not of the form that it expects."""
LISTS = ("data", "rows", "examples", "train", "test")
"""Keys under which a JSON object may hold its rows."""
SHOWN = 5
"""Rows in error that a warning quotes."""
T = TypeVar("T")


class DataFileError(UserError):
    """A data file that cannot be used; the message names file, line, column and the way out."""


@dataclass(frozen=True)
class Row:
    """One row of a data file and its position."""

    path: Path
    line: int
    """Counted from 1: of a JSON file the line, of a Parquet file the row."""
    data: dict[str, Any]
    fault: DataFileError | None = None
    """Why the row could not be read; `data` is empty then."""

    def value(self, column: str) -> Any:
        """Return what a column holds. `a.b` is the entry `b` of the object in column `a`. Raises `DataFileError`."""
        if self.fault is not None:
            raise self.fault
        if column in self.data:
            return self.data[column]
        outer, _, inner = column.partition(".")
        nested = self.data.get(outer)
        if isinstance(nested, dict) and inner in nested:
            return nested[inner]
        raise self.error(f"no column {column!r}; its columns: {', '.join(self.data) or 'none'}")

    def text(self, column: str) -> str:
        """Return a column's text; numbers are written out, and of a chat the last user message counts.

        Raises `DataFileError` for anything else.
        """
        value = _last_user_message(self.value(column))
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        if not isinstance(value, str):
            raise self.error(
                f"column {column!r} is {type(value).__name__} {repr(value)[:60]}; it must be text or a number"
            )
        if not value.strip():
            raise self.error(f"column {column!r} is empty; fill it or leave the row out")
        return value

    def json(self, column: str) -> Any:
        """Return a column's data, read as JSON if the column is text. Raises `DataFileError`."""
        value = self.data.get(column)
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value)
        except ValueError as error:
            raise self.error(f"column {column!r} is no JSON: {error}") from error

    def error(self, message: str) -> DataFileError:
        return DataFileError(f"{self.path}, line {self.line}: {message}")


def read_rows(path: str | Path) -> list[Row]:
    """Read a data file; at least one row. A line of JSONL that is no object is a row with a `fault`.

    Raises `DataFileError`.
    """
    file = Path(path)
    if not file.is_file():
        raise DataFileError(
            f"{file}: no such file; give the path of a JSONL, JSON, Parquet or CSV file, plain, .gz or .zst"
        )
    data = _utf_8(_decompressed(file))
    separators = {".csv": ",", ".tsv": "\t"}
    if data.startswith(PARQUET):
        rows = _parquet_rows(file, data)
    elif separator := next(
        (separators[end] for end in file.suffixes[-2:] if end in separators), None
    ):
        rows = _csv_rows(file, data, separator)
    else:
        rows = _json_rows(file, data)
    if not rows:
        raise DataFileError(f"{file}, line 1: the file is empty; it needs at least one row")
    return rows


def usable_rows(
    rows: Sequence[Row], make: Callable[[Row, int], T]
) -> tuple[list[T], tuple[str, ...]]:
    """Make an item of each row with `make(row, index)`, where the index counts the items.

    Rows in error are left out; their errors are returned and a warning quotes the first of them. An exception of
    `ROW_ERRORS` in `make` is an error of the row. Raises the first error if no row is left.
    """
    items: list[T] = []
    faults: list[DataFileError] = []
    for row in rows:
        try:
            if row.fault is not None:
                raise row.fault
            items.append(make(row, len(items)))
        except DataFileError as error:
            faults.append(error)
        except ROW_ERRORS as error:
            faults.append(row.error(f"not a row of this form ({type(error).__name__}: {error})"))
    if faults and not items:
        raise faults[0]
    if faults:
        more = f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        shown = "; ".join(map(str, faults[:SHOWN]))
        warnings.warn(
            f"{len(faults)} of {len(rows)} rows are left out: {shown}{more}", stacklevel=3
        )
    return items, tuple(map(str, faults))


def find_column(
    row: Row, given: str | None, known: Sequence[str], role: str, *, taken: str | None = None
) -> str:
    """Return the column for a role: the given one, or the first known name that the row has, in any case."""
    if row.fault is not None:
        raise row.fault
    if given is not None:
        if given not in row.data and given.partition(".")[0] not in row.data:
            fault = unknown_name(f"{role} column", given, row.data, dotted=False)
            raise row.error(str(fault))
        return given
    names = {name.lower(): name for name in row.data}
    for column in known:
        outer, _, inner = column.partition(".")
        found = names.get(outer)
        if found is None or found == taken or (inner and inner not in (row.data[found] or ())):
            continue
        return f"{found}.{inner}" if inner else found
    raise row.error(
        f"no {role} column: looked for {', '.join(known)}; found {', '.join(row.data) or 'none'}; "
        f"name it with {role}=COLUMN"
    )


def first_columns(rows: Sequence[Row], find: Callable[[Row], T]) -> T:
    """Return what `find` makes of the first row that it accepts. Raises the first row's error if it accepts none."""
    fault: DataFileError | None = None
    for row in rows:
        try:
            return find(row)
        except DataFileError as error:
            fault = fault or error
    assert fault is not None, "a file has at least one row"
    raise fault


def _last_user_message(value: Any) -> Any:
    """Return the text of the last user message if the value is a chat, otherwise the value."""
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        return value
    texts = [each.get("content") for each in value if each.get("role") == "user"]
    return texts[-1] if texts else value


def _decompressed(file: Path) -> bytes:
    data = file.read_bytes()
    try:
        if data.startswith(GZIP):
            return gzip.decompress(data)
        if data.startswith(ZSTANDARD):
            return _zstandard(file, data)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataFileError(f"{file}: the compressed file is broken: {error}") from error
    return data


def _utf_8(data: bytes) -> bytes:
    """Return text without its byte order mark, as UTF-8; anything else is not changed."""
    if data.startswith(UTF_16):
        data = data.decode("utf-16", "replace").encode("utf-8")
    return data.removeprefix(codecs.BOM_UTF8)


def _zstandard(file: Path, data: bytes) -> bytes:
    try:
        import pyarrow
    except ImportError:
        raise DataFileError(
            f"{file} is compressed with Zstandard, which needs pyarrow: pip install pyarrow"
        ) from None
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        return bytes(stream.read())


def _parquet_rows(file: Path, data: bytes) -> list[Row]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise DataFileError(
            f"{file} is a Parquet file, which needs pyarrow: pip install pyarrow"
        ) from None
    try:
        table = parquet.read_table(pyarrow.BufferReader(data))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataFileError(f"{file}: not a readable Parquet file: {error}") from error
    kinds = {field.name: field.type for field in table.schema}
    return [
        Row(file, number, without_nulls(row, kinds))
        for number, row in enumerate(table.to_pylist(), start=1)
    ]


def without_nulls(row: dict[str, Any], kinds: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return a row of a table as the row of a JSONL file would be.

    A table gives the objects of a column the keys of all rows, null where a row has no such key; these are left out. A
    map, which is a list of pairs, becomes an object; an empty one only if `kinds`, the Arrow types of the columns, says that
    it is a map. Nulls in lists and whole columns that are null stay.
    """
    return {column: _as_json(value, (kinds or {}).get(column)) for column, value in row.items()}


def _as_json(value: Any, kind: Any) -> Any:
    """Return a value as JSON has it; `kind` is its Arrow type, `None` if that is not known."""
    item_kind = getattr(kind, "item_type", None)  # only the type of a map has one
    if isinstance(value, list) and (item_kind is not None or _are_pairs(value)):
        pairs = dict(value).items()
        return {key: _as_json(inner, item_kind) for key, inner in pairs if inner is not None}
    if isinstance(value, dict):
        is_struct = hasattr(kind, "get_field_index")
        return {
            key: _as_json(inner, kind.field(key).type if is_struct else None)
            for key, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_as_json(inner, getattr(kind, "value_type", None)) for inner in value]
    return value


def _are_pairs(items: list[Any]) -> bool:
    return bool(items) and all(isinstance(item, tuple) for item in items)


def _csv_rows(file: Path, data: bytes, separator: str) -> list[Row]:
    csv.field_size_limit(max(len(data), csv.field_size_limit()))  # tests of code exceed 128 KiB
    reader = csv.reader(
        io.StringIO(_text(file, data), newline=""), delimiter=separator, strict=True
    )
    rows: list[Row] = []
    try:
        names = next(reader, [])
        while True:
            line = reader.line_num + 1
            cells = next(reader, None)
            if cells is None:
                return rows
            if len(cells) == len(names):
                rows.append(Row(file, line, dict(zip(names, cells))))
            elif cells:
                fault = f"{len(cells)} cells under {len(names)} column names; quote cells that hold the separator"
                rows.append(Row(file, line, {}, DataFileError(f"{file}, line {line}: {fault}")))
    except csv.Error as error:
        raise DataFileError(f"{file}, line {reader.line_num}: broken CSV: {error}") from error


def _json_rows(file: Path, data: bytes) -> list[Row]:
    lines = [(number, line) for number, line in enumerate(_lines(file, data), 1) if line.strip()]
    text = "\n".join(line for _, line in lines)
    unread = [line.fault for _, line in lines if isinstance(line, _Unread)]
    if len(unread) == len(lines) and unread:
        raise unread[0]
    if text.startswith("[") and not (len(lines) > 1 and _is_json(lines[0][1])):
        if unread:
            raise unread[0]
        return _array_rows(file, data.decode("utf-8"))
    if len(lines) > 1 and not _is_object(lines[0][1]) and _is_object(text):
        rows = _rows_in(file, json.loads(text))
        if not rows:
            raise DataFileError(f"{file}, line 1: the object holds no rows; give a list of objects")
        return rows
    rows = [_row(file, number, line) for number, line in lines]
    return (_rows_in(file, rows[0].data) or rows) if len(rows) == 1 else rows


class _Unread(str):
    """A line that is not UTF-8, with what could be read of it."""

    fault: DataFileError


def _lines(file: Path, data: bytes) -> Iterator[str]:
    """Yield the lines of a file; one that is not UTF-8 is an `_Unread`."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            unread = _Unread(line.decode("utf-8", "replace"))
            unread.fault = DataFileError(
                f"{file}, line {number}, byte {error.start + 1}: not UTF-8 ({error.reason}); save the file as UTF-8"
            )
            yield unread


def _text(file: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - data.rfind(b"\n", 0, error.start)
        raise DataFileError(
            f"{file}, line {line}, byte {byte}: not UTF-8 ({error.reason}); save the file as UTF-8"
        ) from error


def _row(file: Path, line: int, text: str) -> Row:
    if isinstance(text, _Unread):
        return Row(file, line, {}, text.fault)
    try:
        return Row(file, line, _object(file, line, text))
    except DataFileError as error:
        return Row(file, line, {}, error)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _object(file: Path, line: int, text: str) -> dict[str, Any]:
    try:
        return _checked(file, line, json.loads(text), text)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        raise _broken(file, error, line, text) from error


def _checked(file: Path, line: int, value: Any, text: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise DataFileError(
            f"{file}, line {line}: found {type(value).__name__}, not an object: {text[:60]!r}; "
            "each row must be one JSON object"
        )
    return value


def _checked_row(file: Path, line: int, value: Any, shown: str) -> Row:
    """Return a row; it has a fault if the value is no object."""
    try:
        return Row(file, line, _checked(file, line, value, shown))
    except DataFileError as error:
        return Row(file, line, {}, error)


def _broken(file: Path, error: Exception, line: int, text: str) -> DataFileError:
    """Return the error for a row that is not JSON; `line` is the first line of the row."""
    column, fault = 1, "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        line, column, fault = line + error.lineno - 1, error.colno, error.msg
    elif isinstance(error, ValueError):  # an integer of more digits than Python reads
        return DataFileError(f"{file}, line {line}: {error}; write it as text")
    if text.startswith("version https://git-lfs"):
        fault = "a Git LFS pointer in place of the file; run git lfs pull"
    return DataFileError(
        f"{file}, line {line}, column {column}: broken JSON ({fault}): {text[:60]!r}; "
        "each row must be one JSON object"
    )


def _array_rows(file: Path, text: str) -> list[Row]:
    """Read the objects of a JSON array, each with the line on which it begins."""
    decoder = json.JSONDecoder()
    rows: list[Row] = []
    place, line, counted = text.index("[") + 1, 1, 0
    while True:
        place = _skip(text, place, " \t\r\n,")
        line += text.count("\n", counted, place)
        counted = place
        if place >= len(text):
            fault = DataFileError(f"{file}, line {line}: the array is not closed")
            return [*rows, Row(file, line, {}, fault)]
        if text[place] == "]":
            return rows
        begin = place
        shown = text[begin : begin + 60]
        try:
            data, place = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:  # where the next row begins is not known
            at = 1 if isinstance(error, json.JSONDecodeError) else line
            return [*rows, Row(file, line, {}, _broken(file, error, at, shown))]
        rows.append(_checked_row(file, line, data, shown))


def _skip(text: str, place: int, blanks: str) -> int:
    while place < len(text) and text[place] in blanks:
        place += 1
    return place


def _rows_in(file: Path, data: dict[str, Any]) -> list[Row]:
    """Return the rows that one object holds, under a known key or by name; none if it is a row itself."""
    for key in LISTS:
        found = data.get(key)
        if isinstance(found, list) and any(isinstance(row, dict) for row in found):
            return [
                _checked_row(file, number, row, repr(row)[:60])
                for number, row in enumerate(found, start=1)
            ]
    if len(data) > 1 and all(isinstance(row, dict) for row in data.values()):
        return [
            Row(file, number, {"id": name, **row})
            for number, (name, row) in enumerate(data.items(), start=1)
        ]
    return []

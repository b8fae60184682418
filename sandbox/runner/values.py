"""Standard types that cross by value between a candidate and its tester, and how each is taken apart and remade.

Both sides import a type's module only when a value of it arrives. Covered: numbers, dates, paths, containers of
`collections`, `array`, numpy's scalars and arrays, pandas' tables. Not covered (they cross as handles): arrays with
named fields, masked arrays, dates with a time zone class of the program's own, pandas' less common types.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

DTYPE = re.compile(r"[<>|=]?(?:[?bBSUVifcumM]\d*)(?:\[\d*[a-zA-Z]+\])?")
"""Texts that are safe to hand to `numpy.dtype`: one plain type, no fields and no Python objects."""
MAX_ARRAY_BYTES = 64 << 20
VIEWS: dict[type, str] = {
    type({}.keys()): "keys",
    type({}.values()): "values",
    type({}.items()): "items",
}


class MissingPackageError(Exception):
    """A value needs a package that this side does not have; the message is the package's name."""


class ByParts(NamedTuple):
    """An immutable type: its constructor arguments out of a value (`None`: it crosses as a handle), and the way back."""

    parts: Callable[[Any], tuple[Any, ...] | None]
    make: Callable[..., Any]
    """Takes the type, then the parts."""


class ByFilling(NamedTuple):
    """A mutable container: an empty one is made first, so that both sides can number it, and then filled."""

    header: Callable[[Any], tuple[Any, ...] | None]
    items: Callable[[Any], Any]
    make: Callable[..., Any]
    """Takes the type, then the header."""
    fill: Callable[[Any, Any], None]


def _construct(kind: type, *parts: Any) -> Any:
    return kind(*parts)


def _as_text(value: Any) -> tuple[Any, ...]:
    return (str(value),)


def _standard_zone(zone: Any) -> bool:
    return zone is None or name_of(type(zone)) in ("datetime.timezone", "zoneinfo.ZoneInfo")


def _datetime_parts(value: Any) -> tuple[Any, ...] | None:
    if not _standard_zone(value.tzinfo):
        return None
    day = (value.year, value.month, value.day)
    return (
        *day,
        value.hour,
        value.minute,
        value.second,
        value.microsecond,
        value.tzinfo,
        value.fold,
    )


def _time_parts(value: Any) -> tuple[Any, ...] | None:
    if not _standard_zone(value.tzinfo):
        return None
    return (value.hour, value.minute, value.second, value.microsecond, value.tzinfo, value.fold)


def _with_fold(kind: Any, *parts: Any) -> Any:
    return kind(*parts[:-1], fold=parts[-1])


def _timezone_parts(value: Any) -> tuple[Any, ...]:
    offset = value.utcoffset(None)
    plain_name = type(value)(offset).tzname(None)
    return (offset,) if value.tzname(None) == plain_name else (offset, value.tzname(None))


def _zone_parts(value: Any) -> tuple[Any, ...] | None:
    return None if value.key is None else (value.key,)


def _pairs(table: Any) -> list[Any]:
    return [part for pair in dict.items(table) for part in pair]


def _fill_pairs(table: Any, parts: list[Any]) -> None:
    dict.update(table, zip(parts[::2], parts[1::2], strict=True))


def _fill_ordered(table: Any, parts: list[Any]) -> None:
    for key, value in zip(parts[::2], parts[1::2], strict=True):
        table[key] = value


def _fill_array(made: Any, parts: list[Any]) -> None:
    made.frombytes(_bytes(parts))


def _bytes(parts: list[Any]) -> bytes:
    (data,) = parts
    if type(data) is not bytes:
        raise ValueError("an array whose contents are no bytes")
    return data


def numpy_dtype(text: Any) -> Any:
    """Return the numpy type of this name; raises `ValueError` for what is no plain type."""
    if type(text) is not str or not DTYPE.fullmatch(text):
        raise ValueError(f"no plain numpy type: {text!r:.40}")
    return load("numpy").dtype(text)


def _plain_dtype(dtype: Any) -> bool:
    return dtype.fields is None and dtype.subdtype is None and bool(DTYPE.fullmatch(dtype.str))


def _scalar_parts(value: Any) -> tuple[Any, ...] | None:
    if not _plain_dtype(value.dtype):
        return None
    return (value.dtype.str, value.tobytes())


def _make_scalar(_: Any, dtype: Any, data: Any) -> Any:
    return load("numpy").frombuffer(_bytes([data]), dtype=numpy_dtype(dtype))[0]


def _ndarray_header(value: Any) -> tuple[Any, ...] | None:
    if value.dtype.str == "|O":
        return ("|O", list(value.shape))
    return (value.dtype.str, list(value.shape)) if _plain_dtype(value.dtype) else None


def _ndarray_items(value: Any) -> list[Any]:
    return list(value.flat) if value.dtype.str == "|O" else [value.tobytes()]


def _make_ndarray(_: Any, dtype: Any, shape: Any) -> Any:
    numpy = load("numpy")
    kind = numpy.dtype(object) if dtype == "|O" else numpy_dtype(dtype)
    size = kind.itemsize
    for length in shape:
        size *= max(1, length)
    if size > MAX_ARRAY_BYTES:
        raise ValueError(f"an array of {size} bytes is too large to cross")
    return numpy.zeros(tuple(shape), dtype=kind)


def _fill_ndarray(made: Any, parts: list[Any]) -> None:
    if made.dtype.str == "|O":
        if len(parts) != made.size:
            raise ValueError("an array with too few or too many items")
        for place, item in enumerate(parts):
            made.flat[place] = item
        return
    made[...] = load("numpy").frombuffer(_bytes(parts), dtype=made.dtype).reshape(made.shape)


def _column_parts(values: Any) -> tuple[Any, ...]:
    """Return the type's name and the values of a pandas column or index, as a numpy array if it is one."""
    dtype = values.dtype
    if type(dtype).__module__.partition(".")[0] == "numpy" and (
        dtype.str == "|O" or _plain_dtype(dtype)
    ):
        return ("", values.to_numpy())
    if str(dtype) == "category":
        return ("category", list(values), list(dtype.categories), bool(dtype.ordered))
    return (str(dtype), [None if _is_missing(item) else item for item in values])


def _is_missing(item: Any) -> bool:
    return type(item).__name__ in ("NAType", "NaTType") or (type(item) is float and item != item)


def _column_type(name: Any, more: tuple[Any, ...]) -> Any:
    if name == "":
        return None
    if name == "category":
        return load("pandas").CategoricalDtype(more[0], ordered=more[1])
    if type(name) is not str or not re.fullmatch(r"[\w\[\], :/+-]{1,60}", name):
        raise ValueError(f"no plain pandas type: {name!r:.40}")
    return name


def _index_parts(value: Any) -> tuple[Any, ...]:
    return (value.name, *_column_parts(value))


def _make_index(_: Any, name: Any, dtype: Any, values: Any, *more: Any) -> Any:
    return load("pandas").Index(values, dtype=_column_type(dtype, more), name=name)


def _dates_parts(value: Any) -> tuple[Any, ...]:
    return (*_index_parts(value), value.freqstr)


def _make_dates(_: Any, name: Any, dtype: Any, values: Any, freq: Any) -> Any:
    made = _make_index(None, name, dtype, values)
    if freq is not None:
        made.freq = freq
    return made


def _make_series(_: Any, index: Any, name: Any, dtype: Any, values: Any, *more: Any) -> Any:
    pandas = load("pandas")
    return pandas.Series(values, index=index, name=name, dtype=_column_type(dtype, more))


def _frame_parts(value: Any) -> tuple[Any, ...]:
    columns = [list(_column_parts(value.iloc[:, i])) for i in range(value.shape[1])]
    return (value.index, value.columns, columns)


def _make_frame(_: Any, index: Any, columns: Any, values: Any) -> Any:
    series = [_make_series(None, index, None, *parts) for parts in values]
    frame = load("pandas").DataFrame(dict(enumerate(series)), index=index)
    frame.columns = columns
    return frame


def _make_timestamp(_: Any, text: Any, zone: Any) -> Any:
    stamp = load("pandas").Timestamp(text)
    return stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone)


def _timestamp_parts(value: Any) -> tuple[Any, ...] | None:
    if value.tzinfo is None:
        return (value.isoformat(), None)
    if not _standard_zone(value.tzinfo):
        return None
    return (value.tz_convert("UTC").tz_localize(None).isoformat(), value.tzinfo)


BY_PARTS: dict[str, ByParts] = {
    "decimal.Decimal": ByParts(_as_text, _construct),
    "uuid.UUID": ByParts(_as_text, _construct),
    "fractions.Fraction": ByParts(lambda v: (v.numerator, v.denominator), _construct),
    "datetime.date": ByParts(lambda v: (v.year, v.month, v.day), _construct),
    "datetime.timedelta": ByParts(lambda v: (v.days, v.seconds, v.microseconds), _construct),
    "datetime.time": ByParts(_time_parts, _with_fold),
    "datetime.datetime": ByParts(_datetime_parts, _with_fold),
    "datetime.timezone": ByParts(_timezone_parts, _construct),
    "zoneinfo.ZoneInfo": ByParts(_zone_parts, _construct),
    "pathlib.PosixPath": ByParts(_as_text, _construct),
    "pathlib.PurePosixPath": ByParts(_as_text, _construct),
    "pathlib.PureWindowsPath": ByParts(_as_text, _construct),
    "numpy.generic": ByParts(_scalar_parts, _make_scalar),
    "pandas.Timestamp": ByParts(_timestamp_parts, _make_timestamp),
    "pandas.Timedelta": ByParts(lambda v: (int(v.value),), _construct),
    "pandas.Index": ByParts(_index_parts, _make_index),
    "pandas.RangeIndex": ByParts(
        lambda v: (v.start, v.stop, v.step, v.name),
        lambda kind, start, stop, step, name: kind(start, stop, step, name=name),
    ),
    "pandas.DatetimeIndex": ByParts(_dates_parts, _make_dates),
    "pandas.MultiIndex": ByParts(
        lambda v: (list(v), list(v.names)),
        lambda kind, rows, names: kind.from_tuples(rows, names=names),
    ),
    "pandas.Series": ByParts(lambda v: (v.index, v.name, *_column_parts(v)), _make_series),
    "pandas.DataFrame": ByParts(_frame_parts, _make_frame),
}
BY_FILLING: dict[str, ByFilling] = {
    "collections.deque": ByFilling(
        lambda v: (v.maxlen,), list, lambda kind, size: kind(maxlen=size), lambda m, p: m.extend(p)
    ),
    "collections.Counter": ByFilling(lambda v: (), _pairs, _construct, _fill_pairs),
    "collections.OrderedDict": ByFilling(
        lambda v: (),
        lambda v: [part for pair in v.items() for part in pair],
        _construct,
        _fill_ordered,
    ),
    "collections.defaultdict": ByFilling(
        lambda v: (v.default_factory,), _pairs, _construct, _fill_pairs
    ),
    "array.array": ByFilling(
        lambda v: (v.typecode,), lambda v: [v.tobytes()], _construct, _fill_array
    ),
    "numpy.ndarray": ByFilling(_ndarray_header, _ndarray_items, _make_ndarray, _fill_ndarray),
}
MODULES = {name.rpartition(".")[2]: name.rpartition(".")[0] for name in [*BY_PARTS, *BY_FILLING]}
"""The module of each type by the type's short name."""


def name_of(kind: type) -> str | None:
    """Return the dotted name of a standard type; a class that only borrows the name is not one."""
    module = MODULES.get(kind.__name__)
    if module is not None and getattr(sys.modules.get(module), kind.__name__, None) is kind:
        return f"{module}.{kind.__name__}"
    numpy = sys.modules.get("numpy")
    if (
        numpy is not None
        and kind.__module__ == "numpy"
        and getattr(numpy, kind.__name__, None) is kind
        and issubclass(kind, numpy.generic)
    ):
        return "numpy.generic"
    return None


def load(module: str) -> Any:
    """Import a module that a value needs; raises `MissingPackageError`."""
    try:
        __import__(module)
    except ImportError:
        raise MissingPackageError(module) from None
    return sys.modules[module]


def kind_of(name: str) -> Any:
    """Return the type of a dotted name of the tables above."""
    module, _, short = name.rpartition(".")
    return getattr(load(module), short)


def refill(old: Any, new: Any) -> None:
    """Give a mutable container the contents of another of its type, in place; raises `ValueError` if it cannot hold them."""
    name = name_of(type(old))
    if isinstance(old, list | bytearray) or name == "array.array":
        old[:] = new
    elif name == "numpy.ndarray":
        if old.shape != new.shape or old.dtype != new.dtype:
            raise ValueError("an array changed its shape or type in place")
        old[...] = new
    elif name == "collections.deque":
        old.clear()
        old.extend(new)
    elif isinstance(old, dict):
        old.clear()
        if name == "collections.OrderedDict":
            old.update(new)
        else:
            dict.update(old, new)
    else:
        old.clear()
        old.update(new)


def snapshot(container: Any) -> Any:
    """Return the items of a container as they are now, for comparison by identity."""
    if isinstance(container, dict):
        return [part for pair in container.items() for part in pair]
    if name_of(type(container)) in ("array.array", "numpy.ndarray"):
        return (container.tobytes(),)
    return list(container)


def changed(before: Any, after: Any) -> bool:
    """Whether two snapshots differ; items by identity, the bytes of arrays by value."""
    if type(after) is tuple:
        return bool(before != after)
    return len(before) != len(after) or any(a is not b for a, b in zip(after, before))

"""Files of lines that are appended to: a writer that is killed costs at most the line that it was writing."""

from __future__ import annotations

import os
from pathlib import Path


def append_line(file: Path, line: str) -> None:
    """Append a line to a file, in place of a torn one; when this returns it is on the disk."""
    cut_torn_line(file)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def whole_lines(file: Path) -> list[bytes]:
    """Return the lines of a file, none if there is no file; a torn last line is left out."""
    lines = file.read_bytes().split(b"\n") if file.is_file() else [b""]
    return lines[:-1]


def cut_torn_line(file: Path) -> None:
    """Drop a last line without a line end: its writer was killed before the line was complete."""
    if not file.exists():
        return
    with file.open("r+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        keep = size
        while keep > 0:
            start = max(0, keep - 65536)
            stream.seek(start)
            newline = stream.read(keep - start).rfind(b"\n")
            if newline >= 0:
                keep = start + newline + 1
                break
            keep = start
        if keep < size:
            stream.truncate(keep)
            os.fsync(stream.fileno())

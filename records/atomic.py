"""Writing files so that a crash leaves no half-written one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a text file; a reader sees the old file or the new one, never a part."""
    draft = file.with_name(file.name + ".draft")
    try:
        with draft.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def make_room(file: Path) -> None:
    """Make the folder of a file that will be written after long work, and try to write there. Raises `OSError`."""
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder, not a file", str(file))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=file.parent):
        pass


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

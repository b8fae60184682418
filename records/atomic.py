"""Writing files so that a crash leaves no half-written one."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

from stepgym.records.types import RUN_FILES


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
    if file.name in RUN_FILES and (file.parent / "run.json").exists():
        message = "a run folder has its own file of that name; choose another"
        raise FileExistsError(errno.EEXIST, message, str(file))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        message = "a folder is needed here, and this is a file or lies in one"
        raise NotADirectoryError(errno.ENOTDIR, message, error.filename) from error
    with tempfile.TemporaryFile(dir=file.parent):
        pass

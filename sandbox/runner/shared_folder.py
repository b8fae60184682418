"""A folder that tests and candidate share: each side has a copy, and changes travel with questions and answers.

Only regular files and folders travel, by content. What a side had when sharing began is its own: it is neither sent
nor overwritten. Not covered: links, modes, times, and more than `MAX_FILES` files or `MAX_BYTES` bytes.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

MAX_FILES = 1000
MAX_BYTES = 4 << 20
"""The most that travels at a time; frames hold 32 MiB."""
REFUSED = (".pyc", ".pth", ".so")
"""Files from which an interpreter could run code by itself."""


class SharedFolder:
    """One side's copy, by relative path: `None` stands for a file that is gone, `True` for a folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.known = self._look()
        self.own = frozenset(self.known)

    def changes(self) -> dict[str, Any]:
        """Return what changed since the last call: contents of files, `True` for new folders, `None` for what is gone."""
        now = self._look()
        if now == self.known:
            return {}
        found: dict[str, Any] = {}
        size = 0
        for path, mark in now.items():
            if self.known.get(path) == mark or path in self.own:
                continue
            if mark is True:
                found[path] = True
                continue
            with contextlib.suppress(OSError), open(os.path.join(self.root, path), "rb") as stream:
                data = stream.read(MAX_BYTES + 1)
                size += len(data)
                if size <= MAX_BYTES:
                    found[path] = data
        for path in self.known:
            if path not in now and path not in self.own:
                found[path] = None
        self.known = now
        return found

    def apply(self, changes: dict[str, Any]) -> None:
        """Make the other side's changes here; raises `ValueError` for a path outside the folder."""
        for path, content in changes.items():
            if path in self.own or path.endswith(REFUSED):
                continue
            place = self._place(path)
            with contextlib.suppress(OSError):
                if content is None and os.path.isdir(place):
                    import shutil  # rarely needed, and slow to import

                    shutil.rmtree(place)
                elif content is None:
                    os.unlink(place)
                elif content is True:
                    os.makedirs(place, exist_ok=True)
                else:
                    os.makedirs(os.path.dirname(place), exist_ok=True)
                    with open(place, "wb") as stream:
                        stream.write(content)
        self.known = self._look()

    def _place(self, path: Any) -> str:
        parts = path.split("/") if type(path) is str else []
        if not parts or any(part in ("", ".", "..") for part in parts) or "\0" in path:
            raise ValueError(f"no path inside the shared folder: {path!r:.80}")
        place = self.root
        for part in parts:
            place = os.path.join(place, part)
            if os.path.islink(place):
                raise ValueError(f"a link in the shared folder: {path!r:.80}")
        return place

    def _look(self) -> dict[str, Any]:
        """Return size and time of each file, `True` for each folder."""
        found: dict[str, Any] = {}
        todo = [""]
        while todo and len(found) < MAX_FILES:
            folder = todo.pop()
            with (
                contextlib.suppress(OSError),
                os.scandir(os.path.join(self.root, folder)) as entries,
            ):
                for entry in entries:
                    path = os.path.join(folder, entry.name)
                    if entry.is_symlink():
                        continue
                    if entry.is_dir():
                        found[path] = True
                        todo.append(path)
                    elif entry.is_file():
                        status = entry.stat()
                        found[path] = (status.st_size, status.st_mtime_ns)
        return found

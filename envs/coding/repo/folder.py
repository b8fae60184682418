"""A task's folder as data, and the changes of an episode as the text of an answer.

An answer is JSON: `{"changes": {path: text, {"base64": ...} or null}}`, relative to the folder of the task; `null` removes
a file. Only regular files count. Links, modes and empty folders are not part of an answer.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

MAX_FILES = 1000
MAX_BYTES = 8 << 20
MAX_PATH = 200


class FolderError(ValueError):
    """Files that are no folder of a task; the message shows which."""


@dataclass(frozen=True, slots=True)
class Folder:
    """Files by relative path, sorted."""

    files: tuple[tuple[str, bytes], ...] = ()

    @property
    def contents(self) -> dict[str, bytes]:
        return dict(self.files)

    def changed_to(self, contents: Mapping[str, bytes]) -> dict[str, bytes | None]:
        """Return which files differ in `contents`; `None` for those that are gone."""
        own = self.contents
        changes: dict[str, bytes | None] = {
            path: data for path, data in contents.items() if own.get(path) != data
        }
        return changes | {path: None for path in own if path not in contents}

    def with_changes(self, changes: Mapping[str, bytes | None]) -> Folder:
        """Return the folder after changes."""
        contents: dict[str, bytes | None] = {**self.contents, **changes}
        return folder_of({path: data for path, data in contents.items() if data is not None})


def folder_of(contents: Mapping[str, bytes]) -> Folder:
    """Return a folder. Raises `FolderError` for too many files, too many bytes, or a path that is both file and folder."""
    size = sum(map(len, contents.values()))
    if len(contents) > MAX_FILES or size > MAX_BYTES:
        raise FolderError(
            f"{len(contents)} files with {size} bytes; a folder holds at most {MAX_FILES} files and {MAX_BYTES} bytes"
        )
    for path in contents:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in contents:
                raise FolderError(f"{'/'.join(parts[:depth])!r} is a file and a folder")
    return Folder(tuple(sorted(contents.items())))


def read_files(data: Any) -> dict[str, bytes | None]:
    """Read `{path: text, {"base64": ...} or null}`; some tables hold `[]` for no files. Raises `FolderError`."""
    if data == []:
        return {}
    if not isinstance(data, Mapping):
        raise FolderError(f"files are {data!r:.60}; they must be an object of paths and contents")
    return {checked_path(path): _content(path, value) for path, value in data.items()}


def checked_path(path: Any) -> str:
    """Return a relative path as it is. Raises `FolderError` for one that leaves the folder."""
    parts = path.split("/") if isinstance(path, str) else [""]
    outside = any(part in ("", ".", "..") for part in parts) or len(str(path)) > MAX_PATH
    if outside or not path.isprintable() or "\\" in path:
        raise FolderError(f"{path!r:.80} is no relative path with '/' between its parts")
    return str(path)


def _content(path: Any, value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, Mapping) and set(value) == {"base64"} and isinstance(value["base64"], str):
        try:
            return base64.b64decode(value["base64"], validate=True)
        except binascii.Error as error:
            raise FolderError(f"{path!r:.80}: broken base64 ({error})") from error
    raise FolderError(
        f'{path!r:.80} is {value!r:.60}; it must be text, {{"base64": text}} for bytes, or null'
    )


def write_files(contents: Mapping[str, bytes | None]) -> dict[str, Any]:
    """Return files as `read_files` reads them."""
    return {path: _shown(contents[path]) for path in sorted(contents)}


def _shown(data: bytes | None) -> Any:
    if data is None:
        return None
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode("ascii")}


def answer_of(changes: Mapping[str, bytes | None]) -> str:
    """Return changes as the text of an answer; equal changes give equal texts."""
    return json.dumps({"changes": write_files(changes)}, ensure_ascii=False)


def read_answer(text: str) -> dict[str, bytes | None]:
    """Read an answer. Raises `FolderError`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise FolderError(f"the answer is {text!r:.60}, not the changes of a folder") from None
    if not isinstance(data, dict) or set(data) != {"changes"}:
        raise FolderError(f"the answer is {text!r:.60}, not the changes of a folder")
    return read_files(data["changes"])


def protects(patterns: tuple[str, ...], path: str) -> bool:
    """Whether a path matches a pattern, lies in a folder that does, or is a file that steers test runs or interpreters."""
    parts = path.split("/")
    if parts[-1] in STEERING or path.endswith(".pth") or "__pycache__" in parts:
        return True
    heads = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
    return any(fnmatchcase(head, pattern.rstrip("/")) for head in heads for pattern in patterns)


STEERING = frozenset({"conftest.py", "sitecustomize.py", "usercustomize.py", "pytest.ini"})
"""Files that are always protected, at any depth."""

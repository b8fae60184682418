"""A run folder: `run.json` says what the run is, `episodes.jsonl` holds one line per finished episode.

Append-only, and each line is on the disk before the next episode counts, so that Ctrl-C, `kill -9` or a power cut
lose only what was in flight. One writer at a time; any number of readers, also while it is written. The lock is
the operating system's (`flock`): it goes with its process, so there is no stale lock to clear. Not covered:
network file systems on which `flock` does nothing.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepgym.agents.record import describe
from stepgym.agents.types import EpisodeRecord
from stepgym.records.schema import from_line, to_line
from stepgym.records.types import (
    RUN_FORMAT,
    RecordError,
    RunBusyError,
    RunConfig,
    RunMismatchError,
    RunSummary,
)


class RunFolder:
    """A run folder open for writing. Made where there is none; continued where the settings are the same."""

    def __init__(self, path: str | Path, config: RunConfig) -> None:
        """Raises `RunMismatchError` for a run with other settings, `RunBusyError` while another process writes."""
        self.path = Path(path)
        self.config = config
        if not (self.path / "run.json").exists() and not _is_free(self.path):
            raise RunMismatchError(f"{self.path} is neither empty nor a run folder; choose another")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(self.path)
        try:
            _check_or_write_config(self.path, config)
            cut_torn_line(self.path / "episodes.jsonl")
            self.done = {record.problem_id for record in read_episodes(self.path)}
            """Ids of the problems that have their episode."""
            self._file = os.open(
                self.path / "episodes.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644
            )
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, record: EpisodeRecord) -> None:
        """Write one finished episode; when this returns it is on the disk."""
        data = (to_line(record) + "\n").encode("ascii")
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        self.done.add(record.problem_id)

    def close(self) -> None:
        """Let the next writer in; a second call does nothing."""
        if self._lock >= 0:
            os.close(self._file)
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def read_config(path: str | Path) -> RunConfig:
    """Return what the run is; raises `RecordError` where there is no run."""
    file = Path(path) / "run.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(
            f"{path} is not a run folder (no run.json); `stepgym selfplay --out {path}` makes one"
        ) from None
    except ValueError as error:
        raise RecordError(f"{file}: not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("format") != RUN_FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise RecordError(
            f"{file}: run format {found!r}, but this stepgym reads format {RUN_FORMAT}"
        )
    try:
        return RunConfig(**data["config"])
    except (KeyError, TypeError) as error:
        raise RecordError(f"{file}: no usable 'config': {error}") from error


def read_episodes(path: str | Path) -> Iterator[EpisodeRecord]:
    """Yield the finished episodes in the order they were written.

    A last line without its end is an episode still being written, and is left out; any other broken line raises
    `RecordError` with file and line.
    """
    file = Path(path) / "episodes.jsonl"
    if not file.exists():
        read_config(path)
        return
    with file.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith("\n"):
                yield from_line(line, where=f"{file}:{number}")


def summarise(path: str | Path) -> RunSummary:
    """Count a run folder's episodes by verdict and add up what they cost."""
    config = read_config(path)
    verdicts: Counter[str] = Counter()
    usage: Counter[str] = Counter()
    nodes = 0
    for record in read_episodes(path):
        verdicts[record.verdict] += 1
        usage.update(record.usage)  # Counter adds floats as well
        nodes += len(record.nodes)
    episodes = verdicts.total()
    return RunSummary(
        run=str(path),
        episodes=episodes,
        verdicts=dict(verdicts.most_common()),
        solved=verdicts["correct"] / episodes if episodes else None,
        nodes=nodes,
        usage=dict(usage),
        env_id=config.env_id,
        agent=config.agent,
        policy=config.policy,
    )


def _is_free(path: Path) -> bool:
    """Say whether a run may begin here: in no folder yet, an empty one, or one whose writer was killed at once."""
    return not path.exists() or {each.name for each in path.iterdir()} <= {"lock", "run.draft"}


def _locked(path: Path) -> int:
    import fcntl

    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RunBusyError(
            f"another process is writing to {path}; wait for it, or choose another folder"
        ) from None
    return lock


def _check_or_write_config(path: Path, config: RunConfig) -> None:
    file = path / "run.json"
    plain = json.loads(json.dumps(describe(asdict(config))))
    if not file.exists():
        content = {"format": RUN_FORMAT, "config": plain, "versions": versions()}
        write_whole(file, json.dumps(content, indent=2) + "\n")
        return
    before = asdict(read_config(path))
    if before == plain:
        _warn_of_versions(path, json.loads(file.read_text(encoding="utf-8")).get("versions"))
        return
    names = [f.name for f in fields(RunConfig) if before[f.name] != plain[f.name]]
    shown = "; ".join(f"{name} was {before[name]!r}, is now {plain[name]!r}" for name in names)
    raise RunMismatchError(
        f"{path} holds a run with other settings: {shown}. Repeat those, or choose another folder"
    )


def _warn_of_versions(path: Path, before: Any) -> None:
    """Episodes of two versions in one run are allowed, but not behind the user's back."""
    now = versions()
    changed = [name for name in now if isinstance(before, dict) and before.get(name) != now[name]]
    if changed:
        shown = "; ".join(
            f"{name} was {before.get(name, 'missing')}, is now {now[name]}" for name in changed
        )
        warnings.warn(
            f"{path} was begun with other versions: {shown}. Its episodes may differ", stacklevel=4
        )


def versions() -> dict[str, str]:
    """Return the versions that decide what an episode looks like; of packages that are installed."""
    import platform

    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("stepgym", "torch", "transformers", "sympy", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def write_whole(file: Path, text: str) -> None:
    """All or nothing: a reader sees the old file or the new one."""
    draft = file.with_suffix(".draft")
    with draft.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def cut_torn_line(file: Path) -> None:
    """Drop the end of a line whose writer was killed: what it said counts as not done."""
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

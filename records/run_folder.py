"""A run folder: `run.json` describes the run, `episodes.jsonl` holds one line per finished episode,
`verdicts.jsonl` the verdicts that differ since the run was verified anew (`stepgym.records.reverify`).

Append-only. Each line is on the disk before its episode counts as done, so that Ctrl-C, `kill -9` or a power cut lose
only episodes in flight. One writer at a time; any number of readers, also while it is written. The lock is the
operating system's (`flock`): it ends with its process, so that no stale lock is left. Not covered: network file
systems on which `flock` does nothing.
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from stepgym.agents.description import describe
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Status
from stepgym.plugins.line_log import cut_torn_line
from stepgym.records.atomic import write_whole
from stepgym.records.kept_settings import differences
from stepgym.records.schema import from_line, heading_of, object_of, other_version, to_line
from stepgym.records.types import (
    RUN_FORMAT,
    VERDICTS_FILE,
    EpisodeKey,
    RecordError,
    RunBusyError,
    RunConfig,
    RunMismatchError,
    SchemaError,
    VerdictChange,
)


class RunFolder:
    """A run folder open for writing.

    It is made if it does not exist, and continued if its settings are the same.
    """

    def __init__(self, path: str | Path, config: RunConfig, *, keep_failed: bool = True) -> None:
        """Open the folder; without `keep_failed`, episodes that failed are moved to `failed.jsonl`, to be played again.

        Raises `RunMismatchError` for a run with other settings, `RunBusyError` while another process writes.
        """
        self.path = Path(path)
        self.config = config
        if not (self.path / "run.json").exists() and not _is_free(self.path):
            raise RunMismatchError(f"{self.path} is neither empty nor a run folder; choose another")
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = lock_folder(self.path)
        try:
            _check_or_write_config(self.path, config)
            cut_torn_line(self.path / "episodes.jsonl")
            self.done = _finished(self.path, keep_failed=keep_failed)
            """The episodes that are on the disk."""
            self._file = os.open(
                self.path / "episodes.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666
            )
        except BaseException:
            os.close(self._lock)
            raise

    def append(self, *records: EpisodeRecord) -> None:
        """Write finished episodes with one flush; on return they are on the disk."""
        data = memoryview("".join(to_line(record) + "\n" for record in records).encode("ascii"))
        while data:
            data = data[os.write(self._file, data) :]
        os.fdatasync(self._file)
        self.done.update(map(episode_key, records))

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


def episode_key(record: EpisodeRecord) -> EpisodeKey:
    """Return what tells an episode apart from the others of its run."""
    return EpisodeKey(record.problem_id, record.attempt)


def read_config(path: str | Path) -> RunConfig:
    """Return a run's settings; raises `RecordError` if the folder has no run."""
    data = read_header(path)
    if data.get("format") != RUN_FORMAT:
        raise SchemaError(
            f"{Path(path) / 'run.json'}: "
            + other_version("run format", data.get("format"), RUN_FORMAT, where=str(path))
        )
    try:
        return RunConfig(**data["config"])
    except (KeyError, TypeError) as error:
        raise RecordError(f"{Path(path) / 'run.json'}: no usable 'config': {error}") from error


def read_header(path: str | Path) -> dict[str, Any]:
    """Return the content of `run.json`, of any format; raises `RecordError` if there is no run."""
    file = Path(path) / "run.json"
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        inside = sorted(str(found.parent) for found in Path(path).glob("*/run.json"))
        if inside:
            way_out = f"run folders inside it: {', '.join(inside[:5])}"
        elif Path(path).is_file():
            way_out = "give the folder, not a file"
        else:
            way_out = f"`stepgym selfplay --out {path}` makes one"
        raise RecordError(f"{path} is not a run folder (no run.json); {way_out}") from None
    except ValueError as error:
        raise RecordError(f"{file}: not JSON: {error}") from error
    if not isinstance(data, dict):
        raise RecordError(f"{file}: should hold a JSON object, holds {type(data).__name__}")
    return data


def num_episodes(path: str | Path) -> int:
    """Return how many episodes a run folder holds, without reading them."""
    file = Path(path) / "episodes.jsonl"
    if not file.exists():
        return 0
    with file.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))


def read_episodes(path: str | Path, *, recorded: bool = False) -> Iterator[EpisodeRecord]:
    """Yield the finished episodes of a run in the order in which they were written.

    If the run was verified anew, episodes have the new verdicts; with `recorded`, those of the time. A last line
    without its end is an episode still being written and is left out. Any other broken line raises `RecordError` with
    file and line.
    """
    file = Path(path) / "episodes.jsonl"
    if not file.exists():
        read_config(path)
        return
    changes = {} if recorded else read_changes(path)
    for where, line in episode_lines(file):
        record = from_line(line, where=where)
        yield with_verdicts(record, changes.get(episode_key(record), ()))


def read_changes(path: str | Path) -> dict[EpisodeKey, list[VerdictChange]]:
    """Return the verdicts that verifying anew changed, by episode; none if that was never done."""
    file = Path(path) / VERDICTS_FILE
    found: dict[EpisodeKey, list[VerdictChange]] = {}
    if file.exists():
        for number, (where, line) in enumerate(episode_lines(file)):
            if number:
                try:
                    change = VerdictChange(**object_of(line, where))
                except TypeError as error:
                    raise RecordError(f"{where}: not a changed verdict: {error}") from error
                found.setdefault(EpisodeKey(change.problem_id, change.attempt), []).append(change)
    return found


def with_verdicts(record: EpisodeRecord, changes: Sequence[VerdictChange]) -> EpisodeRecord:
    """Return the record with changed verdicts; one on the chosen answer changes the episode's too."""
    if not changes:
        return record
    nodes = list(record.nodes)
    for change in changes:
        if change.node >= len(nodes) or (nodes[change.node].answer or "") != change.answer:
            continue  # of an episode that was played again since
        is_partial = change.verdict == Status.CORRECT.value and change.score != 1
        nodes[change.node] = replace(
            nodes[change.node],
            verdict=change.verdict,
            reward=change.score if is_partial else None,
            fault=change.fault,
        )
        if change.node == record.path[-1]:
            record = replace(
                record,
                verdict=change.verdict,
                fault=change.fault,
                score=change.score,
                reason=change.reason,
                decided_by=change.decided_by,
                details={},  # those of the verdict before
            )
    return replace(record, nodes=tuple(nodes))


def episode_lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yield each whole line with its place, `FILE:NUMBER`."""
    with file.open(encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.endswith("\n"):
                yield f"{file}:{number}", line


def write_header(path: Path, config: RunConfig) -> None:
    """Write `run.json`."""
    content = {"format": RUN_FORMAT, "config": _plain(config), "versions": versions()}
    write_whole(path / "run.json", json.dumps(content, indent=2) + "\n")


def lock_folder(path: Path) -> int:
    """Return a file descriptor that holds the folder's lock until it is closed; raises `RunBusyError`."""
    import fcntl

    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RunBusyError(
            f"another process is writing to {path}; wait for it, or choose another folder"
        ) from None
    return lock


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that decide what an episode looks like."""
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("stepgym", "torch", "transformers", "sympy", "numpy"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _finished(path: Path, *, keep_failed: bool) -> set[EpisodeKey]:
    """Return the finished episodes; without `keep_failed`, those that failed are moved to `failed.jsonl` first.

    Only what tells episodes apart is read, because a run may have millions. Killed in between, a failed episode is in
    both files, and moved again next time.
    """
    file, kept, failed = path / "episodes.jsonl", set(), list[int]()
    if file.exists():
        for number, (where, line) in enumerate(episode_lines(file)):
            heading = heading_of(line, where=where)
            if heading.verdict == "failed" and not keep_failed:
                failed.append(number)
            else:
                kept.add(EpisodeKey(heading.problem_id, heading.attempt))
    if failed:
        lines = [line for _, line in episode_lines(file)]
        with (path / "failed.jsonl").open("a", encoding="utf-8") as stream:
            stream.writelines(lines[number] for number in failed)
        for number in reversed(failed):
            del lines[number]
        write_whole(file, "".join(lines))
    return kept


def _is_free(path: Path) -> bool:
    """Return whether a run may begin here: no folder yet, an empty one, or one whose writer was killed at once."""
    return not path.exists() or {each.name for each in path.iterdir()} <= {"lock", "run.draft"}


def _plain(config: RunConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(describe(asdict(config))))
    return plain


def _check_or_write_config(path: Path, config: RunConfig) -> None:
    if not (path / "run.json").exists():
        write_header(path, config)
        return
    before, plain = asdict(read_config(path)), _plain(config)
    if before == plain:
        _warn_of_versions(path, read_header(path).get("versions"))
        return
    shown = "; ".join(differences(before, plain).values())
    raise RunMismatchError(
        f"{path} holds a run with other settings: {shown}. Repeat those, or choose another folder"
    )


def _warn_of_versions(path: Path, before: Any) -> None:
    """Warn if one run would hold episodes of two versions."""
    now = versions()
    changed = [name for name in now if isinstance(before, dict) and before.get(name) != now[name]]
    if changed:
        shown = "; ".join(
            f"{name} was {before.get(name, 'missing')}, is now {now[name]}" for name in changed
        )
        warnings.warn(
            f"{path} was begun with other versions: {shown}. Its episodes may differ", stacklevel=4
        )

"""Measure and empty a folder with any content: locked trees, trees deeper than a path may be long, links to elsewhere."""

from __future__ import annotations

import os
import stat


def empty(folder: str) -> int:
    """Remove everything beneath `folder` and return the number of entries removed.

    Folders are first moved to the top, so that no path is ever longer than two names and no recursion is needed;
    links are removed, never followed.
    """
    removed = 0
    top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while names := os.listdir(top):
            for name in names:
                removed += 1
                try:
                    os.unlink(name, dir_fd=top)
                except OSError:
                    _flatten(top, name, removed)
    finally:
        os.close(top)
    return removed


def _flatten(top: int, name: str, serial: int) -> None:
    """Move the folders in the folder `name` up to `top`, remove its files, then remove it."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        return
    os.chmod(name, 0o700, dir_fd=top)
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        for index, child in enumerate(os.listdir(inner)):
            try:
                os.unlink(child, dir_fd=inner)
            except OSError:
                os.chmod(child, 0o700, dir_fd=inner)
                os.rename(child, f".{serial}.{index}.{name[:32]}", src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)


class Disk:
    """How much a folder holds: its file system says, if the folder has one of its own; otherwise the files are counted."""

    MAX_ENTRIES = 4096

    def __init__(self, folder: str, *, own: bool = True) -> None:
        self.folder = folder
        self.own = own and os.stat(folder).st_dev != os.stat(os.path.dirname(folder)).st_dev
        facts = os.statvfs(folder)
        clean = self.own and facts.f_files and not os.listdir(folder)
        self.free_when_empty = facts.f_ffree if clean else None
        """Free inodes of a file system that holds nothing else; `None` if that says nothing."""

    def empty(self) -> None:
        """Empty the folder, which takes one system call if there is nothing in it and it has a file system of its own."""
        if self.free_when_empty is None or os.statvfs(self.folder).f_ffree != self.free_when_empty:
            empty(self.folder)

    def used(self) -> int:
        """Bytes in use; more than any limit if there are too many entries to count."""
        if self.own:
            facts = os.statvfs(self.folder)
            return (facts.f_blocks - facts.f_bfree) * facts.f_frsize
        total = entries = 0
        for path, _, names in os.walk(self.folder):
            entries += len(names) + 1
            if entries > self.MAX_ENTRIES:
                return 1 << 62
            total += sum(_blocks(os.path.join(path, name)) for name in names)
        return total


def _blocks(path: str) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except OSError:
        return 0

"""Whatever a program leaves in its folder, the folder is empty afterwards and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stepgym.sandbox.runner.work_folder import Disk, empty

NAMES = st.sampled_from(["a", "b", "..c", " ", "d" * 200, "\udcff"])
PATHS = st.lists(NAMES, min_size=1, max_size=6)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    files=st.lists(PATHS, max_size=8),
    folders=st.lists(PATHS, max_size=8),
    mode=st.sampled_from([0, 0o100, 0o755]),
)
def test_any_tree_goes(
    tmp_path: Path, files: list[list[str]], folders: list[list[str]], mode: int
) -> None:
    top = tmp_path / "work"
    top.mkdir(exist_ok=True)
    for parts in folders:
        _try(lambda parts=parts: os.makedirs(top.joinpath(*parts), exist_ok=True))
    for parts in files:
        _try(lambda parts=parts: top.joinpath(*parts).write_text("x"))
    for path, _, _ in os.walk(top, topdown=False):
        if path != str(top):
            os.chmod(path, mode)
    empty(str(top))
    assert os.listdir(top) == []


def _try(action: object) -> None:
    try:
        action()  # type: ignore[operator]
    except OSError:
        return  # a file stands where a folder was wanted


def test_a_tree_deeper_than_a_path_may_be_long_goes(tmp_path: Path) -> None:
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        for _ in range(2000):
            os.mkdir("deep")
            os.chdir("deep")
    finally:
        os.chdir(before)
    assert empty(str(tmp_path)) >= 2000
    assert os.listdir(tmp_path) == []


def test_links_are_removed_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("precious")
    work = tmp_path / "work"
    (work / "inner").mkdir(parents=True)
    (work / "link").symlink_to(tmp_path / "kept")
    (work / "inner" / "link").symlink_to(tmp_path / "kept")
    empty(str(work))
    assert (tmp_path / "kept" / "file").read_text() == "precious"


@pytest.mark.parametrize("num_files", [0, 3])
def test_used_bytes_are_counted(tmp_path: Path, num_files: int) -> None:
    for index in range(num_files):
        (tmp_path / str(index)).write_bytes(b"x" * 8192)
    assert Disk(str(tmp_path)).used() == num_files * 8192

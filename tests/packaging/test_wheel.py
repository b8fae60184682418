"""The sdist builds the wheel, the wheel holds every room with its data files, and it runs outside the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from stepgym.cli.reproduce import CLAIMS

HOUSE = Path(__file__).resolve().parent.parent.parent


def build(kind: str, source: Path, target: Path) -> Path:
    """Build with the backend as a build front end does, without an environment of its own."""
    code = f"import sys; from setuptools.build_meta import build_{kind}; build_{kind}(sys.argv[1])"
    target.mkdir()
    built = subprocess.run(
        [sys.executable, "-c", code, str(target)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stderr
    [file] = target.iterdir()
    return file


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tracked files, build the sdist there, the wheel from the sdist alone, and unpack the wheel."""
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        source, target = HOUSE / name, folder / "checkout" / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target, follow_symlinks=False)
    with tarfile.open(build("sdist", folder / "checkout", folder / "sdist")) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    [source] = (folder / "unpacked").iterdir()
    with zipfile.ZipFile(build("wheel", source, folder / "wheel")) as archive:
        archive.extractall(folder / "site-packages")
    return folder / "site-packages"


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_runs_from_the_wheel(claim: str, installed: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import stepgym; "
        f"assert stepgym.__file__.startswith({str(installed)!r}), stepgym.__file__; "
        f"from stepgym.cli import main; import {CLAIMS[claim][0].partition(':')[0].replace('.command', '.claim')}; "
        f"main(['reproduce', {claim!r}, '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=installed, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "--out" in done.stdout, done.stderr


def test_the_wheel_holds_every_tracked_file_of_the_rooms_and_nothing_else(installed: Path) -> None:
    """What the sdist drops is missing here too, because the wheel is built from it."""
    checkout = installed.parent / "checkout" / "stepgym"
    here = {path.relative_to(installed / "stepgym") for path in files(installed / "stepgym")}
    # Path.rglob does not follow the links to the rooms, so each room is listed by itself.
    rooms = [checkout, *(path.resolve() for path in checkout.iterdir() if path.is_symlink())]
    tracked = {
        path.relative_to(checkout if room == checkout else checkout.parent)
        for room in rooms
        for path in files(room)
        if not path.is_symlink()
    }
    assert here == tracked


def files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts]

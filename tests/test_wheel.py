"""The wheel holds every room with its data files, and the claims run from it as from a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stepgym.cli.reproduce import CLAIMS

HOUSE = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the tracked files, so that the checkout stays as it is, and unpack it."""
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
        source, target = HOUSE / name, folder / "source" / name
        if source.is_file() and not source.is_symlink() and not name.startswith("tests/"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    words = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), "."]
    built = subprocess.run(
        [sys.executable, *words], cwd=folder / "source", capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_runs_from_the_wheel(claim: str, unpacked: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(unpacked)!r}); import stepgym; "
        f"assert stepgym.__file__.startswith({str(unpacked)!r}), stepgym.__file__; "
        f"from stepgym.cli import main; import {CLAIMS[claim][0].partition(':')[0].replace('.command', '.claim')}; "
        f"main(['reproduce', {claim!r}, '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=unpacked, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "--out" in done.stdout, done.stderr


def test_every_data_file_of_the_rooms_is_in_the_wheel(unpacked: Path) -> None:
    here = {
        path.name
        for path in unpacked.rglob("*")
        if path.suffix in (".jsonl", ".safetensors", ".css")
    }
    assert {"attacks.jsonl", "examples.jsonl", "model.safetensors", "viewer.css"} <= here

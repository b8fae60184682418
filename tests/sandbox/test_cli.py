"""`stepgym sandbox` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stepgym.sandbox.guarantees import GUARANTEES, SESSION_ATTACKS


def stepgym(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    argv = [sys.executable, "-c", "from stepgym.cli import main; main()", "sandbox", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=250, check=False, **options)


def test_doctor_backs_each_guarantee_with_a_probe() -> None:
    done = stepgym("doctor", "--sandbox", "local", "--json")
    rows = json.loads(done.stdout)["local"]["guarantees"]
    sentences = [guarantee.sentence for guarantee in GUARANTEES]
    assert [row["sentence"] for row in rows] == [*sentences, *SESSION_ATTACKS]
    assert done.returncode == 0 and all(row["held"] for row in rows), rows


def test_doctor_says_what_is_wrong_with_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    done = stepgym("doctor", "--sandbox", "docker")
    assert done.returncode == 1 and "unix:///nowhere.sock" in done.stdout


def test_run_prints_what_the_program_did_and_ends_as_it_did(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print('out', sys.argv[1]); sys.exit(3)")
    done = stepgym("run", str(tmp_path / "program.py"), "word", "--sandbox", "local")
    assert (done.stdout, done.returncode) == ("out word\n", 3), done
    done = stepgym(
        "run", "-", "--sandbox", "local", "--wall-s", "0.3", "--json", input="while True: pass"
    )
    assert json.loads(done.stdout)["outcome"] == "wall_time"


def test_a_wrong_name_shows_the_way_out() -> None:
    done = stepgym("run", "-", "--sandbox", "lcoal", input="")
    assert done.returncode == 1 and "did you mean 'local'" in done.stderr

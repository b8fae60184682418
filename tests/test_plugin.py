"""The sample plug-in, installed: every entry-point group by name in `envs`, `check` and `solve`; broken ones are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = Path(__file__).resolve().parent.parent / "examples" / "plugin"
RUN = """
import json, sys
from click.testing import CliRunner
from stepgym.cli import main
for arguments in json.load(sys.stdin):
    done = CliRunner().invoke(main, arguments)
    print(json.dumps([done.exit_code, done.output]))
"""
BROKEN = {
    "raises_at_import": "import no_such_module_anywhere",
    "is_no_python": "def (:",
    "says_no": "class Thing:\n    def __init__(self):\n        raise RuntimeError('no licence')",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which pip installed the plug-in, with three broken ones beside it."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for file in PLUGIN.glob("*.*"):  # a copy, because building writes into the source folder
        (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, timeout=120)
    points = ["[stepgym.policies]"]
    for name, text in BROKEN.items():
        (target / f"{name}.py").write_text(text)
        points.append(f"{name} = {name}:Thing")
    about = target / "broken_plugins-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugins\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("\n".join(points))
    return target


def run(installed: Path, *commands: list[str]) -> list[tuple[int, str]]:
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return [(code, output) for code, output in map(json.loads, done.stdout.splitlines())]


@pytest.mark.slow
def test_every_kind_of_thing_is_found_by_its_name(installed: Path, tmp_path: Path) -> None:
    search = ["--agent", "first_of", "--policy", "counter", "--reward-model", "brevity"]
    results = run(
        installed,
        ["envs", "doubling", "--level", "2"],
        ["envs", "squares"],
        *(["check", name] for name in ("doubling", "squares", "counter", "brevity", "first_of")),
        ["check", "guesser", "--env", "squares"],
        ["check", "quiet_local"],
        ["solve", "--env", "squares", *search, "--episodes", "2", "--json"],
        ["solve", "--env", "doubling", "--agent", "guesser", "--policy", "counter", "--json"],
        ["solve", "--env", "Code-v0", "--env-option", "sandbox=quiet_local", *search, "--json"],
    )
    for code, output in results:
        assert code == 0, output
    assert "What is twice" in results[0][1] and "0 squared" in results[1][1]
    assert '"verdict": "correct"' in results[9][1]


@pytest.mark.slow
def test_a_plug_in_that_raises_is_named_with_its_package(installed: Path) -> None:
    solve = ["solve", "--env", "Words-v0", "--agent", "greedy", "--policy"]
    results = run(installed, *([*solve, name] for name in BROKEN))
    words = ["no_such_module_anywhere", "SyntaxError", "RuntimeError: no licence"]
    for (code, output), name, word in zip(results, BROKEN, words):
        assert code == 2 and name in output and word in output, output
        assert "Traceback" not in output
    assert all("broken-plugins" in output for _, output in results[:2])

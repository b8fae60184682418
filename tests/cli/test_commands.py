"""Every command is there, explains itself, and costs nothing until it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from stepgym.cli import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0 and len(result.output.splitlines()) > 5, result.output


def test_the_overview_lists_them_all() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert all(f"  {name} " in output for name in COMMANDS)


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    script = "import sys; from stepgym.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "transformers", "sympy", "docker", "gymnasium", "rich"} & set(done.stdout.split())


def test_python_m_stepgym_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "stepgym", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.startswith("stepgym, version ")

"""Every example runs in a process of its own, in seconds, and says what it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SAYS = {
    "gymnasium_loop.py": "solved 10 of 10; the last one: correct",
    "own_policy.py": "beam: solved ",
    "own_problems.py": "file: ['correct', 'incorrect']",
    "own_search.py": "solved ",
    "search_over_an_interpreter.py": "forked: correct",
    "selfplay_to_dataset.py": "30 episodes, ",
}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_the_example_runs(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert SAYS[path.name] in done.stdout, "an example that is new belongs in the table above"

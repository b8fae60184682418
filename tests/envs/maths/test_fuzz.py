"""No input raises, ends the process or takes long: a short run of the grammar in `fuzz.py`; a long one on demand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


@pytest.mark.parametrize(
    "seconds",
    [
        8.0,
        pytest.param(
            float(os.environ.get("STEPGYM_FUZZ_S", "0")),
            marks=pytest.mark.skipif(
                "STEPGYM_FUZZ_S" not in os.environ, reason="set STEPGYM_FUZZ_S to seconds"
            ),
        ),
    ],
)
@pytest.mark.timeout(0)
def test_no_input_hurts(seconds: float) -> None:
    ran = subprocess.run(
        [sys.executable, str(FUZZ), str(seconds)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4_000:]

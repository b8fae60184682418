"""Jobs side by side: results in order, and Ctrl-C ends them all at once, quietly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stepgym.claims.jobs import run_jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_stand_in_the_order_of_the_items(jobs: int) -> None:
    assert run_jobs(abs, [-3, 2, -1], jobs) == [3, 2, 1]


def test_an_error_in_one_job_is_raised_without_waiting_for_the_others() -> None:
    started = time.monotonic()
    with pytest.raises(ValueError, match="non-negative"):
        run_jobs(time.sleep, [-1, 120], 2)
    assert time.monotonic() - started < 60


def test_workers_end_with_a_process_that_was_killed() -> None:
    code = "import os; from stepgym.claims.jobs import run_jobs; run_jobs(os.system, ['echo begun; sleep 2'] * 2, 2)"
    process = subprocess.Popen([sys.executable, "-c", code], text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert [process.stdout.readline(), process.stdout.readline()] == ["begun\n", "begun\n"]
    process.kill()
    process.communicate(timeout=60)  # to the end of what all processes may write


def test_an_error_leaves_processes_of_the_caller_alone() -> None:
    own = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    own.start()
    with pytest.raises(ValueError, match="non-negative"):
        run_jobs(time.sleep, [-1, 1], 2)
    own.join(0.5)
    assert own.is_alive()
    own.kill()
    own.join()


def test_ctrl_c_ends_all_processes_without_a_traceback_and_the_command_goes_on(
    tmp_path: Path,
) -> None:
    command = [
        "reproduce",
        "small-beats-14x",
        "--seeds",
        "1",
        "--problems",
        "2",
        "--out",
        str(tmp_path),
        "--jobs",
        "2",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "stepgym", *command, "--steps", "300"],
        start_new_session=True,
        text=True,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a shell's background jobs ignore it
    )
    assert process.stderr is not None
    for _ in range(2):
        line = process.stderr.readline()
        assert "step" in line, line + process.stderr.read()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)  # to the end of what all processes may write
    assert process.returncode == 130
    assert "Traceback" not in errors and "run the same command to continue" in errors

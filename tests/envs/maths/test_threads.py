"""flint's precision is one number for the whole process; verdicts must not depend on what other threads do."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from stepgym.envs.maths import verify_answer
from stepgym.envs.maths.balls import to_ball, working_precision
from stepgym.envs.types import Status

PAIRS = [
    ("\\ln 6", "\\ln 2+\\ln 3", True),
    ("\\sin x + 10^{-100}", "\\sin x", False),
    ("\\sqrt[3]{7+5\\sqrt{2}}", "1+\\sqrt{2}", True),
    ("e^{\\pi\\sqrt{163}}", "640320^3+744", False),
    ("(-\\infty, \\sqrt[3]{2})", "x<\\sqrt[3]{2}", True),
]


def decide(reference: str, answer: str) -> tuple[Status, str]:
    verdict = verify_answer(answer, reference=reference)
    return verdict.status, verdict.decided_by


def test_verdicts_in_eight_threads_are_those_of_one() -> None:
    alone = {pair: decide(*pair[:2]) for pair in PAIRS}
    assert all((found[0] is Status.CORRECT) is pair[2] for pair, found in alone.items())
    wrong: list[object] = []

    def work(offset: int) -> None:
        for i in range(60):
            pair = PAIRS[(i + offset) % len(PAIRS)]
            found = decide(*pair[:2])
            if found != alone[pair]:
                wrong.append((pair, found))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert not wrong


def test_a_thread_does_not_see_the_precision_of_another() -> None:
    inside, seen = threading.Event(), []

    def look() -> None:
        inside.wait()
        with working_precision(64):
            seen.append((to_ball(1) / 3).real.rad())

    thread = threading.Thread(target=look)
    thread.start()
    with working_precision(4_000):
        inside.set()
        third = (to_ball(1) / 3).real
        assert float(third.rad()) < 1e-300
        thread.join(0.05)
        assert not seen
    thread.join()
    assert float(seen[0]) > 1e-30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_child_does_not_wait_for_its_parents_thread() -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with working_precision(64):
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if verify_answer("\\ln 2+\\ln 3", reference="\\ln 6").correct else 1)
    done.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

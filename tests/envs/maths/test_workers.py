"""Hostile inputs, and the worker processes: overrun, threads, asyncio, forks, spawned children, memory."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stepgym.envs.maths import MathOptions, MathVerifier, verify_answer, verify_answers
from stepgym.envs.maths import workers as worker_processes
from stepgym.envs.types import Fault, Problem, Status

HOSTILE = [
    ("10^{10^{10}}", "5"),
    ("(10^8)!", "5"),
    ("\\frac{1}{1000000!}", "5"),
    ("\\sin(10^{10^{8}})", "0"),
    ("9^{9^{9^9}} \\mod 10", "5"),
    ("1" * 100_000, "5"),
    ("1+" * 20_000 + "1", "5"),
    ("5" + "!" * 2000, "5"),
    ("{" * 10_000 + "6" + "}" * 10_000, "5"),
    ("\\frac{1}{" * 1000 + "5" + "}" * 1000, "6"),
    ("\\boxed{" * 5000, "5"),
    ("x^{" * 300 + "x" + "}" * 300, "5"),
    ("$" * 100_001, "5"),
    ("answer " * 20_000, "5"),
    ("-" * 40_000, "5"),
    ("3^{10^{8}}-3^{10^{8}}+1", "5"),
    ("\\begin{pmatrix}1&1\\\\1&0\\end{pmatrix}^{10^{9}}", "5"),
    ("\\ud800\ud800", "5"),
    ("[0,\\sin(10^{10^7})]", "[0,1]"),
    ("e^{e^{e^{e^{e}}}}", "5"),
    ("__import__('os').system('true')", "5"),
]
HARD = "\\sum_{k=1}^{10^{12}} \\sin k"
FINDABLE = ("\\int_0^1 x\\,dx", "\\frac12")


@pytest.mark.parametrize(
    ("answer", "reference"),
    HOSTILE,
    ids=[a[:25].encode("ascii", "replace").decode() for a, _ in HOSTILE],
)
def test_hostile_input_is_decided_or_given_up_in_time(answer: str, reference: str) -> None:
    verify_answer(*FINDABLE[:1], reference=FINDABLE[1])  # workers are warm
    start = time.process_time()  # this process's; workers have limits of their own
    verdict = verify_answer(answer, reference=reference)
    assert not verdict.correct
    assert time.process_time() - start < 2


def test_five_thousand_digits_are_read_to_the_last() -> None:
    digits = "7" * 5_000
    assert verify_answer(digits, reference=digits).correct
    assert verify_answer(f"{digits}.0", reference=digits).correct
    assert not verify_answer(digits[:-1] + "8", reference=digits).correct


def test_deep_brackets_around_an_answer_are_taken_off() -> None:
    assert verify_answer("(" * 2000 + "5" + ")" * 2000, reference="5").correct


def test_an_overrun_is_undecided_and_the_next_pair_is_decided() -> None:
    verdict = verify_answer(HARD, reference="5", options=MathOptions(limit_s=0.3))
    assert verdict.status is Status.UNDECIDED
    assert "0.3 s of CPU" in verdict.reason
    assert verify_answer(
        FINDABLE[0], reference=FINDABLE[1], options=MathOptions(limit_s=20)
    ).correct


def test_a_batch_keeps_its_order_around_overruns() -> None:
    answers = ["1", HARD, FINDABLE[0], "2"]
    verdicts = verify_answers(
        answers, references=["1", "5", FINDABLE[1], "3"], options=MathOptions(limit_s=1)
    )
    assert [v.status.value for v in verdicts] == ["correct", "undecided", "correct", "incorrect"]


def _decide_one() -> bool:
    return verify_answer(
        FINDABLE[0], reference=FINDABLE[1], options=MathOptions(limit_s=20)
    ).correct


def test_threads_share_the_workers() -> None:
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(_decide_one())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6


def test_asyncio_needs_nothing_special() -> None:
    async def both() -> list[bool]:
        return await asyncio.gather(asyncio.to_thread(_decide_one), asyncio.to_thread(_decide_one))

    assert asyncio.run(both()) == [True, True]


@pytest.mark.parametrize(
    "method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()]
)
def test_a_child_process_starts_workers_of_its_own(method: str) -> None:
    _decide_one()
    with multiprocessing.get_context(method).Pool(1) as children:
        assert children.apply_async(_decide_one).get(timeout=120)
    assert _decide_one()  # the child left ours alone


def test_easy_pairs_do_not_pay_for_hostile_ones() -> None:
    _decide_one()
    pairs = [(HARD, str(i)) for i in range(8)] + [FINDABLE] * 20
    options = MathOptions(limit_s=1, batch_limit_s=0.5)
    start = _children_cpu_s()
    verdicts = verify_answers(
        [answer for answer, _ in pairs], references=[r for _, r in pairs], options=options
    )
    assert [v.status.value for v in verdicts] == ["undecided"] * 8 + ["correct"] * 20
    assert {v.fault for v in verdicts[:8]} == {Fault.ANSWER}
    # eight first slices of 0.25 s, one second attempt of 1 s, and the easy pairs
    assert _children_cpu_s() - start < 8 * 0.25 + 1 + 3


def test_pairs_with_different_options_share_one_budget() -> None:
    _decide_one()
    own = [{"limit_s": 0.5, "batch_limit_s": 0.4, "order_matters": bool(i % 2)} for i in range(6)]
    problems = [Problem(str(i), "", str(i), task={"options": own[i]}) for i in range(6)]
    verdicts = MathVerifier().verify(problems, [HARD] * 6)
    assert [v.status for v in verdicts] == [Status.UNDECIDED] * 6
    assert sorted("more than 0.5 s" in v.reason for v in verdicts) == [False] * 5 + [True]


def test_equal_pairs_are_decided_once() -> None:
    _decide_one()
    start = _children_cpu_s()
    verdicts = verify_answers([HARD] * 30, references=["5"] * 30)
    assert {v.status for v in verdicts} == {Status.UNDECIDED}
    assert _children_cpu_s() - start < 6  # one attempt of 1 s; thirty would be 7.5 s and more


def _children_cpu_s() -> float:
    """CPU time of the workers' children so far, the ended ones included."""
    total = 0.0
    for worker in worker_processes.current_pool().workers:
        fields = Path(f"/proc/{worker.process.pid}/stat").read_text().split(")")[1]
        total += sum(map(int, fields.split()[13:15])) / os.sysconf("SC_CLK_TCK")
    return total


def test_eight_threads_with_hostile_pairs_decide_their_easy_ones() -> None:
    found: list[str] = []
    options = MathOptions(limit_s=0.2)

    def work() -> None:
        answers = [HARD, FINDABLE[0], FINDABLE[0]]
        references = ["5", FINDABLE[1], FINDABLE[1]]
        for verdict in verify_answers(answers, references=references, options=options)[1:]:
            found.append(verdict.status.value)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["correct"] * 16


def test_a_fresh_process_decides_its_first_integral() -> None:
    script = (
        "from stepgym.envs.maths import verify_answer as v;"
        f"print(v({FINDABLE[0]!r}, reference={FINDABLE[1]!r}).status.value)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "correct"


def test_a_killed_worker_is_replaced() -> None:
    _decide_one()
    for worker in list(worker_processes.current_pool().workers):
        worker.process.kill()
    assert _decide_one()


def test_a_worker_that_is_killed_leaves_no_pipe_open() -> None:
    worker = worker_processes.Worker()
    worker.kill()
    assert worker.process.stdin is not None and worker.process.stdin.closed
    assert worker.process.stdout is not None and worker.process.stdout.closed
    assert worker.process.returncode == -9


@pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc"
)
def test_a_worker_stays_under_its_memory() -> None:
    verify_answer("\\prod_{k=1}^{n} (x^k + y^k)^{k^k}", reference="5")
    _decide_one()
    for worker in worker_processes.current_pool().workers:
        parent = worker.process.pid
        with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as children:
            processes = [str(parent), *children.read().split()]
        for process in processes:
            with open(f"/proc/{process}/status", encoding="ascii") as lines:
                peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
            assert all(peak < 512 * 1024 for peak in peaks)


def test_importing_the_verifier_leaves_sympy_out() -> None:
    script = "import sys, stepgym.envs.maths as m; m.verify_answer('x+x', reference='2x'); print('sympy' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "False"


def test_what_a_library_prints_is_no_reply() -> None:
    program = (
        "import os\n"
        "from stepgym.envs.maths import worker\n"
        "worker.reply_to = lambda line: os.write(1, b'noise\\n') and {'line': 1}\n"
        "worker.main()"
    )
    run = subprocess.run([sys.executable, "-c", program], input=b"{}\n", capture_output=True)
    assert [sorted(json.loads(line)) for line in run.stdout.splitlines()] == [["ready"], ["line"]]
    assert run.stderr == b"noise\n"


def test_a_worker_that_does_not_start_is_no_wrong_answer() -> None:
    program = (
        "import sys\n"
        "from stepgym.envs.maths import MathOptions, workers\n"
        "sys.executable = '/none/python'\n"
        "[decision] = workers.decide_all([('1', '2', MathOptions())])\n"
        "print(decision.status.value, decision.fault.value)"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.stdout == f"{Status.UNDECIDED.value} {Fault.OURS.value}\n", run.stderr

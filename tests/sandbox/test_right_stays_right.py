"""What a right program does under `python program.py` it does here, in every sandbox alike."""

from __future__ import annotations

import threading

import pytest

from stepgym.sandbox import Limits, Outcome, Program, Sandbox, open_sandbox

BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), "local"]

OUTPUTS = {
    "without input, after the end of the input": (
        "import sys\nassert sys.stdin.read() == ''\ntry:\n    input()\nexcept EOFError:\n    print(7)"
    ),
    "printed by an exit handler": "import atexit; atexit.register(print, 7)",
    "written to the first standard output by an exit handler": (
        "import sys, io, atexit\nb = io.StringIO()\nsys.stdout = b\n"
        "atexit.register(lambda: sys.__stdout__.write(b.getvalue()))\nprint(7)"
    ),
    "written to the first standard output": (
        "import sys, io\nb = io.StringIO()\nsys.stdout = b\nprint(7)\nsys.__stdout__.write(b.getvalue())"
    ),
    "standard output closed by a with statement": (
        "import sys\nwith sys.stdout as o:\n    print(7, file=o)"
    ),
    "standard output closed": "import sys\nprint(7)\nsys.stdout.close()",
    "descriptor 1 opened and not closed": "import os\no = os.fdopen(1, 'w')\no.write('7\\n')",
    "descriptor 1 opened in a function": (
        "def main():\n    o = open(1, 'w', closefd=False)\n    o.write('7\\n')\n    global kept\n    kept = o\nmain()"
    ),
    "a wrapper over the buffer": (
        "import io, sys\no = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')\no.write('7\\n')"
    ),
    "the buffer, unflushed": "import sys\nsys.stdout.buffer.write(b'7\\n')",
    "a destructor": "class A:\n    def __del__(s): print(7)\na = A()",
    "a destructor in a cycle": "class A:\n    def __del__(s): print(7)\na = A()\na.me = a",
    "a wrapper left when the program exits": (
        "import io, sys\no = io.TextIOWrapper(sys.stdout.buffer)\no.write('7\\n')\nsys.exit(0)"
    ),
    "the C library": "import ctypes\nctypes.CDLL(None).puts(b'7')",
    "a system call": "import os\nos.write(1, b'7\\n')",
    "a thread that outlives the main thread": (
        "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print(7))).start()"
    ),
    "a module of its own with a destructor": "import other",
    "a reconfigured standard output": "import sys\nsys.stdout.reconfigure(encoding='utf-8')\nprint(7)",
    "a byte order mark": "\ufeffprint(7)",
    "much on standard error": "import sys\nfor _ in range(20000): sys.stderr.write('x' * 100 + '\\n')\nprint(7)",
    "a thread with a large stack for recursion": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(1 << 27)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "def main(): print(f(50_000) - 49_993)\nt = threading.Thread(target=main)\nt.start()\nt.join()"
    ),
    "a pool of 8 threads": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(8) as pool: print(sum(pool.map(lambda x: x, range(8))) - 21)"
    ),
    "a pool of 8 processes": (
        "from multiprocessing import Pool\n"
        "if __name__ == '__main__':\n    with Pool(8) as pool: print(sum(pool.map(abs, range(8))) - 21)"
    ),
    "an executor of 8 processes": (
        "from concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(8) as pool: print(sum(pool.map(abs, range(8))) - 21)"
    ),
    "an integer of more than 4,300 digits": "print(len(str(2**20000)) - 6014)",
    "the same, read": "print(int('7' * 5000) % 10)",
    "time zones": "import zoneinfo\nprint(len(str(zoneinfo.ZoneInfo('Europe/Paris'))) - 5)",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_output_counts_and_common_means_work(
    backend: str, request: pytest.FixtureRequest
) -> None:
    sandbox: Sandbox = request.getfixturevalue(f"{backend}_sandbox")
    files = {"other.py": "class A:\n    def __del__(s): print(7)\na = A()\n"}
    limits = Limits(cpu_s=20.0, wall_s=60.0)
    results = sandbox.run(
        [Program(source, files=files, limits=limits) for source in OUTPUTS.values()]
    )
    wrong = {
        name: (result.stdout[-80:], result.outcome.value, result.stderr[-300:], result.reason)
        for name, result in zip(OUTPUTS, results, strict=True)
        if (result.stdout, result.outcome, result.exit_code) != ("7\n", Outcome.OK, 0)
    }
    assert wrong == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_end_that_fails_is_a_failure(backend: str, request: pytest.FixtureRequest) -> None:
    sandbox: Sandbox = request.getfixturevalue(f"{backend}_sandbox")
    full = "class S:\n    closed = False\n    def flush(s): raise OSError\nimport sys\nsys.stdout = S()"
    results = sandbox.run([Program(full), Program("import sys\nprint(7)\nsys.exit(3)")])
    assert [result.exit_code for result in results] == [120, 3]


def test_standard_error_is_cut_at_its_own_limit(local_sandbox: Sandbox) -> None:
    limits = Limits(output_bytes=10, stderr_bytes=1000)
    source = "import sys\nsys.stderr.write('e' * 5000)\nprint('x' * 9)"
    [result] = local_sandbox.run([Program(source, limits=limits)])
    assert (result.outcome, result.stdout, len(result.stderr)) == (Outcome.OK, "x" * 9 + "\n", 1000)


def test_no_shared_memory_is_left(local_sandbox: Sandbox) -> None:
    leave = "open('/dev/shm/left', 'w').write('x')"
    look = "import os; print(os.listdir('/dev/shm'))"
    results = local_sandbox.run([Program(leave), Program(look)])
    assert results[1].stdout == "[]\n"


def test_all_processes_of_a_program_share_its_cpu_time(local_sandbox: Sandbox) -> None:
    source = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    [result] = local_sandbox.run([Program(source, limits=Limits(cpu_s=1.0, wall_s=20.0))])
    assert result.outcome is Outcome.CPU_TIME and result.wall_s < 10


BURN = """
import time
while time.process_time() < {cpu_s}: pass
print("done")
"""


@pytest.mark.parametrize("limits", [Limits(cpu_s=1.0), Limits(wall_s=1.0, cpu_s=None)])
def test_eight_programs_that_use_nine_tenths_of_their_time_pass_side_by_side(
    limits: Limits,
) -> None:
    with open_sandbox("local", workers=8) as sandbox:
        results = sandbox.run([Program(BURN.format(cpu_s=0.9), limits=limits)] * 8)
    assert [result.outcome for result in results] == [Outcome.OK] * 8, results


def test_a_program_that_sleeps_is_stopped_though_others_are_busy() -> None:
    with open_sandbox("local", workers=4) as sandbox:
        burning = threading.Thread(
            target=sandbox.run, args=([Program(BURN.format(cpu_s=1.5))] * 3,), daemon=True
        )
        burning.start()
        limits = Limits(wall_s=0.5)
        [result] = sandbox.run([Program("import time; time.sleep(30)", limits=limits)])
        burning.join()
    assert result.outcome is Outcome.WALL_TIME and result.wall_s < 3

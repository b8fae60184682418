"""Sessions: what stays, what a fork shares and what not, limits, being dropped, and attacks on each other."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from stepgym.sandbox import Limits, Outcome, Sandbox, SandboxError, open_sandbox
from stepgym.sandbox.guarantees import SESSION_ATTACKS, try_session_attack
from stepgym.sandbox.sessions import PooledSession

BACKENDS = [pytest.param("docker", marks=pytest.mark.docker), "local"]


@pytest.fixture(params=BACKENDS)
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    found: Sandbox = request.getfixturevalue(f"{request.param}_sandbox")
    return found


@pytest.fixture
def session(sandbox: Sandbox) -> Iterator[PooledSession]:
    opened = sandbox.open_session(files={"data/a.txt": b"\x00\xff"})
    assert isinstance(opened, PooledSession)
    yield opened
    opened.close()


def text(session: PooledSession, code: str) -> str:
    """Run a cell that must work; return what it printed."""
    result = session.run(code)
    assert result.outcome is Outcome.OK, result
    return result.stdout


def test_variables_imports_and_files_stay(session: PooledSession) -> None:
    text(session, "import math\nx = 41\nopen('b.txt', 'w').write('hello')")
    assert text(session, "def f(y): return x + y") == ""
    assert text(session, "print(open('b.txt').read())\nf(math.floor(1.5))") == "hello\n42\n"
    assert text(session, "open('data/a.txt', 'rb').read()") == "b'\\x00\\xff'\n"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("1 + 1", "2\n"),
        ("1 + 1;", ""),
        ("x = 3", ""),
        ("None", ""),
        ("print(1)\n'a'", "1\n'a'\n"),
        ("", ""),
        ("# only a comment", ""),
        ("for i in range(2): i", ""),
        ("\ufeff3", "3\n"),
    ],
)
def test_the_last_expression_is_shown_as_in_a_notebook(
    session: PooledSession, code: str, shown: str
) -> None:
    assert text(session, code) == shown


def test_a_failure_has_a_full_traceback_and_the_session_goes_on(session: PooledSession) -> None:
    text(session, "def f(x):\n    y = x\n    return 1 / y")
    result = session.run("x = 1\nf(0)")
    assert result.outcome is Outcome.ERROR and result.exit_code == 1
    for line in ('"<cell 2>", line 2', '"<cell 1>", line 3, in f', "return 1 / y", "ZeroDivision"):
        assert line in result.stderr
    assert "session_child" not in result.stderr
    assert "SyntaxError" in session.run("x = = 2").stderr
    assert session.run("raise SystemExit(3)").exit_code == 3
    assert text(session, "x") == "1\n"


@pytest.mark.parametrize(
    ("code", "limits", "outcome"),
    [
        ("import time\ntime.sleep(60)", Limits(wall_s=0.3), Outcome.WALL_TIME),
        ("while True: n += 1", Limits(cpu_s=0.3), Outcome.CPU_TIME),
        ("while True: print('x' * 999)", Limits(output_bytes=10_000), Outcome.OUTPUT),
    ],
)
def test_a_cell_over_a_limit_is_interrupted_and_the_state_stays(
    session: PooledSession, code: str, limits: Limits, outcome: Outcome
) -> None:
    text(session, "n = 1\nkept = [2]")
    result = session.run(f"print('partial')\nn = 5\n{code}", limits=limits)
    assert result.outcome is outcome and result.stdout.startswith("partial\n")
    assert "KeyboardInterrupt" in result.stderr and "session_child" not in result.stderr
    assert text(session, "n >= 5, kept") == "(True, [2])\n"
    assert session.num_rebuilt == 0


def test_memory_and_disk_limits_hold_for_a_cell_and_the_session_goes_on(sandbox: Sandbox) -> None:
    session = sandbox.open_session(limits=Limits(memory_mib=200, disk_mib=4))
    assert session.run("x = 1\ny = bytearray(400 << 20)").outcome is Outcome.MEMORY
    assert session.run("open('f', 'wb').write(bytes(9 << 20))").outcome is Outcome.DISK
    assert session.run("x").stdout == "1\n"
    session.close()


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "import os; os.kill(os.getpid(), 9)",
        "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
    ],
)
def test_a_cell_that_ends_its_process_is_undone(session: PooledSession, code: str) -> None:
    text(session, "x = [1]\nopen('f', 'w').write('before')")
    result = session.run(
        f"x.append(2)\nopen('f', 'w').write('after')\n{code}", limits=Limits(cpu_s=0.3)
    )
    assert result.outcome is not Outcome.OK and "undone" in result.reason
    assert text(session, "x, open('f').read()") == "([1], 'before')\n"
    assert session.num_rebuilt == 1 and session.num_differences == 0


def test_a_fork_has_the_state_and_goes_its_own_way(session: PooledSession) -> None:
    text(
        session,
        "import os, random\nx = [1]\nos.mkdir('d')\nos.chdir('d')\nopen('f', 'w').write('1')",
    )
    others = [session.fork() for _ in range(3)]
    for number, other in enumerate(others):
        assert other.is_live
        text(other, f"x.append({number}); open('f', 'a').write('{number}'); here = os.getcwd()")
    text(session, "x.append('own')")
    assert text(session, "x, open('f').read()") == "([1, 'own'], '1')\n"
    for number, other in enumerate(others):
        assert text(other, "x, open('f').read()") == f"([1, {number}], '1{number}')\n"
        assert text(other, "here == os.getcwd(), os.path.basename(here)") == "(True, 'd')\n"
    grandchild = others[0].fork()
    others[0].close()
    assert text(grandchild, "x, open('f').read()") == "([1, 0], '10')\n"
    assert sum(one.num_rebuilt for one in (session, grandchild, *others)) == 0


def test_a_fork_of_forks_goes_deep(session: PooledSession) -> None:
    chain = [session]
    for depth in range(30):
        text(chain[-1], f"depth = {depth}")
        chain.append(chain[-1].fork())
    assert chain[-1].is_live
    assert text(chain[-1], "depth") == "29\n"
    for one in chain[1:]:
        one.close()


@pytest.mark.parametrize(
    "tie",
    [
        "f = open('kept', 'w'); f.write('x')",
        "import os; ends = os.pipe()",
        "import mmap; shared = mmap.mmap(-1, 4096)",
        "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
        "import socket; ends = socket.socketpair()",
    ],
)
def test_what_a_fork_would_share_is_rebuilt_instead(session: PooledSession, tie: str) -> None:
    text(session, f"x = 1\n{tie}")
    other = session.fork()
    assert not other.is_live
    assert text(other, "x += 1; x") == "2\n"
    assert text(session, "x") == "1\n"
    assert (session.num_rebuilt, other.num_rebuilt) == (0, 1)


def test_processes_end_with_their_cell(session: PooledSession) -> None:
    code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(0.5)\n    open('late', 'w')\n    os._exit(0)"
    text(session, code)
    time.sleep(0.7)
    assert text(session, "import time; time.sleep(0.2)\nos.listdir('.')") == "['data']\n"


@pytest.mark.parametrize("attack", SESSION_ATTACKS)
def test_no_session_harms_another(sandbox: Sandbox, attack: str) -> None:
    found = try_session_attack(sandbox, attack)
    assert found.held, found.detail


def test_the_least_recently_used_are_dropped_and_rebuilt() -> None:
    with open_sandbox("local", workers=1, max_sessions=3) as sandbox:
        sessions = [sandbox.open_session() for _ in range(6)]
        for number, session in enumerate(sessions):
            session.run(f"x = {number}")
        live = [session.is_live for session in sessions]  # type: ignore[attr-defined]
        assert live == [False] * 3 + [True] * 3
        assert [session.run("x").stdout for session in sessions] == [f"{i}\n" for i in range(6)]


def test_a_rebuilt_session_whose_output_differs_says_so() -> None:
    with open_sandbox("local", workers=1, max_sessions=1) as sandbox:
        one, other = sandbox.open_session(), sandbox.open_session()
        one.run("import time\ntime.time_ns()")
        one.run("1 + 1")
        other.run("1")
        one.run("2")
        assert (one.num_rebuilt, one.num_differences) == (1, 1)  # type: ignore[attr-defined]


def test_sessions_survive_the_loss_of_their_runner(local_sandbox: Sandbox) -> None:
    session = local_sandbox.open_session()
    session.run("x = 5")
    runner = session.runner  # type: ignore[attr-defined]
    runner.client.kill()
    assert session.run("x").stdout == "5\n"
    session.close()


def test_a_closed_session_and_a_closed_sandbox_say_so() -> None:
    with open_sandbox("local", workers=1) as sandbox:
        session = sandbox.open_session()
        session.close()
        session.close()
        with pytest.raises(SandboxError, match="session is closed"):
            session.run("1")
        left = sandbox.open_session()
        left.run("1")
    with pytest.raises(SandboxError, match="closed"):
        left.run("1")
    with pytest.raises(SandboxError, match="closed"):
        sandbox.open_session()


def test_a_file_name_that_leads_out_is_refused(local_sandbox: Sandbox) -> None:
    for name in ("../x", "/etc/x"):
        with pytest.raises(SandboxError, match="leads out"):
            local_sandbox.open_session(files={name: b""}).run("1")


def test_sessions_of_a_forked_process_are_its_own(local_sandbox: Sandbox) -> None:
    session = local_sandbox.open_session()
    session.run("x = 1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if session.run("x += 1; x").stdout == "2\n" else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert session.run("x").stdout == "1\n"
    session.close()

"""The contract of a sandbox as sentences, for every backend and for yours.

from stepgym.sandbox.conformance import conformance
findings = conformance(lambda: MySandbox())
"""

from __future__ import annotations

from collections.abc import Callable

from stepgym.plugins.contract import Clause, Finding, check_clauses
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    Program,
    Sandbox,
    SandboxError,
)

Opener = Callable[[], Sandbox]


def _run(opener: Opener, *programs: Program) -> list[ExecutionResult]:
    with opener() as sandbox:
        return sandbox.run(programs)


def _order(opener: Opener) -> None:
    results = _run(
        opener,
        *(Program(f"import time; time.sleep({i % 3} * 0.02); print({i})") for i in range(12)),
    )
    found = [result.stdout for result in results]
    assert found == [f"{i}\n" for i in range(12)], f"found {found}"


def _empty(opener: Opener) -> None:
    with opener() as sandbox:
        assert sandbox.run([]) == [] and sandbox.run_pairs([]) == []


def _streams(opener: Opener) -> None:
    source = "import sys\nprint(input() + open('data/a.txt').read() + sys.argv[1])\nprint('warn', file=sys.stderr)"
    [result] = _run(
        opener, Program(source, stdin="in\n", args=("arg",), files={"data/a.txt": "file"})
    )
    assert (result.stdout, result.stderr) == ("infilearg\n", "warn\n"), f"found {result}"


def _statuses(opener: Opener) -> None:
    sources = (
        "pass",
        "raise SystemExit(3)",
        "1 / 0",
        "import os; os.kill(os.getpid(), 9)",
        "this is no program",
    )
    expected = [
        (Outcome.OK, 0),
        (Outcome.ERROR, 3),
        (Outcome.ERROR, 1),
        (Outcome.KILLED, None),
        (Outcome.ERROR, 1),
    ]
    found = [(result.outcome, result.exit_code) for result in _run(opener, *map(Program, sources))]
    assert found == expected, f"found {found}"


def _fresh(opener: Opener) -> None:
    leave = Program(
        "import builtins, os; builtins.left = 1; open('left', 'w'); os.environ['LEFT'] = '1'"
    )
    look = Program(
        "import builtins, os; print(hasattr(builtins, 'left'), os.path.exists('left'), 'LEFT' in os.environ)"
    )
    results = _run(opener, *[leave, look] * 4)
    found = {result.stdout for result in results[1::2]}
    assert found == {"False False False\n"}, f"found {found}"


def _bad_sources(opener: Opener) -> None:
    sources = ("\ud800", "a\0b", "x = '" + "y" * 10_000_000 + "'", "(" * 100_000, "")
    results = _run(opener, *map(Program, sources), Program("print(1)"))
    assert results[-1].stdout == "1\n", f"found {results[-1]}"
    assert results[0].outcome is Outcome.ERROR and results[1].outcome is Outcome.ERROR, (
        f"found {results[:2]}"
    )


OVERRUNS = {
    Outcome.WALL_TIME: Program("import time; time.sleep(60)", limits=Limits(wall_s=0.3)),
    Outcome.CPU_TIME: Program("while True: pass", limits=Limits(wall_s=30, cpu_s=0.3)),
    Outcome.MEMORY: Program("x = [0] * 10**9", limits=Limits(memory_mib=128)),
    Outcome.PROCESSES: Program(
        "import os\nfor _ in range(9): os.fork()", limits=Limits(max_processes=3)
    ),
    Outcome.OUTPUT: Program("while True: print('x' * 999)", limits=Limits(output_bytes=10_000)),
    Outcome.DISK: Program("open('f', 'wb').write(bytes(9 << 20))", limits=Limits(disk_mib=4)),
}


def _overruns(opener: Opener) -> None:
    results = _run(opener, *OVERRUNS.values(), Program("print(1)"))
    found = [result.outcome for result in results]
    assert found == [*OVERRUNS, Outcome.OK], (
        f"found {[(result.outcome.value, result.reason) for result in results]}"
    )
    assert len(results[4].stdout) == 10_000, f"kept {len(results[4].stdout)} characters of output"


def _pairs(opener: Opener) -> None:
    candidate = Program("def double(x):\n    return x * 2")
    testers = [Program(f"remote.report([{i}, remote.get('double')({i})])") for i in range(4)]
    with opener() as sandbox:
        results = sandbox.run_pairs([Pair(candidate, tester) for tester in testers])
    found = [result.report for result in results]
    assert found == [f"[{i}, {2 * i}]" for i in range(4)], f"found {found}"


def _pair_faults(opener: Opener) -> None:
    limits = Limits(wall_s=0.5)
    dies = Pair(Program("import os; os._exit(0)"), Program("remote.get('f')"))
    hangs = Pair(Program("def f(): pass"), Program("while True: pass", limits=limits))
    well = Pair(Program("def f(): return 7"), Program("remote.report(remote.get('f')())"))
    with opener() as sandbox:
        results = sandbox.run_pairs([dies, hangs, well])
    assert results[0].report is None and results[1].report is None, f"found {results[:2]}"
    assert results[1].tester.outcome is Outcome.WALL_TIME, f"found {results[1].tester}"
    assert results[2].report == "7", f"found {results[2]}"


def _apart(opener: Opener) -> None:
    candidate = Program("import os\ndef look():\n    return [os.getpid(), sorted(os.listdir('.'))]")
    tester = Program(
        "import os\nopen('secret', 'w')\nremote.report([os.getpid(), *remote.get('look')()])"
    )
    with opener() as sandbox:
        [result] = sandbox.run_pairs([Pair(candidate, tester)])
    assert result.report is not None and result.report.endswith("[]]"), f"found {result}"


def _sessions(opener: Opener) -> None:
    with opener() as sandbox:
        session = sandbox.open_session(files={"a.txt": b"1"})
        session.run("x = int(open('a.txt').read())")
        other = session.fork()
        other.run("x += 1; open('a.txt', 'w').write('2')")
        failed = session.run("y = 5\n1 / 0")
        found = session.run("x, y, open('a.txt').read()").stdout, other.run("x").stdout
        session.close()
        other.close()
    assert failed.outcome is Outcome.ERROR and "line 2" in failed.stderr, f"found {failed}"
    assert found == ("(1, 5, '1')\n", "2\n"), f"found {found}"


def _closing(opener: Opener) -> None:
    sandbox = opener()
    sandbox.close()
    sandbox.close()
    try:
        sandbox.run([Program("pass")])
    except SandboxError:
        return
    raise AssertionError("a closed sandbox ran a program")


CLAUSES = (
    Clause("Results come in the order of the programs.", _order),
    Clause("No programs give no results.", _empty),
    Clause(
        "Standard input, arguments and files reach the program, both outputs come back.", _streams
    ),
    Clause("The outcome and exit code tell how the program ended.", _statuses),
    Clause("A program finds nothing that another left.", _fresh),
    Clause(
        "Source that is not UTF-8, has null bytes, is huge or empty is a result like any other.",
        _bad_sources,
    ),
    Clause("Each limit that is overrun has its outcome, and the next program runs.", _overruns),
    Clause("A tester calls its own candidate and its report comes back.", _pairs),
    Clause("A candidate that dies or a tester that hangs spoils no other pair.", _pair_faults),
    Clause("Candidate and tester share no folder.", _apart),
    Clause("A session keeps its state, shows values, and its fork goes its own way.", _sessions),
    Clause("Closing twice is fine; afterwards only SandboxError is raised.", _closing),
)
ANSWERING = (CLAUSES[1], CLAUSES[-1])
"""The clauses that also hold for a sandbox that runs nothing."""


def conformance(opener: Opener, clauses: tuple[Clause, ...] = CLAUSES) -> list[Finding]:
    """Check the sandboxes that `opener` opens against the contract.

    Returns one finding per clause, in order.
    """
    return check_clauses(opener, clauses)

"""The local sandbox runs programs."""

from stepgym.sandbox import Outcome, Program, open_sandbox


def test_a_program_runs() -> None:
    with open_sandbox("local") as sandbox:
        [result] = sandbox.run([Program("print(input())", stdin="hello")])
    assert (result.outcome, result.stdout) == (Outcome.OK, "hello\n")

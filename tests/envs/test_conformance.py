"""The contract catches what it says it catches: each broken part breaks its own sentence and no other of its kind."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from stepgym.cli import main
from stepgym.envs.conformance import (
    check_domain,
    check_environment,
    check_problem_set,
    check_verifier,
    first_problems,
)
from stepgym.envs.families.countdown import CountdownDomain, CountdownVerifier, problems
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import Problem, State, Status, Step, Verdict
from stepgym.plugins.contract import Finding

ITEMS = first_problems(problems())


class Choosy(CountdownDomain):
    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        if any(not step.text for step in steps):
            raise ValueError("empty step")
        return super().advance(states, steps)


class Restless(CountdownDomain):
    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        return [
            replace(s, steps=(*s.steps, t), end=None, answer=None) for s, t in zip(states, steps)
        ]


class Stingy(CountdownDomain):
    def legal_steps(self, state: State) -> list[str]:
        return [] if state.done else ["1 + 1"]


class Listing(CountdownDomain):
    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        after = super().advance(states, steps)
        return [s if s.done else replace(s, public=list(s.public)) for s in after]  # type: ignore[call-overload]


class Generous:
    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [Verdict(Status.CORRECT, 1.0) for _ in answers]


class Fragile(CountdownVerifier):
    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        for answer in answers:
            answer.encode("utf-8")
        return super().verify(problems, answers)


class Moody(CountdownVerifier):
    def __init__(self) -> None:
        self.chance = random.Random(0)

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        return [
            replace(v, score=self.chance.random() * v.score)
            for v in super().verify(problems, answers)
        ]


class Sums:
    """A small set that keeps the contract; what breaks it overrides one method."""

    name = "sums"

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def __len__(self) -> int:
        return 30

    def with_seed(self, seed: int) -> Any:
        return type(self)(seed)

    def number(self, index: int) -> int:
        return random.Random(f"{self.seed}/{index}").randrange(10**9)

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < 30:
            raise IndexError(index)
        return Problem(f"sums/{self.seed}/{index}", f"{self.number(index)}?", "0", index=index)


class Shifted(Sums):
    def number(self, index: int) -> int:
        return random.Random(self.seed + index).randrange(10**9)


class Impure(Sums):
    def number(self, index: int) -> int:
        return random.randrange(10**9)


class Endless(Sums):
    def __getitem__(self, index: int) -> Problem:
        return super().__getitem__(index % 30)


class Nameless(Sums):
    def __getitem__(self, index: int) -> Problem:
        return replace(super().__getitem__(index), id="sums")


class Talkative(ReasoningEnv):
    @property
    def info(self) -> dict[str, Any]:
        return {**super().info, "hint": self.problem.reference}


class Forgetful(ReasoningEnv):
    taken = 0

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        values = super().step(action)
        self.taken += 1
        return (f"{values[0]}{self.taken}", *values[1:])


def broken(findings: Sequence[Finding]) -> list[str]:
    return [finding.sentence for finding in findings if finding.fault is not None]


@pytest.mark.parametrize(
    ("findings", "sentences"),
    [
        (check_domain(CountdownDomain(), ITEMS), []),
        (
            check_domain(Choosy(), ITEMS),
            ["Any text adds one step, and an answer ends the episode."],
        ),
        (
            check_domain(Stingy(), ITEMS),
            [
                "A batch gives the same states as one call per state",
                "Legal steps are accepted, and playing",
            ],
        ),
        (check_domain(Listing(), ITEMS), ["A batch gives the same states as one call per state"]),
        (check_verifier(CountdownVerifier(), ITEMS), []),
        (
            check_verifier(Generous(), ITEMS),
            ["No text makes the verifier raise, and no nonsense is CORRECT."],
        ),
        (
            check_verifier(Fragile(), ITEMS),
            ["No text makes the verifier raise, and no nonsense is CORRECT."],
        ),
        (
            check_verifier(Moody(), ITEMS),
            ["Verdicts depend only on problem and answer, and keep the order of the request."],
        ),
        (check_problem_set(Sums()), []),
        (check_problem_set(Shifted()), ["No seed's items are another seed's items shifted."]),
        (check_problem_set(Endless()), ["An index outside the set is an IndexError."]),
        (check_problem_set(Nameless()), ["Every problem has its own id."]),
    ],
)
def test_each_fault_breaks_its_own_sentence(findings: list[Finding], sentences: list[str]) -> None:
    found = broken(findings)
    assert all(any(one.startswith(sentence) for sentence in sentences) for one in found), found
    assert bool(found) == bool(sentences)


def test_items_that_are_not_pure_are_found_out() -> None:
    assert "Item i is the same each time, also in a pickled copy." in broken(
        check_problem_set(Impure())
    )


def test_a_domain_without_an_end_breaks_what_depends_on_it() -> None:
    assert "A finished state does not change." in broken(check_domain(Restless(), ITEMS))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Talkative, "Neither observations nor infos show the reference."),
        (Forgetful, "A restored state has the same future."),
    ],
)
def test_an_environment_that_leaks_or_forgets(kind: type[ReasoningEnv], sentence: str) -> None:
    env = kind(problems(), domain=CountdownDomain(), verifier=CountdownVerifier())
    assert sentence in broken(check_environment(env))


PLUGINS = """
from stepgym.envs.families.countdown import make, problems
from stepgym.envs.reasoning_env import ReasoningEnv


class Set:
    name = "set"

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return problems()[index % 3]


class Needy:
    def __init__(self, size):
        pass
"""


def check(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["check", *arguments])
    return done.exit_code, done.output


def test_the_command_checks_what_a_path_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plugins.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(tmp_path))
    code, output = check("my_plugins:make")
    assert code == 0 and "environment" in output and "19 of 19 clauses passed" in output
    code, output = check("my_plugins:Set", "--json")
    report = json.loads(output)
    assert (code, report["kind"], report["broken"]) == (1, "problem set", 1)
    code, output = check("my_plugins:Set")
    assert code == 1 and "BROKEN  An index outside the set is an IndexError." in output
    for path, says in [
        ("my_plugins:Needy", "could not be made"),
        ("my_plugins", "or package.module:Thing"),
        ("my_plugins:Nothing", "has no 'Nothing'"),
        ("no_such_module:Thing", "cannot import 'no_such_module'"),
        (
            "stepgym.envs.families.countdown:CountdownDomain",
            "a domain or a verifier is checked inside its environment",
        ),
        ("stepgym/Countdwn-v0", "did you mean 'stepgym/Countdown-v0'?"),
    ]:
        code, output = check(path)
        assert code in (1, 2) and says in output, (path, output)


def test_the_command_lists_environments_and_shows_problems() -> None:
    run = CliRunner()
    listed = json.loads(run.invoke(main, ["envs", "--json"]).output)
    assert [set(row) for row in listed] == [{"id", "levels", "source", "example"}] * len(listed)
    assert all(row["id"].startswith("stepgym/") and row["example"] for row in listed)
    assert "stepgym/ModularSums-v0  (levels 1 to 10)" in run.invoke(main, ["envs"]).output
    shown = json.loads(
        run.invoke(main, ["envs", "Countdown-v0", "--level", "2", "--seed", "5", "--json"]).output
    )
    assert [row["id"] for row in shown] == [
        f"stepgym/Countdown-v0/level-2/seed-5/{i}" for i in range(3)
    ]
    assert "reference" not in shown[0]
    [told] = json.loads(
        run.invoke(main, ["envs", "Math-v0", "-n", "1", "--reference", "--json"]).output
    )
    assert told["reference"] == "2"
    wrong = run.invoke(main, ["envs", "Countdown-v0", "--level", "11"])
    assert wrong.exit_code == 2 and "levels 1 to 10, not 11" in wrong.output

"""How often a solver solves a proposed problem: any policy by name, or a scripted solver of known skill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from stepgym.agents.randomness import derive_seed, reseeded
from stepgym.agents.registry import load_policy
from stepgym.agents.run_setup import attempt_seed
from stepgym.agents.solving import solve
from stepgym.agents.types import Policy
from stepgym.envs.proposals.statement import Statement
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.plugins.settings import SettingError
from stepgym.sandbox.types import Sandbox


class Posed(NamedTuple):
    """A problem as a solver gets it."""

    statement: Statement
    reference: str
    """What counts as right: the computed solution, or with the gate off the proposer's own."""
    is_right: bool
    """Whether the reference is a solution."""


class SuccessRate(NamedTuple):
    """The share of decided attempts that succeeded; `None` if none was decided."""

    rate: float | None
    num_decided: int


@runtime_checkable
class Solver(Protocol):
    """Tries each problem several times."""

    def success_rates(self, posed: Sequence[Posed], num_attempts: int) -> list[SuccessRate]: ...


@dataclass(frozen=True)
class ScriptedSolver:
    """A solver that does each operation right with probability `skill`, independently, and never guesses.

    It succeeds on a problem of `n` operations with probability `skill ** n`, and never if the reference is wrong. Attempt `i`
    at a problem is a function of the seed, the problem and `i`.
    """

    skill: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.skill <= 1:
            raise SettingError(f"skill is a probability from 0 to 1, not {self.skill!r}")

    def success_rates(self, posed: Sequence[Posed], num_attempts: int) -> list[SuccessRate]:
        return [SuccessRate(self._rate(each, num_attempts), num_attempts) for each in posed]

    def _rate(self, posed: Posed, num_attempts: int) -> float:
        chance = self.skill**posed.statement.num_operations if posed.is_right else 0.0
        draws = [derive_seed(self.seed, posed.statement.key, i) for i in range(num_attempts)]
        return sum(draw < chance * 2**64 for draw in draws) / num_attempts


class PolicySolver:
    """A policy that samples one answer for each attempt, in the environment that belongs to the kind of problem."""

    def __init__(
        self, policy: str | Policy, *, sandbox: str | Sandbox = "auto", seed: int = 0
    ) -> None:
        self.policy = policy
        self.sandbox = sandbox
        self.seed = seed
        self._envs: dict[str, ReasoningEnv] = {}
        self._loaded: Policy | None = None if isinstance(policy, str) else policy

    def success_rates(self, posed: Sequence[Posed], num_attempts: int) -> list[SuccessRate]:
        found: dict[int, SuccessRate] = {}
        for kind in {each.statement.kind for each in posed}:
            chosen = {i: each for i, each in enumerate(posed) if each.statement.kind == kind}
            found |= zip(chosen, self._of_kind(kind, list(chosen.values()), num_attempts))
        return [found[i] for i in range(len(posed))]

    def close(self) -> None:
        """Close the environments; the next attempt opens them again."""
        for env in self._envs.values():
            env.close()
        self._envs = {}

    def __getstate__(self) -> dict[str, object]:
        loaded = None if isinstance(self.policy, str) else self.policy
        return {**self.__dict__, "_envs": {}, "_loaded": loaded}

    def _of_kind(self, kind: str, posed: Sequence[Posed], num_attempts: int) -> list[SuccessRate]:
        problems = [each.statement.problem(each.reference) for each in posed]
        if self._loaded is None:
            self._loaded = load_policy(str(self.policy), seed=self.seed)
        counts: list[Counter[str]] = [Counter() for _ in posed]
        for attempt in range(num_attempts):
            records = solve(
                problems,
                env=self._env(kind),
                agent="best_of_n",
                agent_settings={"n": 1},
                policy=reseeded(self._loaded, seed := attempt_seed(self.seed, attempt)),
                see_verdicts=False,
                seed=seed,
            )
            for count, record in zip(counts, records, strict=True):
                count[record.verdict] += 1
        return [_rate(count) for count in counts]

    def _env(self, kind: str) -> ReasoningEnv:
        if kind not in self._envs:
            if kind == "countdown":
                self._envs[kind] = load_env("stepgym/Countdown-v0")
            elif kind == "program":
                self._envs[kind] = load_env("stepgym/CRUXEval-v0", sandbox=self.sandbox)
            else:
                self._envs[kind] = load_env("stepgym/Math-v0", sandbox=None)
        return self._envs[kind]


def _rate(count: Mapping[str, int]) -> SuccessRate:
    num_decided = count["correct"] + count["incorrect"] + count["no_answer"]
    return SuccessRate(count["correct"] / num_decided if num_decided else None, num_decided)

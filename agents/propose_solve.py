"""`stepgym/ProposeSolve-v0`: propose a problem; the reward depends on how often a solver solves it.

After Absolute Zero (Zhao et al. 2025) and R-Zero (Huang et al. 2025). The answer is the text of a problem. A gate decides
whether it counts (`stepgym.envs.proposals.gate`); then a solver tries it. A proposal that counts is CORRECT, its score is
the reward. The verifier keeps which problems were proposed before, so a verdict depends on earlier proposals of others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from stepgym.agents.proposal_solvers import PolicySolver, Posed, ScriptedSolver, Solver, SuccessRate
from stepgym.agents.randomness import proposal_seed
from stepgym.agents.types import Policy
from stepgym.envs.proposals.domain import ProposalDomain
from stepgym.envs.proposals.gate import Gate, Judged, example_keys
from stepgym.envs.proposals.problems import problems
from stepgym.envs.proposals.reading import KINDS
from stepgym.envs.proposals.seen import Seen
from stepgym.envs.proposals.templates import draw_proposal
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.rewards import Rewards
from stepgym.envs.types import Closeable, Fault, Problem, State, Status, Step, Verdict
from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import SettingError, check_settings
from stepgym.sandbox.types import Sandbox

PAYS = {"4p(1-p)": lambda p: 4 * p * (1 - p), "1-p": lambda p: 1 - p}
"""The proposer's reward as a function of the solver's success rate."""


@dataclass(frozen=True, kw_only=True)
class ProposalRewards(Rewards):
    """A proposal that counts is paid its score, multiplied by `correct`."""

    def outcome(self, verdict: Verdict | None) -> float:
        """Return the reward for a verdict; `None` is no answer."""
        paid = super().outcome(verdict)
        return paid * verdict.score if verdict is not None and verdict.correct else paid


class ProposalVerifier:
    """The gate, and then the solver.

    `Verdict.details` has the kind, the number of operations, the success rate and the number of decided attempts. Without
    the gate every proposal counts: the reference is the solution that the proposer states, or else the computed one, and a
    proposal that has neither is one that no solver solves.
    """

    needs_reference = False

    def __init__(
        self,
        gate: Gate,
        solver: Solver,
        *,
        attempts: int = 8,
        pays: str = "4p(1-p)",
        is_gated: bool = True,
    ) -> None:
        if attempts < 1:
            raise SettingError(f"attempts is at least 1, not {attempts!r}")
        if pays not in PAYS:
            raise unknown_name("reward of a proposer", pays, PAYS, dotted=False)
        self.gate = gate
        self.solver = solver
        self.attempts = attempts
        self.pays = pays
        self.is_gated = is_gated

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        """Judge all proposals, then let the solver try those that count, in one batch."""
        judged = self.gate.judge(answers, problems)
        verdicts = [each.verdict for each in judged]
        posed: dict[int, Posed] = {}
        for i, each in enumerate(judged):
            if each.verdict.correct or not self.is_gated:
                task = _posed(each)
                if task is None:
                    verdicts[i] = self._paid(each, SuccessRate(0.0, self.attempts))
                else:
                    posed[i] = task
        rates = self.solver.success_rates(list(posed.values()), self.attempts) if posed else []
        for i, rate in zip(posed, rates, strict=True):
            verdicts[i] = self._paid(judged[i], rate)
        return verdicts

    def close(self) -> None:
        """Close the sandbox of the gate and the environments of the solver."""
        self.gate.close()
        if isinstance(self.solver, Closeable):
            self.solver.close()

    def _paid(self, judged: Judged, found: SuccessRate) -> Verdict:
        if found.rate is None:
            why = "no attempt of the solver was decided"
            return Verdict(Status.UNDECIDED, reason=why, decided_by="solver", fault=Fault.OURS)
        statement = judged.statement
        details: dict[str, Any] = {"success_rate": found.rate, "num_decided": found.num_decided}
        if statement is not None:
            details |= {"kind": statement.kind, "num_operations": statement.num_operations}
        if not judged.verdict.correct:
            details["refused_by"] = judged.verdict.decided_by
        reason = f"solved in {found.rate:.0%} of {found.num_decided} attempts"
        return Verdict(Status.CORRECT, PAYS[self.pays](found.rate), reason, "solver", details)


def _posed(judged: Judged) -> Posed | None:
    """Return the problem as the solver gets it; `None` if it has no reference."""
    reference = judged.stated_solution or judged.solution
    if judged.statement is None or not reference:
        return None
    is_right = judged.solution is not None and judged.verdict.decided_by not in (
        "states_right_solution",
        "is_deterministic",
    )
    return Posed(judged.statement, reference, is_right)


@dataclass(frozen=True)
class TemplateProposer:
    """A proposer without a model: draws sound proposals from templates. Its dotted path is a policy's name."""

    seed: int = 0
    num_operations: int | None = None
    """About how many operations each proposal has; by default two to five."""
    num_parameters: int = 0

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [self._draw(state, count) for state, count in zip(states, counts, strict=True)]

    def _draw(self, state: State, count: int) -> list[Step]:
        rng = random.Random(proposal_seed(self.seed, state, count))
        kind = state.public if state.public in KINDS else KINDS[0]
        texts = [
            draw_proposal(str(kind), rng, num_operations=self.num_operations) for _ in range(count)
        ]
        return [Step(f"<answer>{text}</answer>", num_tokens=len(text.split())) for text in texts]


def make(
    *,
    seed: int = 0,
    kinds: Sequence[str] | str = KINDS,
    solver: str | Policy | Solver = "scripted",
    skill: float = 0.8,
    attempts: int = 8,
    pays: str = "4p(1-p)",
    gate: bool = True,
    seen: str | Path | None = None,
    shown: int = 3,
    sandbox: str | Sandbox = "auto",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/ProposeSolve-v0`.

    `solver` is `scripted`, a solver that does each operation right with probability `skill`, or any policy's name.
    `attempts` is how often it tries each proposal, and `pays` the reward from its success rate p: `4p(1-p)` or `1-p`.
    With `gate=False` everything counts, for controls. `seen` is a file that keeps the proposals that counted, so that they are
    not new in a later run either. A chat model is shown the last `shown` of them of the kind that is asked for. `sandbox` runs
    proposed programs.
    """
    rewards = common.get("rewards") or {}
    if not isinstance(rewards, Rewards):
        check_settings("rewards", Rewards, rewards)
        common["rewards"] = ProposalRewards(**rewards)
    max_steps = common.pop("max_steps", 8)
    if shown < 0:
        raise SettingError(f"shown is 0 or more, not {shown!r}")
    known = Seen(seen, always=example_keys())
    verifier = ProposalVerifier(
        Gate(sandbox=sandbox, seen=known),
        make_solver(solver, skill=skill, sandbox=sandbox, seed=seed),
        attempts=attempts,
        pays=pays,
        is_gated=gate,
    )
    return ReasoningEnv(
        problems(kinds, seed),
        domain=ProposalDomain(known, shown=shown, max_steps=max_steps),
        verifier=verifier,
        **common,
    )


def make_solver(
    solver: str | Policy | Solver, *, skill: float, sandbox: str | Sandbox, seed: int
) -> Solver:
    """Return the solver of that name, or the given one."""
    if solver == "scripted":
        return ScriptedSolver(skill, seed)
    if isinstance(solver, Solver):
        return solver
    return PolicySolver(solver, sandbox=sandbox, seed=seed)

"""`stepgym reproduce data-gate`: self-play with and without a gate on the proposed problems, under two rewards.

After "Survive or Collapse" (Pu et al. 2026, arXiv 2605.22217), in a small tabular form: the proposer chooses among templates
of expressions, sound ones and unsound ones, and the solver among procedures for each operation. Both learn by REINFORCE.
The gate and the rewards are those of `stepgym/ProposeSolve-v0`. It shows the mechanism; nothing follows for language models.
"""

from __future__ import annotations

import ast
import json
import math
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.proposal_solvers import Posed, SuccessRate
from stepgym.agents.propose_solve import PAYS, ProposalVerifier
from stepgym.claims.jobs import run_jobs
from stepgym.envs.expressions import evaluate
from stepgym.envs.proposals.expressions import ProposedExpression, read_expression
from stepgym.envs.proposals.gate import Gate
from stepgym.envs.proposals.templates import draw_proposal
from stepgym.envs.types import Problem
from stepgym.records.atomic import write_whole

TEMPLATES = (
    "2 operations",
    "4 operations",
    "6 operations",
    "trivial",
    "repeated",
    "no value",
    "wrong",
)
"""What a proposer may choose; the last four are unsound. `no value` and `wrong` state a wrong solution."""
NUM_SOUND = 3
PROCEDURES = ("right", "one too many", "other sign", "first number")
OPERATIONS: dict[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
}
BATCH = 16
ATTEMPTS = 8
LEARNING_RATE = 0.2
START_LOGIT = 1.5
"""Of the right procedure, the others having 0: at the start the solver does an operation right with probability .60."""
HELD_OUT = 400


class Softmax:
    """A choice among a few options, learned by REINFORCE."""

    def __init__(self, logits: Sequence[float]) -> None:
        self.logits = list(logits)

    @property
    def shares(self) -> list[float]:
        weights = [math.exp(logit - max(self.logits)) for logit in self.logits]
        return [weight / sum(weights) for weight in weights]

    def learn(self, option: int, step: float) -> None:
        """Move towards an option by `step` along the gradient of its log-probability."""
        for k, share in enumerate(self.shares):
            self.logits[k] += step * ((k == option) - share)


class TabularSolver:
    """Chooses one procedure for each operation of an expression, and learns from the attempts that it made."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        start = [START_LOGIT] + [0.0] * (len(PROCEDURES) - 1)
        self.choices = {sign: Softmax(start) for sign in OPERATIONS}

    def success_rates(self, posed: Sequence[Posed], num_attempts: int) -> list[SuccessRate]:
        """Try each problem, then learn from all attempts: success is agreement with the reference."""
        rates, updates = [], []
        for each in posed:
            assert isinstance(each.statement, ProposedExpression)
            tried = [self.attempt(each.statement.tree) for _ in range(num_attempts)]
            right = [answer == Fraction(each.reference) for answer, _ in tried]
            rate = sum(right) / num_attempts
            rates.append(SuccessRate(rate, num_attempts))
            updates += [(used, hit - rate) for (_, used), hit in zip(tried, right)]
        for used, advantage in updates:
            for sign, option in used:
                self.choices[sign].learn(option, LEARNING_RATE * advantage / num_attempts)
        return rates

    def attempt(
        self, tree: ast.expr
    ) -> tuple[Fraction | None, list[tuple[type[ast.operator], int]]]:
        """Return an answer, `None` for a division, and the procedures that were chosen."""
        if isinstance(tree, ast.Constant):
            return Fraction(str(tree.value)), []
        assert isinstance(tree, ast.BinOp)
        (left, first), (right, second) = self.attempt(tree.left), self.attempt(tree.right)
        sign = type(tree.op)
        if left is None or right is None or sign not in OPERATIONS:
            return None, [*first, *second]
        [option] = self.rng.choices(range(len(PROCEDURES)), self.choices[sign].shares)
        exact = OPERATIONS[sign](left, right)
        other = left + right if sign is not ast.Add else left - right
        return (exact, exact + 1, other, left)[option], [*first, *second, (sign, option)]


class Arm(NamedTuple):
    """One run: gate, reward and seed."""

    gate: bool
    pays: str
    seed: int

    @property
    def name(self) -> str:
        return f"{'gate' if self.gate else 'no gate'}, {self.pays}"


def proposal(option: int, rng: random.Random) -> str:
    """Write a proposal by a template."""
    if option < NUM_SOUND:
        return draw_proposal("expression", rng, num_operations=2 * option + 2)
    sound = draw_proposal("expression", rng, num_operations=2)
    value = evaluate(sound.partition(":")[2])
    assert value is not None
    return {
        "trivial": f"expression: {rng.randint(2, 10**5)} + 0",
        "repeated": f"expression: 7 + 5 * {rng.randint(2, 6)}",
        "no value": f"expression: {rng.randint(2, 999)} / (4 - 4) + 2\nsolution: 2",
        "wrong": f"{sound}\nsolution: {value.value + 1}",
    }[TEMPLATES[option]]


def accuracy(solver: TabularSolver, seed: int) -> float:
    """Return the share of held-out expressions of four operations that the solver gets right, one attempt each."""
    rng, right = random.Random(f"held-out/{seed}"), 0
    for _ in range(HELD_OUT):
        text = draw_proposal("expression", rng, num_operations=4).partition(":")[2]
        statement, exact = read_expression(text), evaluate(text)
        assert isinstance(statement, ProposedExpression) and exact is not None
        right += solver.attempt(statement.tree)[0] == exact.value
    return right / HELD_OUT


def play(arm: Arm, rounds: int) -> dict[str, Any]:
    """Play one run; the proposer's reward is what the verifier pays, 0 for a refused proposal."""
    rng = random.Random(f"data-gate/{arm.seed}")
    solver, proposer = TabularSolver(rng), Softmax([0.0] * len(TEMPLATES))
    verifier = ProposalVerifier(Gate(), solver, attempts=ATTEMPTS, pays=arm.pays, is_gated=arm.gate)
    curve, baseline = [accuracy(solver, arm.seed)], 0.0
    for number in range(rounds):
        options = rng.choices(range(len(TEMPLATES)), proposer.shares, k=BATCH)
        texts = [proposal(option, rng) for option in options]
        asked = [Problem(f"{number}/{i}", "", "", public="expression") for i in range(BATCH)]
        rewards = [verdict.score for verdict in verifier.verify(asked, texts)]
        for option, reward in zip(options, rewards):
            proposer.learn(option, LEARNING_RATE * (reward - baseline))
        baseline += 0.1 * (sum(rewards) / BATCH - baseline)
        if (number + 1) % max(1, rounds // 10) == 0:
            curve.append(accuracy(solver, arm.seed))
    return {
        "arm": arm.name,
        "seed": arm.seed,
        "rounds": rounds,
        "accuracy": curve,
        "unsound": sum(proposer.shares[NUM_SOUND:]),
        "templates": dict(zip(TEMPLATES, proposer.shares)),
    }


def reproduce_data_gate(
    out: Path,
    *,
    seeds: int = 3,
    rounds: int = 150,
    jobs: int = 1,
    write_line: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Play all arms with all seeds; finished runs in `out` are not played again. Writes `results.json`."""
    arms = [
        Arm(gate, pays, seed) for seed in range(seeds) for gate in (True, False) for pays in PAYS
    ]
    runs = run_jobs(partial(_kept, out=out, rounds=rounds, write_line=write_line), arms, jobs)
    results = {
        name: {
            "first": [run["accuracy"][0] for run in runs if run["arm"] == name],
            "last": [run["accuracy"][-1] for run in runs if run["arm"] == name],
            "unsound": [run["unsound"] for run in runs if run["arm"] == name],
        }
        for name in dict.fromkeys(run["arm"] for run in runs)
    }
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def _kept(arm: Arm, *, out: Path, rounds: int, write_line: Callable[[str], None]) -> dict[str, Any]:
    gate, pays = "gate" if arm.gate else "no-gate", list(PAYS).index(arm.pays)
    path = out / f"{gate}-reward-{pays}-seed-{arm.seed}-rounds-{rounds}.json"
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    found = play(arm, rounds)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(found) + "\n")
    first, last = found["accuracy"][0], found["accuracy"][-1]
    write_line(f"{arm.name}, seed {arm.seed}: solved {first:.3f} to {last:.3f}")
    return found

"""When does tree search pay over best-of-N? Countdown, the shipped policy, equal FLOPs of the policy.

    python benchmarks/mcts_or_best_of_n.py --json

Each row is one search at one level and with one source of values: `none` (a vote), `embedded` (the shipped reward
model), `exact` (whether the target is still in reach: what a perfect step verifier would say), and `verdicts` (stop at
the first verified answer). A problem's budget is what best-of-N spends on average when nothing stops it, for every
search; a search that ends earlier is charged what it spent.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.intervals import wilson
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Budget
from stepgym.envs.families.countdown_solver import reachable
from stepgym.envs.registry import load_env
from stepgym.envs.types import State

MCTS: Mapping[str, Mapping[str, Any]] = {
    "mcts": {"simulations": 256},
    "mcts, width 2": {"simulations": 256, "width": 2},
    "mcts, width 8": {"simulations": 256, "width": 8},
    "mcts, widening 0.5": {"simulations": 256, "widen": 0.5},
    "mcts, leaf values alone": {"simulations": 256, "until_end": False},
    "mcts, greedy roll-outs": {"simulations": 256, "rollout_width": 1},
}


class Exact:
    """Scores 1 while the target is in reach."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return [[_worth(state)] * len(state.steps) for state in states]


def _worth(state: State) -> float:
    left, target = state.public  # type: ignore[misc]
    return float(reachable(left, target)) if not state.done or state.answer is not None else 0.0


def measure(level: int, n: int, num_problems: int, seed: int) -> list[dict[str, Any]]:
    """Return the rows of one level; best-of-N, the budget's measure, first for each source."""
    env = load_env("stepgym/Countdown-v0", level=level, seed=800_000 + seed)
    problems = [env.problems[i] for i in range(num_problems)]
    policy = EmbeddedPolicy(seed=seed)
    rows: list[dict[str, Any]] = []
    unstopped: float | None = None
    for source, reward_model in (
        ("none", None),
        ("embedded", EmbeddedRewardModel()),
        ("exact", Exact()),
        ("verdicts", None),
    ):
        budget = unstopped if source == "verdicts" else None
        samples = (
            8 * n if source == "verdicts" else n
        )  # which the budget cuts short, as it does the other searches
        for name, agent, settings in (
            (f"best-of-{samples}", "best_of_n", {"n": samples}),
            *((name, "mcts", given) for name, given in MCTS.items()),
        ):
            records = list(
                iter_solve(
                    problems,
                    env=env,
                    agent=agent,
                    agent_settings=settings,
                    policy=policy,
                    reward_model=reward_model,
                    seed=seed,
                    see_verdicts=source == "verdicts",
                    budget=budget and Budget(flops=budget),
                )
            )
            solved = sum(record.verdict == "correct" for record in records)
            flops = sum(record.usage["flops"] for record in records) / len(records)
            budget = budget or flops
            unstopped = unstopped or flops
            rows.append(
                {
                    "level": level,
                    "values": source,
                    "search": name,
                    "solved": solved / len(records),
                    "ci": list(wilson(solved, len(records))),
                    "mflop": flops / 1e6,
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 5])
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [
        row for level in given.levels for row in measure(level, given.n, given.problems, given.seed)
    ]
    if given.json:
        print(json.dumps({"rows": rows, "problems": given.problems, "seed": given.seed}))
        return
    for row in rows:
        low, high = row["ci"]
        print(
            f"level {row['level']}  {row['values']:9} {row['search']:24} {row['solved']:.3f} ({low:.3f} to {high:.3f}) {row['mflop']:8.1f} MFLOP"
        )


if __name__ == "__main__":
    main()

"""How many step labels are right? Countdown, the shipped policy: bisection against as many tokens of plain samples.

    python benchmarks/step_labels.py --seeds 3

Labels are `first_error`; the truth is the exact step verifier (is the target still in reach?). Plain samples are
widened until they cost at least as many tokens.
"""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from stepgym.agents.solving import iter_solve
from stepgym.envs.registry import load_env
from stepgym.training.examples import step_labels
from stepgym.training.types import StepLabels


def measure(
    level: int, seed: int, num_problems: int, agent: str, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the share of right labels, their number, and tokens a problem."""
    env = load_env("stepgym/Countdown-v0", level=level, seed=seed)
    problems = [env.problems[i] for i in range(num_problems)]
    right, total, tokens = 0, 0, 0.0
    for record in iter_solve(
        problems,
        env=env,
        agent=agent,
        agent_settings=settings,
        policy="embedded",
        see_verdicts=True,
        verify_all=True,
    ):
        exact = step_labels(record, StepLabels.VERIFIER)
        found = {
            node: label
            for node, label in step_labels(record, StepLabels.FIRST_ERROR).items()
            if node in exact
        }
        right += sum(exact[node] == label for node, label in found.items())
        total += len(found)
        tokens += record.usage["visible_tokens"]
    return {
        "level": level,
        "seed": seed,
        "agent": agent,
        **settings,
        "right": right / total,
        "labels": total,
        "tokens": tokens / num_problems,
    }


def main() -> None:
    """Print a row per level, seed and search, as JSON lines with `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--levels", type=int, nargs="+", default=[3, 5])
    parser.add_argument(
        "--seeds", type=int, default=3, help="sets of problems, from seed 700001 on"
    )
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--rollouts", type=int, default=6)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    for level in given.levels:
        for seed in range(700_001, 700_001 + given.seeds):
            settings = {"samples": given.samples, "rollouts": given.rollouts}
            rows = [measure(level, seed, given.problems, "bisect", settings)]
            one = measure(level, seed, 1, "best_of_n", {"n": 1, "wave": 1})[
                "tokens"
            ]  # every line has as many steps
            n = math.ceil(rows[0]["tokens"] / one)
            rows.append(measure(level, seed, given.problems, "best_of_n", {"n": n, "wave": n}))
            for row in rows:
                name = f"level {level}, seed {seed}, {row['agent']}"
                print(
                    json.dumps(row)
                    if given.json
                    else f"{name:34} {row['right']:.3f} of {row['labels']} right, {row['tokens']:.0f} tokens a problem",
                    flush=True,
                )


if __name__ == "__main__":
    main()

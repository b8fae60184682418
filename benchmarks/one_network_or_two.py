"""AlphaZero's value head or a reward model of its own? Countdown, level 3, the same episodes and steps for both.

    python benchmarks/one_network_or_two.py --json

The shipped policy plays under MCTS, with no reward model and without seeing verdicts. On these episodes are trained, for
each seed: `one` (the policy with a fresh value head), `two` (the policy, and a fresh reward model of the shipped one's
size), `two, shipped start` (the reward model goes on from the shipped one, which learned from an exact solver: what
`stepgym train alphazero` does by default). Measured on problems that were not played: MCTS with what was trained, which
sees no verdicts, and the value's AUC against exact reachability, on the positions that the shipped policy visits
(all, and those of one number alone).
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from stepgym.agents.embedded import net, value_head
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.intervals import wilson
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.claims.shipped_models.training import Settings, visited
from stepgym.envs.families.countdown_solver import reachable
from stepgym.envs.registry import load_env
from stepgym.selfplay.step_quality import auc
from stepgym.training.embedded_trainers import train_policy_value, train_targets, train_values
from stepgym.training.examples import path_labels, value_targets, visit_targets
from stepgym.training.types import Schedule

LEVEL, TRAINED_ON, HELD_OUT = 3, 411, 700_000
Trainer = Callable[[Sequence[EpisodeRecord], Schedule, int], tuple[Any, Any]]


def one(records: Sequence[EpisodeRecord], schedule: Schedule, seed: int) -> tuple[Any, Any]:
    """Return the models that propose and score."""
    model = value_head.load(WEIGHTS / net.POLICY)
    choices, values = (
        visit_targets(records),
        value_targets(records, "countdown", labels_of=path_labels),
    )
    train_policy_value(model, choices, values, schedule=schedule, seed=seed)
    return model.policy, model


def two(records: Sequence[EpisodeRecord], schedule: Schedule, seed: int) -> tuple[Any, Any]:
    prm = net.build(net.PRM, Settings().prm_shape, "countdown", seed=seed)
    return _apart(prm, records, schedule, seed)


def two_shipped(records: Sequence[EpisodeRecord], schedule: Schedule, seed: int) -> tuple[Any, Any]:
    return _apart(net.load(net.PRM, WEIGHTS / net.PRM), records, schedule, seed)


def _apart(
    prm: Any, records: Sequence[EpisodeRecord], schedule: Schedule, seed: int
) -> tuple[Any, Any]:
    policy = net.load(net.POLICY, WEIGHTS / net.POLICY)
    train_targets(policy, visit_targets(records), schedule=schedule, seed=seed)
    train_values(
        prm,
        value_targets(records, "countdown", labels_of=path_labels),
        schedule=schedule,
        batch=128,
        seed=seed,
    )
    return policy, prm


ARMS: dict[str, Trainer] = {"one": one, "two": two, "two, shipped start": two_shipped}


def measure(
    name: str, records: Sequence[EpisodeRecord], num_problems: int, schedule: Schedule, seed: int
) -> dict[str, Any]:
    """Train one arm and return its row."""
    env = load_env("stepgym/Countdown-v0", level=LEVEL, seed=HELD_OUT)
    played = {record.prompt for record in records}
    problems = [
        p for p in (env.problems[i] for i in range(4 * num_problems)) if p.prompt not in played
    ][:num_problems]
    started = time.process_time()
    policy, value = ARMS[name](records, schedule, seed)
    spent = time.process_time() - started
    reward_model = EmbeddedRewardModel(model=value)
    found = list(
        iter_solve(
            problems,
            env=env,
            agent="mcts",
            policy=EmbeddedPolicy(model=policy, seed=seed),
            reward_model=reward_model,
            seed=seed,
            see_verdicts=False,
        )
    )
    seen = visited(EmbeddedPolicy(), [p.public for p in problems], random.Random(HELD_OUT))  # type: ignore[misc]
    solved = sum(record.verdict == "correct" for record in found)
    in_reach = [reachable(*position) for position in seen]
    last = [i for i, (left, _) in enumerate(seen) if len(left) == 1]
    scores = reward_model.score_positions(seen)
    return {
        "arm": name,
        "seed": seed,
        "problems": len(problems),
        "solved": solved / len(found),
        "ci": list(wilson(solved, len(found))),
        "auc": auc(scores, in_reach),
        "auc_last": auc([scores[i] for i in last], [in_reach[i] for i in last]),
        "mflop": sum(record.usage["flops"] for record in found) / len(found) / 1e6,
        "training_cpu_s": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    env = load_env("stepgym/Countdown-v0", level=LEVEL, seed=TRAINED_ON)
    lessons = [env.problems[i] for i in range(given.episodes)]
    records = list(
        iter_solve(
            lessons, env=env, agent="mcts", policy="embedded", see_verdicts=False, verify_all=True
        )
    )
    schedule = Schedule(given.steps, given.learning_rate, warmup=20)
    rows = []
    for seed in range(given.seeds):
        for name in ARMS:
            rows.append(measure(name, records, given.problems, schedule, seed))
            if not given.json:
                print(_line(rows[-1]), flush=True)
    if given.json:
        print(
            json.dumps(
                {
                    "rows": rows,
                    "episodes": given.episodes,
                    "steps": given.steps,
                    "learning_rate": given.learning_rate,
                }
            )
        )


def _line(row: dict[str, Any]) -> str:
    low, high = row["ci"]
    return (
        f"{row['arm']:20} seed {row['seed']}  solved {row['solved']:.3f} ({low:.3f} to {high:.3f})  AUC {row['auc']:.3f}, "
        f"on last positions {row['auc_last']:.3f}  {row['mflop']:6.1f} MFLOP  {row['training_cpu_s']:5.1f} s to train"
    )


if __name__ == "__main__":
    main()

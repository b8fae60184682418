"""Does GRPO learn more from baselines at forks than from one over the group? Countdown and modular sums, equal tokens.

    python benchmarks/grpo_forks.py --seeds 3 --jobs 2 --json

Arms, all from the same start and for as many updates: `group` (independent samples, baseline over the group), `fork`
(trees, baseline at each fork). Controls: `tree, group baseline` (the same trees, baseline over the group) and `tree,
shuffled` (the same trees, their advantages shuffled over the paths of a problem). Trees are chosen to
cost about as many sampled tokens as the independent samples. Measured on problems that were not played.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.search.best_of_n import BestOfN
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord, Search
from stepgym.claims.imitation import demonstrations, known_facts
from stepgym.claims.jobs import run_jobs
from stepgym.envs.registry import load_env
from stepgym.training import grpo
from stepgym.training.config import TRAINING_SEED
from stepgym.training.embedded_grpo import train_embedded_grpo
from stepgym.training.embedded_trainers import train_targets
from stepgym.training.grpo import LearnedPath
from stepgym.training.tree_sampling import TreeSampling
from stepgym.training.types import Baseline, GrpoVariant, Schedule

GROUP, PROBLEMS_PER_STEP, HELD_OUT = 8, 16, 700_000
ARMS = ("group", "fork", "tree, group baseline", "tree, shuffled")
GAMES: dict[str, dict[str, Any]] = {
    "countdown": {"env": "stepgym/Countdown-v0", "level": 3, "learning_rate": 3e-4},
    "sums": {"env": "stepgym/ModularSums-v0", "level": 3, "learning_rate": 3e-4},
}


def start(game: str, seed: int) -> Any:
    """Return the shipped policy, or for sums one that imitates demonstrators who know 65% of the addition table."""
    if game == "countdown":
        return net.load(net.POLICY, WEIGHTS / net.POLICY)
    model = net.build(net.POLICY, net.Shape(24, 2, 2), "modular_sums", seed=seed)
    targets = demonstrations(4000, level=3, known=known_facts(0.65, seed), seed=seed)
    train_targets(model, targets, schedule=Schedule(2000, 7e-3), batch=64, seed=seed)
    return model


def tokens_of(records: Sequence[EpisodeRecord]) -> float:
    """Return the sampled tokens of a problem."""
    return sum(record.usage["visible_tokens"] for record in records) / len(records)


def equal_trees(env: Any, model: Any) -> TreeSampling:
    """Return the trees that cost about as many tokens as the independent samples."""
    problems = [env.problems[i] for i in range(32)]

    def cost(search: Search) -> float:
        policy = EmbeddedPolicy(model=model, distinct=False)
        played = grpo.play(problems, env=env, policy=policy, search=search)
        return tokens_of(played.records)

    wanted = cost(BestOfN(n=GROUP))
    trees = [TreeSampling(paths=n, fork=f) for f in (2, 3) for n in range(GROUP, 3 * GROUP)]
    return min(trees, key=lambda tree: abs(cost(tree) - wanted))


def shuffled(
    record: EpisodeRecord, *, baseline: Baseline, scaled: bool, inner: Any, stream: random.Random
) -> list[LearnedPath]:
    """Return the paths with the advantages of others of the same length."""
    paths: list[LearnedPath] = inner(record, baseline=baseline, scaled=scaled)
    found = list(paths)
    for length in {len(path.nodes) for path in paths}:
        alike = [i for i, path in enumerate(paths) if len(path.nodes) == length]
        for i, j in zip(alike, stream.sample(alike, len(alike))):
            found[i] = paths[i]._replace(advantages=paths[j].advantages)
    return found


def measure(env_id: str, level: int, model: Any) -> dict[str, float]:
    """Return the share solved on held-out problems, greedy and over samples."""
    env = load_env(env_id, level=level, seed=HELD_OUT)
    problems = [env.problems[i] for i in range(400)]
    greedy = iter_solve(
        problems, env=env, agent="greedy", policy=EmbeddedPolicy(model=model), see_verdicts=False
    )
    policy = EmbeddedPolicy(model=model, distinct=False)
    played = grpo.play(problems, env=env, policy=policy, search=BestOfN(n=GROUP))
    solved = [record.verdict == "correct" for record in greedy]
    return {"greedy": sum(solved) / len(solved), "sampled": played.reward}


def run(job: tuple[str, str, int], *, steps: int) -> dict[str, Any]:
    """Train and measure one arm of one game with one seed."""
    game, arm, seed = job
    torch.set_num_threads(1)
    about = GAMES[game]
    env = load_env(about["env"], level=about["level"], seed=TRAINING_SEED + seed)
    model = start(game, seed)
    before = measure(about["env"], about["level"], model)
    search = BestOfN(n=GROUP) if arm == "group" else equal_trees(env, model)
    inner = grpo.learned_paths
    if arm == "tree, shuffled":
        grpo.learned_paths = partial(shuffled, inner=inner, stream=random.Random(seed))
    began = time.process_time()
    try:
        train_embedded_grpo(
            model,
            env,
            variant=GrpoVariant.DR_GRPO,
            baseline=Baseline.FORK if arm in ("fork", "tree, shuffled") else Baseline.GROUP,
            search=search,
            problems_per_step=PROBLEMS_PER_STEP,
            seed=seed,
            schedule=Schedule(steps, about["learning_rate"], warmup=10),
        )
    finally:
        grpo.learned_paths = inner
    return {
        "game": game,
        "arm": arm,
        "seed": seed,
        "search": repr(search),
        "before": before,
        **measure(about["env"], about["level"], model),
        "cpu_s": round(time.process_time() - began, 1),
    }


def main() -> None:
    """Print a row per game, arm and seed, as JSON lines with `--json`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--games", nargs="+", default=list(GAMES))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    jobs = [(g, arm, seed) for g in given.games for arm in ARMS for seed in range(given.seeds)]
    for row in run_jobs(partial(run, steps=given.steps), jobs, given.jobs):
        if given.json:
            print(json.dumps(row), flush=True)
        else:
            print(
                f"{row['game']:10} {row['arm']:22} seed {row['seed']}  greedy"
                f" {row['before']['greedy']:.3f} -> {row['greedy']:.3f}  sampled {row['before']['sampled']:.3f}"
                f" -> {row['sampled']:.3f}  {row['cpu_s']:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()

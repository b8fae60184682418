"""Claim A, `stepgym reproduce small-beats-14x`: a small model that searches against a large one that does not.

Trains from scratch, writes `results.json` and a picture into its folder, and can be stopped: each seed that is
finished is not run again. What does not hold is reported like what does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.intervals import bootstrap_difference, wilson
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Budget
from stepgym.envs.registry import load_env
from stepgym.selfplay.train.embedded import Settings, train_policy, train_prm, training_boards
from stepgym.selfplay.train.fit import Schedule

Tell = Callable[[str], None]
SMALL, LARGE = net.Shape(24, 2, 2), net.Shape(80, 4, 4)
HELD_OUT = 700_000
SHARE = 0.7
"""Of the large one's FLOPs: a budget ends a search before its next round, so that the last round may go over it."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table: who plays, how, and whether it may spend more than the large one's greedy answer."""

    name: str
    policy: str
    agent: str
    settings: Mapping[str, Any]
    reward_model: str | None = None
    sees_verdicts: bool = False
    matched: bool = True


METHODS = (
    Method(name="large greedy", policy="large", agent="greedy", settings={}, matched=False),
    Method(name="small greedy", policy="small", agent="greedy", settings={}),
    Method(name="small best-of-N to the first verified", policy="small", agent="best_of_n", settings={"n": 64}, sees_verdicts=True),
    Method(name="small majority vote of 16", policy="small", agent="best_of_n", settings={"n": 16, "pick": "vote"}),
    Method(name="small PRM-weighted vote of 16", policy="small", agent="best_of_n", settings={"n": 16, "pick": "weighted_vote"}, reward_model="prm"),
    Method(name="small best-of-16 by PRM", policy="small", agent="best_of_n", settings={"n": 16, "pick": "score"}, reward_model="prm"),
    Method(name="small beam with PRM", policy="small", agent="beam", settings={}, reward_model="prm"),
    Method(name="small DVTS with PRM", policy="small", agent="dvts", settings={}, reward_model="prm"),
    Method(name="small MCTS with PRM", policy="small", agent="mcts", settings={"simulations": 16}, reward_model="prm"),
    Method(name="control: small beam, random values", policy="small", agent="beam", settings={}, reward_model="random"),
    Method(name="control: random legal play to the first verified, 64", policy="random", agent="best_of_n", settings={"n": 64}, sees_verdicts=True),
    Method(name="control: large best-of-16 to the first verified", policy="large", agent="best_of_n", settings={"n": 16}, sees_verdicts=True, matched=False),
)  # fmt: skip


def small_beats_large(
    out: Path, *, seeds: int = 3, num_problems: int = 200, level: int = 3, steps: int = 600, tell: Tell = print
) -> dict[str, Any]:
    """Train both sizes on the same demonstrations and steps, then search with the small one inside the large one's FLOPs.

    (Snell et al. 2024, arXiv:2408.03314.) The PRM's FLOPs count; training does not, and is told apart.
    """
    rows = []
    for seed in range(seeds):
        file = out / f"seed-{seed}" / "rows.json"
        if not file.is_file():
            found = _one_seed(file.parent, seed, num_problems, level, steps, tell)
            file.write_text(json.dumps(found), encoding="utf-8")
        rows.append(json.loads(file.read_text(encoding="utf-8")))
    results: dict[str, Any] = {"level": level, "steps": steps, "problems": num_problems, "methods": _pooled(rows)}
    (out / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    _scatter(out / "figure.png", results["methods"])
    return results


def _one_seed(folder: Path, seed: int, num_problems: int, level: int, steps: int, tell: Tell) -> list[dict[str, Any]]:
    tell(f"seed {seed}: training both sizes and the small one's reward model, {steps} steps each")
    policies, reward_models = _contenders(folder, seed, steps)
    env = load_env("stepgym/Countdown-v0", level=level, seed=HELD_OUT + seed)
    problems = [env.problems[i] for i in range(num_problems)]
    rows: list[dict[str, Any]] = []
    for method in METHODS:
        allowed = Budget(flops=SHARE * rows[0]["flops"]) if method.matched and rows else None
        records = list(
            iter_solve(
                problems, env=env, agent=method.agent, agent_settings=method.settings, seed=seed, budget=allowed,
                policy=policies[method.policy], see_verdicts=method.sees_verdicts,
                reward_model=reward_models[method.reward_model] if method.reward_model else None,
            )
        )  # fmt: skip
        rows.append(
            {
                "name": method.name,
                "parameters": getattr(policies[method.policy], "num_parameters", 0),
                "solved": [int(record.verdict == "correct") for record in records],
                "flops": sum(record.usage.get("flops", 0.0) for record in records) / len(records),
            }
        )
        tell(f"  {method.name:54} {sum(rows[-1]['solved']) / num_problems:.3f}  {rows[-1]['flops'] / 1e6:8.2f} MFLOP")
    return rows


def _contenders(folder: Path, seed: int, steps: int) -> tuple[dict[str, Any], dict[str, Any]]:
    settings = Settings(
        seed=seed, num_problems=min(6000, 20 * steps), policy_schedule=Schedule(steps, 5e-3), prm_schedule=Schedule(2 * steps, 5e-3),
        prm_shape=SMALL,
    )  # fmt: skip
    boards = training_boards(settings)
    policies: dict[str, Any] = {"random": load_policy("random", seed=seed)}
    for name, shape in (("small", SMALL), ("large", LARGE)):
        train_policy(settings._replace(policy_shape=shape), boards, out=folder / name)
        policies[name] = EmbeddedPolicy(folder / name, seed=seed)
    train_prm(settings, boards, policies["small"], out=folder / "prm")
    return policies, {"prm": EmbeddedRewardModel(folder / "prm"), "random": load_reward_model("random", seed=seed)}


def _pooled(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Join the seeds: share solved with its interval, and the difference to the large one's greedy, problem by problem."""
    pooled = []
    baseline = [one for rows in seeds for one in rows[0]["solved"]]
    for at, first in enumerate(seeds[0]):
        solved = [one for rows in seeds for one in rows[at]["solved"]]
        pooled.append(
            {
                "name": first["name"],
                "parameters": first["parameters"],
                "solved": sum(solved) / len(solved),
                "ci": list(wilson(sum(solved), len(solved))),
                "by_seed": [sum(rows[at]["solved"]) / len(rows[at]["solved"]) for rows in seeds],
                "over_large_greedy": (sum(solved) - sum(baseline)) / len(solved),
                "over_large_greedy_ci": list(bootstrap_difference(solved, baseline)),
                "mflop": sum(rows[at]["flops"] for rows in seeds) / len(seeds) / 1e6,
            }
        )
    return pooled


def _scatter(file: Path, methods: Sequence[Mapping[str, Any]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for method in methods:
        low, high = method["ci"]
        x, y = max(method["mflop"], 0.05), method["solved"]
        axes.errorbar(x, y, yerr=[[y - low], [high - y]], fmt="o", label=method["name"])
    axes.axvline(methods[0]["mflop"], color="grey", linestyle=":")
    axes.set(xscale="log", xlabel="test-time MFLOP a problem", ylabel="solved", ylim=(0, 1))
    axes.legend(fontsize=6)
    figure.savefig(file, dpi=120, bbox_inches="tight")
    pyplot.close(figure)

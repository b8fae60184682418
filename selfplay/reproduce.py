"""Claim B, `stepgym reproduce alphazero`: self-play improves the policy, small enough for any machine.

Trains from scratch, writes `results.json`, a picture and a page into its folder, and can be stopped: each seed and
arm that is finished is not run again. What does not hold is reported like what does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.selfplay.curves import bands, write_curves
from stepgym.selfplay.loop import LoopConfig, run_loop
from stepgym.selfplay.teachers import Teacher
from stepgym.selfplay.train.fit import Schedule
from stepgym.selfplay.train.imitation import train_imitation

Tell = Callable[[str], None]
ARMS = (Teacher.VOTE, Teacher.RANDOM, Teacher.ORACLE)


def self_play_improves(
    out: Path,
    *,
    seeds: int = 3,
    generations: int = 4,
    episodes: int = 300,
    held_out: int = 200,
    imitation_steps: int = 900,
    arms: Sequence[str] = ARMS,
    tell: Tell = print,
) -> dict[str, Any]:
    """Start from imitation of demonstrators who know part of the addition table, then learn from own votes alone.

    Arms: `vote` uses no label at all; `random` learns from any of its answers (must not improve); `oracle` from
    verified steps (the ceiling). Modular sums of five numbers; held-out problems are the same in every generation.
    """
    curves: dict[str, list[Any]] = {str(arm): [] for arm in arms}
    for seed in range(seeds):
        start = out / f"seed-{seed}" / "start"
        schedule = Schedule(imitation_steps, 5e-3)
        train_imitation(start, shape=net.Shape(32, 2, 4), share=0.6, num_problems=3000, schedule=schedule, seed=seed)
        for arm in arms:
            config = LoopConfig(
                out=str(out / f"seed-{seed}" / arm), env="stepgym/ModularSums-v0", init=str(start), teacher=arm,
                agent_settings={"n": 16, "pick": "vote"}, generations=generations, episodes=episodes,
                held_out=held_out, seed=seed, replay=3, confidence=1.0, temperature=0.5,
            )  # fmt: skip  (at confidence 1 the gate turns nothing down: the controls must be free to get worse)
            curves[str(arm)].append(run_loop(config, tell=lambda line, a=arm, s=seed: tell(f"seed {s} {a}: {line}")))  # type: ignore[misc]
    write_curves(out, curves)
    results = {
        arm: {what: bands(found, what) for what in ("greedy", "searched")} for arm, found in curves.items()
    }
    (out / "results.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    return results

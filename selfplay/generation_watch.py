"""The watch for reward hacking as a loop's report: `report = "stepgym.selfplay.generation_watch:watch_generation"`."""

from __future__ import annotations

import json
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.records.atomic import write_whole
from stepgym.selfplay.loop import Generation
from stepgym.selfplay.watch import watch
from stepgym.training.types import TrainingError

PROBLEMS, WIDTHS = 20, (1, 4, 8)
FILE = "watch.json"


def watch_generation(generation: Generation) -> dict[str, Any]:
    """Watch the new policy under the new reward model on held-out problems, told drift since the last generation.

    Returns the alarms and the step AUC; the whole is in `generation-G/watch.json`. Raises `TrainingError` for a loop
    without a reward model of its own.
    """
    config, folder = generation.config, generation.folder
    if not config.own_reward_model:
        raise TrainingError(
            "the watch looks at a reward model: set own_reward_model = true, or leave the report out"
        )
    last = folder.parent / f"generation-{generation.number - 1}" / FILE
    problems = [generation.env.problems[i] for i in range(min(PROBLEMS, config.held_out))]
    found = watch(
        generation.env,
        problems,
        widths=WIDTHS,
        seed=config.seed,
        policy=EmbeddedPolicy(
            folder / net.POLICY, seed=config.seed, temperature=config.temperature
        ),
        reward_model=EmbeddedRewardModel(folder / net.PRM),
        before=json.loads(last.read_text(encoding="utf-8")) if last.is_file() else None,
    )
    write_whole(folder / FILE, json.dumps(found) + "\n")
    return {"alarms": found["alarms"], "auc": found["steps"]["auc"]}

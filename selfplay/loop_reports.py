"""Reports that a loop can make at the end of each generation: `report = "stepgym.selfplay.loop_reports:reward_hacking"`."""

from __future__ import annotations

import json
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.records.atomic import write_whole
from stepgym.selfplay.loop import Generation
from stepgym.selfplay.reward_hacking import measure_reward_hacking
from stepgym.training.types import TrainingError

PROBLEMS, WIDTHS = 20, (1, 4, 8)
FILE = "reward_hacking.json"


def reward_hacking(generation: Generation) -> dict[str, Any]:
    """Watch the new policy under the new reward model on held-out problems, with drift since the last generation.

    Returns the alarms and the step AUC; the whole result is in `generation-G/reward_hacking.json`. Raises
    `TrainingError` for a loop without a reward model of its own.
    """
    config, folder = generation.config, generation.folder
    if not config.own_reward_model:
        raise TrainingError(
            "the report on reward hacking needs a reward model: set own_reward_model = true, or leave it out"
        )
    last = folder.parent / f"generation-{generation.number - 1}" / FILE
    result = measure_reward_hacking(
        generation.env,
        [generation.env.problems[i] for i in range(min(PROBLEMS, config.held_out))],
        widths=WIDTHS,
        seed=config.seed,
        policy=EmbeddedPolicy(
            folder / net.POLICY, seed=config.seed, temperature=config.temperature
        ),
        reward_model=EmbeddedRewardModel(folder / net.PRM),
        before=json.loads(last.read_text(encoding="utf-8")) if last.is_file() else None,
    )
    write_whole(folder / FILE, json.dumps(result) + "\n")
    return {"alarms": result["alarms"], "auc": result["steps"]["auc"]}

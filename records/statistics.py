"""A run folder in figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from stepgym.records.run_folder import read_config, read_episodes
from stepgym.records.types import RunSummary


def summarise(path: str | Path) -> RunSummary:
    """Count a run folder's episodes by verdict and add up their costs.

    Raises `RecordError` if the folder has no run.
    """
    config = read_config(path)
    verdicts: Counter[str] = Counter()
    usage: Counter[str] = Counter()
    nodes = 0
    for record in read_episodes(path):
        verdicts[record.verdict] += 1
        usage.update(record.usage)  # Counter adds floats as well
        nodes += len(record.nodes)
    episodes = verdicts.total()
    return RunSummary(
        run=str(path),
        episodes=episodes,
        verdicts=dict(verdicts.most_common()),
        solved=verdicts["correct"] / episodes if episodes else None,
        nodes=nodes,
        usage=dict(usage),
        env_id=config.env_id,
        agent=config.agent,
        policy=config.policy,
    )

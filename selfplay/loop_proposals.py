"""A loop on `stepgym/ProposeSolve-v0`: one policy proposes Countdown games and learns to solve those that count.

In each generation the policy proposes, the gate decides what counts, and the policy's own success rate p on a proposal gives its
reward (`pays`, by default 4p(1-p)). Then it plays the proposals that count, with the loop's search, into `generation-G/solved`.
It learns to propose from its proposals, weighted by reward, and to solve as in any loop. The held-out problems are those of
`stepgym/Countdown-v0`. The keys of all proposals that counted are in `seen.jsonl`; none counts twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stepgym.agents.registry import load_policy
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.proposals.problems import NAME as PROPOSE
from stepgym.envs.proposals.reading import Parts, read_statement, split_proposal
from stepgym.envs.registry import full_id, load_env
from stepgym.envs.types import Problem
from stepgym.records.loader import public_data
from stepgym.records.types import RunConfig
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import RUN
from stepgym.selfplay.play import play_into
from stepgym.training.grpo import end_reward
from stepgym.training.types import OnProgress, PolicyTarget, TrainingError

KIND = "countdown"
SOLVED_ON = "stepgym/Countdown-v0"
SOLVED = "solved"
"""In the folder of a generation: the run in which the policy plays the proposals that count."""
SET_BY_LOOP = ("solver", "seen")
"""Options of the environment that the loop sets."""


def is_proposing(config: LoopConfig) -> bool:
    """Return whether the policy proposes the problems that it learns from."""
    return full_id(config.env) == PROPOSE


def proposing_options(config: LoopConfig) -> dict[str, Any]:
    """Return the options of `stepgym/ProposeSolve-v0`, without those that the loop sets.

    Raises `TrainingError` for settings that do not fit.
    """
    options = {"kinds": KIND, **config.env_options}
    if options["kinds"] not in (KIND, [KIND]):
        raise TrainingError(
            f"the models of the loop propose kinds = {KIND!r}, not {options['kinds']!r}; for other kinds train a language "
            f"model: stepgym train grpo --init smollm2 --env {PROPOSE}"
        )
    for name in SET_BY_LOOP:
        if name in options:
            raise TrainingError(f"{name} is set by the loop: the policy solves what it proposes")
    for name in ("band", "own_reward_model"):
        if getattr(config, name):
            raise TrainingError(
                f"{name} does not fit {PROPOSE}: proposals have no level and no steps; leave it out"
            )
    return options


def solve_proposals(
    config: LoopConfig,
    records: Sequence[EpisodeRecord],
    folder: Path,
    about: RunConfig,
    *,
    policy: str,
    progress: OnProgress | None = None,
) -> None:
    """Play the proposals that count into a run folder; `about` has the settings of the run that proposed.

    Raises `TrainingError` if none counts.
    """
    problems = counted_problems(records)
    if not problems:
        reason = next((record.reason for record in records if record.reason), "no proposal")
        raise TrainingError(
            f"none of the proposals in {folder.parent / RUN} counts (the first: {reason}); raise episodes or n"
        )
    settings = RunConfig(
        env_id=SOLVED_ON,
        env_options={},
        agent=config.agent,
        agent_settings=dict(config.agent_settings),
        policy=about.policy,
        seed=about.seed,
        policy_settings=about.policy_settings,
        see_verdicts=config.see_verdicts,
    )
    played = play_into(
        folder,
        settings,
        problems,
        env=load_env(SOLVED_ON),
        policy=load_policy(policy, seed=about.seed, **about.policy_settings),
        progress=progress,
        task=f"{folder.parent.name}: solve",
    )
    for _ in played:
        pass


def counted_problems(records: Sequence[EpisodeRecord]) -> list[Problem]:
    """Return the problems that count, each once, in the order of the proposals."""
    found: dict[str, Problem] = {}
    for record in records:
        for node in record.nodes:
            parts = split_proposal(node.answer or "") if node.verdict == "correct" else ""
            statement = read_statement(parts) if isinstance(parts, Parts) else ""
            if not isinstance(statement, str):
                reference = "" if statement.unsolvable() else statement.solution()
                problem = statement.problem(reference)
                found.setdefault(problem.id, replace(problem, index=len(found)))
    return list(found.values())


def proposal_targets(buffer: Mapping[int, Sequence[EpisodeRecord]]) -> list[PolicyTarget]:
    """Return the decided proposals with a reward above 0, weighted by it.

    UNDECIDED proposals and failures teach nothing, and neither do refused ones, whose reward is 0.
    """
    found = []
    for record in (record for records in buffer.values() for record in records):
        public = public_data(record.nodes[0].public)
        for number, node in enumerate(record.nodes):
            reward = end_reward(record, number) or 0.0
            if reward > 0:
                weight = reward * max(1, node.visits)
                found.append(PolicyTarget(public, {node.text: 1.0}, weight))
    return found


def joined(first: Sequence[PolicyTarget], second: Sequence[PolicyTarget]) -> list[PolicyTarget]:
    """Return the targets of two roles; in each role the weights have the mean 1."""
    return [
        target._replace(weight=target.weight * len(group) / total)
        for group in (first, second)
        if (total := sum(target.weight for target in group))
        for target in group
    ]


def proposal_figures(
    records: Sequence[EpisodeRecord], solved: Sequence[EpisodeRecord]
) -> dict[str, Any]:
    """Return how many proposals were made, counted and were left undecided, their mean reward over the decided ones, and on
    how many different problems the search found a solution."""
    ends = [
        (node.verdict, end_reward(record, number))
        for record in records
        for number, node in enumerate(record.nodes)
        if node.end is not None
    ]
    rewards = [reward for _, reward in ends if reward is not None]
    return {
        "made": len(ends),
        "counted": sum(verdict == "correct" for verdict, _ in ends),
        "undecided": sum(verdict == "undecided" for verdict, _ in ends),
        "reward": sum(rewards) / len(rewards) if rewards else None,
        "problems": len(solved),
        "solved": sum(any(node.verdict == "correct" for node in each.nodes) for each in solved),
    }

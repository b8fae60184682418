"""What a loop plays: a generation's problems into its run folder, and the held-out ones that measure every policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.executors import IN_PROCESS
from stepgym.agents.intervals import wilson
from stepgym.agents.jobs import Executor, Job
from stepgym.agents.registry import load_policy
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import RunConfig
from stepgym.selfplay import costs
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_curriculum import (
    held_out_id,
    held_out_options,
    is_mixture,
    member_places,
    played_options,
)
from stepgym.selfplay.loop_folder import RUN, model_home
from stepgym.selfplay.loop_proposals import SOLVED, is_proposing, solve_proposals
from stepgym.selfplay.play import play_elsewhere, with_tokenizer, write_episodes
from stepgym.training.examples import count_undecidable_as_wrong, episode_is_correct
from stepgym.training.types import OnProgress, Progress, TrainingError

SEEN = "seen.jsonl"
"""In the folder of a loop: the proposals that counted."""
PLAY_SEED, HELD_OUT_SEED = 500_000, 700_000
"""Problem seeds of self-play and of evaluation; no two sets of different seeds share their draws."""


class Outcomes(NamedTuple):
    """How a set of episodes ended, problem by problem."""

    solved: list[int | None]
    """1 for correct, 0 for incorrect or no answer, `None` for UNDECIDED or failed: masked."""
    undecided: int
    failed: int

    @property
    def share(self) -> float:
        """The share of the decided episodes that are solved; at least one is decided."""
        decided = [one for one in self.solved if one is not None]
        return sum(decided) / len(decided)


def play(
    config: LoopConfig,
    generation: int,
    policy: str,
    *,
    options: Mapping[str, Any] | None = None,
    progress: OnProgress | None = None,
    executor: Executor = IN_PROCESS,
) -> list[EpisodeRecord]:
    """Let an executor play the generation's problems, write them into its run folder, and return all episodes.

    `policy` is named as in a line of the log; `options` are the environment's, by default those of the first generation.
    Raises `TrainingError` if no episode is decided.
    """
    options = played_options(config, ()) if options is None else options
    seed = PLAY_SEED + 1000 * config.seed + generation
    job = replace(
        _job(config, policy, seed=seed, options=options), env_id=config.env, verify_all=True
    )
    out = Path(config.out)
    if is_proposing(config):
        # Proposals are judged in this process, which keeps what was proposed before.
        executor = IN_PROCESS
        solver = {"solver": job.policy, "seen": str(out.absolute() / SEEN)}
        job = replace(job, env_options={**options, **solver}, see_verdicts=False)
        out.mkdir(parents=True, exist_ok=True)
    with closing(load_env(config.env, seed=seed, **job.env_options)) as env:
        problems = [env.problems[i] for i in range(config.episodes)]
    made = load_policy(job.policy, seed=seed, **job.policy_settings)
    folder = out / f"generation-{generation}" / RUN
    about = RunConfig(
        env_id=env.env_id,
        env_options=dict(options),
        agent=config.agent,
        agent_settings=dict(config.agent_settings),
        policy=policy,
        seed=seed,
        policy_settings=dict(job.policy_settings),
        reward_model=policy if config.own_reward_model else None,
        see_verdicts=job.see_verdicts,
    )
    for _ in write_episodes(
        folder,
        with_tokenizer(about, made),
        problems,
        partial(play_elsewhere, executor, job, problems),
        policy=made,
        progress=progress,
        task=f"generation {generation}: play",
    ):
        pass
    records = read_generation(config, generation)
    outcomes_of(records)
    if is_proposing(config):
        solved = folder.with_name(SOLVED)
        solve_proposals(config, records, solved, about, policy=job.policy, progress=progress)
    return records


def read_generation(config: LoopConfig, generation: int, part: str = RUN) -> list[EpisodeRecord]:
    """Return the episodes of one of a generation's run folders, in the order of their problems.

    UNDECIDED ones are as the config counts them.
    """
    folder = Path(config.out) / f"generation-{generation}" / part
    records = sorted(read_episodes(folder), key=lambda record: record.index)
    wrong = config.undecidable_is_wrong
    return [count_undecidable_as_wrong(record) for record in records] if wrong else records


def outcomes_of(records: Sequence[EpisodeRecord]) -> Outcomes:
    """Return how episodes ended. Raises `TrainingError` if none is decided, as with a policy of another game."""
    correct = [episode_is_correct(record) for record in records]
    verdicts = Counter(record.verdict for record in records)
    if all(one is None for one in correct):
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        why = next((r.note or r.reason for r in records if r.note or r.reason), "no reason given")
        raise TrainingError(
            f"no episode on {records[0].env_id if records else 'no environment'} was decided ({counts}); the first: {why}"
        )
    solved = [None if one is None else int(one) for one in correct]
    return Outcomes(solved, verdicts["undecided"], verdicts["failed"])


def held_out_env(config: LoopConfig) -> ReasoningEnv:
    """Make the environment of the held-out problems."""
    seed = HELD_OUT_SEED + config.seed
    return load_env(held_out_id(config), seed=seed, **held_out_options(config))


def held_out(config: LoopConfig) -> list[Problem]:
    """Return the problems that every generation is measured on and none learns from."""
    problems = held_out_env(config).problems
    return [problems[i] for i in range(config.held_out)]


def held_out_places(config: LoopConfig) -> dict[str, list[int]]:
    """Return for each environment of a mixture which of the held-out problems are its own.

    Raises `TrainingError` if one has none.
    """
    found = member_places(config, [problem.id for problem in held_out(config)])
    for env_id, places in found.items():
        if not places:
            raise TrainingError(
                f"none of the {config.held_out} held-out problems is of {env_id}; raise held_out or its weight"
            )
    return found


def evaluate(
    config: LoopConfig,
    name: str,
    *,
    progress: OnProgress | None = None,
    executor: Executor = IN_PROCESS,
) -> dict[str, Any]:
    """Return the share solved on the held-out problems, greedy and with the loop's search, problem by problem, and
    what both cost; with a mixture also the shares by environment. Raises `TrainingError` if no episode is decided."""
    places = held_out_places(config) if is_mixture(config) else {}
    job = _job(config, name, seed=config.seed, options=held_out_options(config))
    job = replace(job, env_options={**job.env_options, "seed": HELD_OUT_SEED + config.seed})

    def measured(agent: str, settings: Mapping[str, Any]) -> list[EpisodeRecord]:
        records = []
        how = replace(job, agent=agent, agent_settings=settings)
        for record in executor.play(how, range(config.held_out)):
            records.append(record)
            if progress is not None:
                task = f"{name}: measure {agent}"
                progress(Progress(task, len(records), config.held_out, "problems"))
        records.sort(key=lambda record: record.index)
        wrong = config.undecidable_is_wrong
        return [count_undecidable_as_wrong(record) for record in records] if wrong else records

    sides = {
        "greedy": measured("greedy", {}),
        "searched": measured(config.agent, config.agent_settings),
    }
    outcomes = {side: outcomes_of(records) for side, records in sides.items()}
    cost = {side: costs.playing_cost(records) for side, records in sides.items()}
    environments = {
        env_id: _of_environment(
            {side: [records[i] for i in own] for side, records in sides.items()}
        )
        for env_id, own in places.items()
    }
    return {
        **({"environments": environments} if environments else {}),
        "greedy": outcomes["greedy"].share,
        "searched": outcomes["searched"].share,
        "solved": outcomes["greedy"].solved,
        "searched_solved": outcomes["searched"].solved,
        "undecided": sum(one.undecided for one in outcomes.values()),
        "failed": sum(one.failed for one in outcomes.values()),
        "test": {
            **{unit: sum(one[unit] for one in cost.values()) for unit in ("tokens", "flops")},
            "flops_a_problem": {side: one["flops"] / config.held_out for side, one in cost.items()},
        },
    }


def _of_environment(sides: Mapping[str, Sequence[EpisodeRecord]]) -> dict[str, Any]:
    """Return the share that was solved on each side, and its 95% interval (Wilson)."""
    found: dict[str, Any] = {}
    for side, records in sides.items():
        outcomes = outcomes_of(records)
        decided = [one for one in outcomes.solved if one is not None]
        found |= {"problems": len(decided), side: outcomes.share}
        found[f"{side}_interval"] = list(wilson(sum(decided), len(decided)))
    return found


def _job(config: LoopConfig, name: str, *, seed: int, options: Mapping[str, Any]) -> Job:
    """Return a job that plays with the models of a log line."""
    home = model_home(config, name)
    scorer = f"embedded:{net.model_folder(home, net.PRM)}" if config.own_reward_model else None
    return Job(
        env_id=held_out_id(config),
        env_options=options,
        agent=config.agent,
        agent_settings=config.agent_settings,
        policy=f"embedded:{net.model_folder(home, net.POLICY)}",
        policy_settings={"temperature": config.temperature},
        reward_model=scorer,
        seed=seed,
        see_verdicts=config.see_verdicts,
    )

"""What a loop plays: a generation's problems into its run folder, and the held-out ones that measure every policy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.records.run_folder import RunFolder, read_config, read_episodes
from stepgym.records.types import EpisodeKey, RunConfig
from stepgym.selfplay import ledger
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import START, policy_folder
from stepgym.training.types import TrainingError

Tell = Callable[[str], None]
PLAY_SEED, HELD_OUT_SEED = 500_000, 700_000
"""Problem seeds of self-play and of evaluation; no two sets of different seeds share their draws."""


def silent(line: str) -> None:
    """Tell nobody."""


def play(
    config: LoopConfig,
    generation: int,
    start: str,
    *,
    level: int | None = None,
    tell: Tell = silent,
) -> list[EpisodeRecord]:
    """Play the generation's problems into its run folder and return all episodes; `start` names the policy as a line of
    the log does. Raises `TrainingError` where every episode failed."""
    level = config.level if level is None else level
    seed = PLAY_SEED + 1000 * config.seed + generation
    env = load_env(config.env, level=level, seed=seed, **config.env_options)
    folder = Path(config.out) / f"generation-{generation}" / "run"
    name = _as_before(config, folder, config.init if start == START else start)
    about = RunConfig(
        env_id=env.env_id,
        env_options={"level": level, **config.env_options},
        agent=config.agent,
        agent_settings=dict(config.agent_settings),
        policy=name,
        seed=seed,
        policy_settings={"temperature": config.temperature},
        reward_model=name if config.own_reward_model else None,
        see_verdicts=config.see_verdicts,
    )
    with RunFolder(folder, about) as run:
        problems = [env.problems[i] for i in range(config.episodes)]
        records = list(read_episodes(folder)) if run.done else []
        left = [problem for problem in problems if EpisodeKey(problem.id) not in run.done]
        for record in iter_solve(
            left,
            env=env,
            agent=config.agent,
            agent_settings=config.agent_settings,
            seed=seed,
            policy=_policy(config, start, seed),
            reward_model=_reward_model(config, start),
            see_verdicts=config.see_verdicts,
            verify_all=True,
        ):
            run.append(record)
            records.append(record)
            tell(f"played {len(records)} of {len(problems)} problems")
    return playable(records)


def _as_before(config: LoopConfig, folder: Path, start: str) -> str:
    """Return what the run folder calls the policy: a run cut short before its loop was moved says where it stood."""
    if not (folder / "run.json").is_file():
        return start
    told = str(read_config(folder).policy)
    return told if policy_folder(config, told) == policy_folder(config, start) else start


def playable(records: list[EpisodeRecord]) -> list[EpisodeRecord]:
    """Return the records; raises `TrainingError` where every episode failed, as with a policy of another game."""
    if records and all(record.verdict == "failed" for record in records):
        raise TrainingError(
            f"every episode on {records[0].env_id} failed, the first with: {records[0].note}"
        )
    return records


def held_out(config: LoopConfig) -> list[Problem]:
    """Return the problems that every generation is measured on and none learns from."""
    env = env_of(config, config.level, HELD_OUT_SEED)
    return [env.problems[i] for i in range(config.held_out)]


def evaluate(config: LoopConfig, name: str, *, tell: Tell = silent) -> dict[str, Any]:
    """Return accuracy on the held-out problems, greedy and under the loop's own search, which ones each solves, and
    what both cost. Raises `TrainingError` where every episode failed."""
    env, problems = env_of(config, config.level, HELD_OUT_SEED), held_out(config)
    policy = _policy(config, name, config.seed)

    def solved(agent: str, settings: Mapping[str, Any]) -> list[EpisodeRecord]:
        records = iter_solve(
            problems,
            env=env,
            agent=agent,
            agent_settings=settings,
            policy=policy,
            seed=config.seed,
            reward_model=_reward_model(config, name),
            see_verdicts=config.see_verdicts,
        )
        return playable(list(_told(records, f"of {len(problems)} problems, {agent}", tell)))

    greedy, searched = solved("greedy", {}), solved(config.agent, config.agent_settings)
    right, found = (
        [int(record.verdict == "correct") for record in records] for records in (greedy, searched)
    )
    cost = {"greedy": ledger.spent(greedy), "searched": ledger.spent(searched)}
    whole = {what: cost["greedy"][what] + cost["searched"][what] for what in cost["greedy"]}
    return {
        "greedy": sum(right) / len(right),
        "searched": sum(found) / len(found),
        "solved": right,
        "searched_solved": found,
        "test": {
            **whole,
            "flops_a_problem": {side: one["flops"] / len(problems) for side, one in cost.items()},
        },
    }


def _told(records: Iterable[EpisodeRecord], what: str, tell: Tell) -> Iterator[EpisodeRecord]:
    for number, record in enumerate(records, start=1):
        tell(f"measured {number} {what}")
        yield record


def env_of(config: LoopConfig, level: int, seed: int) -> Any:
    """Make the loop's environment."""
    return load_env(config.env, level=level, seed=seed + config.seed, **config.env_options)


def _policy(config: LoopConfig, name: str, seed: int) -> EmbeddedPolicy:
    folder = net.model_folder(policy_folder(config, name), net.POLICY)
    return EmbeddedPolicy(folder, seed=seed, temperature=config.temperature)


def _reward_model(config: LoopConfig, name: str) -> EmbeddedRewardModel | None:
    return (
        EmbeddedRewardModel(net.model_folder(policy_folder(config, name), net.PRM))
        if config.own_reward_model
        else None
    )

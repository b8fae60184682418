"""The loop: play with search, choose what to learn, train, evaluate, keep the better policy.

A loop has one folder: `generation-G/run` (episodes), `generation-G/policy` and, with its own reward model,
`generation-G/prm`; `loop.jsonl` has one line per finished generation. A second call resumes: episodes, training steps
and generations that are finished are not repeated. For the embedded models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES
from stepgym.agents.executors import IN_PROCESS
from stepgym.agents.jobs import Executor
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.curriculum import Curriculum
from stepgym.plugins.names import load_dotted
from stepgym.records.loader import Environments
from stepgym.selfplay import costs
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import (
    FRESH,
    START,
    add_line,
    check_settings,
    keep_settings,
    model_home,
    read_log,
)
from stepgym.selfplay.loop_learn import (
    policy_targets,
    replay_buffer,
    train_policy,
    train_reward_model,
    value_targets,
)
from stepgym.selfplay.loop_play import evaluate, held_out_env, outcomes_of, play
from stepgym.selfplay.teachers import Teacher, agreement
from stepgym.training.examples import episode_is_correct
from stepgym.training.types import OnProgress, Progress, TrainingError

FRESH_SHAPE = net.Shape(64, 3, 4)


class Generation(NamedTuple):
    """A finished generation, as a report sees it."""

    config: LoopConfig
    number: int
    folder: Path
    """Holds `run/`, `policy/` and, with its own reward model, `prm/`."""
    records: Sequence[EpisodeRecord]
    env: Any
    """The environment of the held-out problems."""


Report = Callable[[Generation], Mapping[str, Any]]
"""Returns figures that JSON can hold."""
Lines = Sequence[Mapping[str, Any]]
"""The log's lines so far."""


def run_loop(
    config: LoopConfig,
    *,
    progress: OnProgress | None = None,
    report: Report | None = None,
    executor: Executor = IN_PROCESS,
) -> list[dict[str, Any]]:
    """Run the generations that are missing and return one log line per generation.

    The first line is generation 0, the starting policy.

    The `executor` plays and evaluates; this process trains.

    `report` is called at the end of each generation and its figures are kept in the line (`config.report` names one).
    """
    report = load_dotted(config.report) if config.report else report
    episodes: dict[int, list[EpisodeRecord]] = {}

    def generation(number: int, lines: Lines) -> dict[str, Any]:
        return _generation(config, number, lines, episodes, report, progress, executor)

    return run_generations(config, generation, progress=progress, executor=executor)


def run_generations(
    config: LoopConfig,
    generation: Callable[[int, Lines], dict[str, Any]],
    *,
    progress: OnProgress | None = None,
    executor: Executor = IN_PROCESS,
) -> list[dict[str, Any]]:
    """Make the generations that the log lacks, and return all lines.

    `generation(number, lines)` makes one, from its number and the lines before it.
    """
    out = Path(config.out)
    check_settings(config)
    lines = read_log(out)
    for number in range(len(lines), config.generations + 1):
        line = (
            generation(number, lines) if number else first_line(config, progress, executor=executor)
        )
        keep_settings(config)
        add_line(out, line)
        lines.append(line)
        if progress is not None:
            shown = ("greedy", "searched", "accepted")
            figures = {name: float(line[name]) for name in shown if name in line}
            progress(Progress("loop", number + 1, config.generations + 1, "generations", figures))
    return lines


def first_line(
    config: LoopConfig, progress: OnProgress | None = None, *, executor: Executor = IN_PROCESS
) -> dict[str, Any]:
    """Return the log line of generation 0.

    It has the accuracy of the starting policy, and its training cost if known.
    """
    if config.init == FRESH:
        _write_fresh(config)
    if (
        config.own_reward_model
    ):  # a value head beside the policy can score, but the loop cannot train it
        net.load(net.PRM, net.model_folder(model_home(config, START), net.PRM))
    watch = costs.Stopwatch()
    figures = evaluate(config, START, progress=progress, executor=executor)
    cost = Path(config.init) / costs.FILE
    spent = {"imitation": json.loads(cost.read_text(encoding="utf-8"))} if cost.is_file() else {}
    spent["test"] = {**figures.pop("test"), "seconds": watch.lap()}
    return {"generation": 0, "policy": START, **figures, "costs": spent}


def _write_fresh(config: LoopConfig) -> None:
    """Write untrained models of the game that the loop's environment plays. Raises `TrainingError` for another game."""
    with closing(held_out_env(config)) as env:
        public = env.domain.initial(env.problems[0]).public
    game = next((name for name, each in GAMES.items() if each.plays(public)), None)
    if game is None:
        raise TrainingError(
            f"init = {FRESH!r} needs a game of the embedded models ({', '.join(GAMES)}), not {config.env}"
        )
    for kind in (net.POLICY, net.PRM) if config.own_reward_model else (net.POLICY,):
        folder = model_home(config, START) / kind
        if not (folder / "config.json").is_file():
            net.save(net.build(kind, FRESH_SHAPE, game, seed=config.seed), folder)


def _generation(
    config: LoopConfig,
    number: int,
    lines: Lines,
    episodes: dict[int, list[EpisodeRecord]],
    report: Report | None,
    progress: OnProgress | None,
    executor: Executor,
) -> dict[str, Any]:
    name = f"generation-{number}"
    folder, before = Path(config.out) / name, str(lines[-1]["policy"])
    level = level_after(config, lines)
    watch = costs.Stopwatch()
    records = episodes[number] = play(
        config, number, before, level=level, progress=progress, executor=executor
    )
    spent = {"play": {**costs.playing_cost(records), "seconds": watch.lap()}}
    buffer = replay_buffer(config, number, episodes)
    targets = policy_targets(config, buffer)
    cost = train_policy(
        config, targets, before, folder / net.POLICY, seed=number, progress=progress
    )
    spent["train"] = {**cost, "seconds": watch.lap()}
    if config.own_reward_model:
        values = value_targets(buffer)
        cost = train_reward_model(
            config, values, before, folder / net.PRM, seed=number, progress=progress
        )
        spent["reward_model"] = {**cost, "seconds": watch.lap()}
    figures = evaluate(config, name, progress=progress, executor=executor)
    spent["test"] = {**figures.pop("test"), "seconds": watch.lap()}
    best = next(line for line in reversed(lines) if line.get("accepted", True))
    worse = worse_p_value(best["solved"], figures["solved"])
    accepted = worse > 1 - config.confidence
    played = outcomes_of(records)
    line = {
        "generation": number,
        "policy": name if accepted else before,
        "accepted": accepted,
        "p_worse": worse,
        **figures,
        "play_solved": played.share,
        "play_undecided": played.undecided,
        "play_failed": played.failed,
        "targets": len(targets),
        "costs": spent,
    }
    if config.band:
        succeeded = successes(config, records)
        rate = sum(succeeded) / len(succeeded) if succeeded else None
        moved = next_level(config, level, succeeded)
        line |= {"level": level, "success": rate, "curriculum": moved}
    if report:
        line["report"] = dict(
            report(Generation(config, number, folder, records, held_out_env(config)))
        )
    return line


def level_after(config: LoopConfig, lines: Lines) -> int:
    """Return the level to play after these generations."""
    return int(lines[-1].get("curriculum", config.start_level)) if config.band else config.level


def next_level(config: LoopConfig, level: int, succeeded: Sequence[bool]) -> int:
    """Return the level after a generation: one up or down by its own success rate alone."""
    if not succeeded:
        return level
    low, high = config.band
    course = Curriculum(
        level=level, highest=config.highest_level, low=low, high=high, window=len(succeeded)
    )
    return reduce(Curriculum.observe, succeeded, course).level


def successes(config: LoopConfig, records: Sequence[EpisodeRecord]) -> list[bool]:
    """Return for each decided episode whether it counts as a success for the level played.

    The verdict decides or, with votes, whether half of the samples agree.

    UNDECIDED episodes (unless votes decide) and failed ones are left out.
    """
    if Teacher(config.teacher) is not Teacher.VOTE:
        found = [episode_is_correct(record) for record in records]
        return [correct for correct in found if correct is not None]
    played = [record for record in records if record.verdict != "failed"]
    with closing(Environments()) as environments:
        return [agreement(record, environments.comparison(record)) >= 0.5 for record in played]


def worse_p_value(old: Sequence[int | None], new: Sequence[int | None]) -> float:
    """Return the p-value of "the new policy is worse": exact McNemar test, one side.

    Results are 1, 0 or `None` (undecided) per problem, in the same order; problems that either did not decide are
    left out.
    """
    decided = [(o, n) for o, n in zip(old, new, strict=True) if o is not None and n is not None]
    lost = sum(o > n for o, n in decided)
    discordant = sum(o != n for o, n in decided)
    # Whole numbers, because 2.0**1024 overflows.
    return sum(math.comb(discordant, k) for k in range(lost, discordant + 1)) / (1 << discordant)

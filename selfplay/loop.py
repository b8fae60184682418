"""The loop: play with search, learn from what a teacher approves, evaluate, keep the better policy; again.

A loop lives in one folder: `generation-G/run` (episodes), `generation-G/policy` and, with its own reward model,
`generation-G/prm`; `loop.jsonl` has one line per finished generation. Started again it goes on where it stopped:
episodes, training steps and whole generations that are there are not repeated. For the embedded models.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.curriculum import Curriculum
from stepgym.plugins.names import load_dotted
from stepgym.records.near_duplicates import without_near_duplicates
from stepgym.records.run_folder import read_episodes
from stepgym.selfplay import ledger
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_episodes import (
    HELD_OUT_SEED,
    Tell,
    env_of,
    evaluate,
    held_out,
    play,
    silent,
)
from stepgym.selfplay.loop_folder import (
    START,
    add_line,
    check_settings,
    keep_settings,
    policy_folder,
    read_log,
)
from stepgym.selfplay.teachers import Teacher, agreement, lessons
from stepgym.training import boards, examples
from stepgym.training.examples import Replay, require, require_both_classes
from stepgym.training.types import PolicyTarget, Schedule, StepLabels, ValueTarget

EVERY_S = 20.0
"""How seldom a generation tells of itself before it is finished."""


class Generation(NamedTuple):
    """What a per-generation report may look at."""

    config: LoopConfig
    number: int
    folder: Path
    """Holds `run/`, `policy/` and, with its own reward model, `prm/`."""
    records: Sequence[EpisodeRecord]
    env: Any


Report = Callable[[Generation], Mapping[str, Any]]
"""Returns JSON-able figures."""


def run_loop(
    config: LoopConfig, *, tell: Tell = silent, report: Report | None = None
) -> list[dict[str, Any]]:
    """Run the generations that are not there yet and return the line of each, the start as generation 0.

    `report` is called at the end of each generation and its figures are kept in the line (`config.report` names one).
    """
    report = load_dotted(config.report) if config.report else report
    memory: dict[int, list[EpisodeRecord]] = {}

    def generation(number: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return _generation(
            config, number, lines, memory, report, seldom(tell, f"generation {number}")
        )

    return finish(config, generation, tell=tell)


def finish(
    config: LoopConfig,
    generation: Callable[[int, Sequence[Mapping[str, Any]]], dict[str, Any]],
    *,
    tell: Tell,
) -> list[dict[str, Any]]:
    """Make the generations that the log has not yet, each from its number and the lines before; return all lines."""
    out = Path(config.out)
    check_settings(out, config)
    lines = read_log(out)
    for number in range(len(lines), config.generations + 1):
        line = generation(number, lines) if number else first_line(config, seldom(tell, "start"))
        keep_settings(out, config)
        add_line(out, line)
        lines.append(line)
        tell(_told(line))
    return lines


def seldom(tell: Tell, what: str, every_s: float = EVERY_S) -> Tell:
    """Return a `tell` that lets a line about `what` through once `every_s` seconds have passed since the last."""
    last = time.monotonic()

    def now_and_then(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= every_s:
            tell(f"{what}: {line}")
            last = time.monotonic()

    return now_and_then


def first_line(config: LoopConfig, tell: Tell = silent) -> dict[str, Any]:
    """Return the line of generation 0: what the start can do, and what it cost where its trainer says so."""
    if config.own_reward_model:  # a head on the policy can score, but is not what the loop trains
        net.load(net.PRM, net.model_folder(policy_folder(config, START), net.PRM))
    clock = ledger.Clock()
    figures = evaluate(config, START, tell=tell)
    cost = Path(config.init) / ledger.FILE
    spent = {"imitation": json.loads(cost.read_text(encoding="utf-8"))} if cost.is_file() else {}
    tested = {**figures.pop("test"), "seconds": clock.lap()}
    return {"generation": 0, "policy": START, **figures, "ledger": {**spent, "test": tested}}


def _generation(
    config: LoopConfig,
    number: int,
    lines: Sequence[Mapping[str, Any]],
    memory: dict[int, list[EpisodeRecord]],
    report: Report | None,
    tell: Tell,
) -> dict[str, Any]:
    name = f"generation-{number}"
    folder = Path(config.out) / name
    before = str(lines[-1]["policy"])
    level = level_after(config, lines)
    clock = ledger.Clock()
    memory[number] = play(config, number, before, level=level, tell=tell)
    played = {**ledger.spent(memory[number]), "seconds": clock.lap()}
    buffer = buffered(config, number, memory)
    choices = lessons_of(config, buffer)
    policy = train_policy(config, choices, before, folder / net.POLICY, seed=number, tell=tell)
    spent = {"play": played, "train": {**policy, "seconds": clock.lap()}}
    if config.own_reward_model:
        judged = _train_prm(
            config, judged_of(config, buffer), before, folder / net.PRM, seed=number, tell=tell
        )
        spent["reward_model"] = {**judged, "seconds": clock.lap()}
    figures = evaluate(config, name, tell=tell)
    spent["test"] = {**figures.pop("test"), "seconds": clock.lap()}
    best = next(line for line in reversed(lines) if line.get("accepted", True))
    worse = worse_p_value(best["solved"], figures["solved"])
    accepted = worse > 1 - config.confidence
    line = {
        "generation": number,
        "policy": name if accepted else before,
        "accepted": accepted,
        "p_worse": worse,
        **figures,
        "play_solved": sum(r.verdict == "correct" for r in memory[number]) / len(memory[number]),
        "lessons": len(choices),
        "ledger": spent,
    }
    if config.band:
        outcomes = successes(config, memory[number])
        line |= {
            "level": level,
            "success": sum(outcomes) / len(outcomes),
            "curriculum": next_level(config, level, outcomes),
        }
    if report:
        line["report"] = dict(
            report(
                Generation(
                    config,
                    number,
                    folder,
                    memory[number],
                    env_of(config, config.level, HELD_OUT_SEED),
                )
            )
        )
    return line


def buffered(
    config: LoopConfig, generation: int, memory: dict[int, list[EpisodeRecord]]
) -> dict[int, list[EpisodeRecord]]:
    """Return all that a generation may learn from: the replay buffer's episodes by generation, without near-duplicates
    and without problems like a held-out one.

    `memory` holds generations that this process has played or read; what has left the buffer is dropped from it.
    """
    first = max(1, generation - config.replay + 1)
    for g in range(first, generation):
        if g not in memory:
            memory[g] = list(read_episodes(Path(config.out) / f"generation-{g}" / "run"))
    for g in [g for g in memory if g < first]:
        del memory[g]
    apart = [problem.prompt for problem in held_out(config)]
    numbers = sorted(memory)
    return dict(zip(numbers, without_near_duplicates([memory[g] for g in numbers], apart=apart)))


def lessons_of(
    config: LoopConfig, buffer: Mapping[int, Sequence[EpisodeRecord]]
) -> list[PolicyTarget]:
    """Return what the policy learns from the buffer."""
    replay = Replay(options=config.env_options)
    found: list[PolicyTarget] = []
    for g, kept in buffer.items():
        trusted = replace(
            config, most_agreed=min(1.0, config.most_agreed + config.more_agreed * (g - 1))
        )
        by_problem = lessons(trusted, kept, replay, seed=1000 * config.seed + g)
        found += [choice for choices in by_problem.values() for choice in choices]
    return require(found, f"nothing that teacher {config.teacher} approves")


def judged_of(
    config: LoopConfig, buffer: Mapping[int, Sequence[EpisodeRecord]]
) -> list[ValueTarget]:
    """Return what the loop's own reward model learns from the buffer."""
    records = [record for kept in buffer.values() for record in kept]
    replay = Replay(options=config.env_options)
    return require_both_classes(
        examples.step_values(records, replay, labels=StepLabels.MONTE_CARLO)
    )


def train_policy(
    config: LoopConfig,
    choices: Sequence[PolicyTarget],
    start: str,
    out: Path,
    *,
    seed: int,
    steps: int | None = None,
    tell: Tell = silent,
) -> dict[str, float]:
    """Train the policy named `start` on the lessons into `out`; return what it cost."""
    schedule = Schedule(
        steps or config.steps, config.learning_rate, warmup=20, checkpoint_every=200
    )
    model = net.load(net.POLICY, net.model_folder(policy_folder(config, start), net.POLICY))
    progress = partial(_tell_training, tell, net.POLICY)
    boards.train_targets(
        model, choices, schedule=schedule, batch=config.batch, seed=seed, out=out, progress=progress
    )
    read = boards.tokens_read(model.config.stepgym_game, choices[:500])
    return ledger.training(net.num_parameters(model), read * config.batch * schedule.steps)


def _train_prm(
    config: LoopConfig,
    judged: Sequence[ValueTarget],
    start: str,
    out: Path,
    *,
    seed: int,
    tell: Tell,
) -> dict[str, float]:
    schedule = Schedule(config.steps, config.learning_rate, warmup=20, checkpoint_every=200)
    prm = net.load(net.PRM, net.model_folder(policy_folder(config, start), net.PRM))
    boards.train_values(
        prm,
        judged,
        schedule=schedule,
        seed=seed,
        out=out,
        progress=partial(_tell_training, tell, net.PRM),
    )
    game = GAMES[prm.config.stepgym_game]
    sizes = [len(game.reading_tokens(one.board)) for one in judged[:500]]
    return ledger.training(net.num_parameters(prm), sum(sizes) / len(sizes) * 256 * config.steps)


def _tell_training(
    tell: Tell, kind: str, step: int, steps: int, figures: Mapping[str, float]
) -> None:
    tell(f"trained {kind} {step} of {steps} steps, loss {figures['loss']:.3f}")


def level_after(config: LoopConfig, lines: Sequence[Mapping[str, Any]]) -> int:
    """Return the level to play after these generations."""
    if not config.band:
        return config.level
    left = lines[-1].get("curriculum", config.start_level)
    return int(
        left["level"] if isinstance(left, dict) else left
    )  # loops of before kept a whole curriculum here


def next_level(config: LoopConfig, level: int, outcomes: Sequence[bool]) -> int:
    """Return the level after a generation: one up or down by its own success rate alone."""
    low, high = config.band
    course = Curriculum(
        level=level, highest=config.highest_level, low=low, high=high, window=len(outcomes)
    )
    return reduce(Curriculum.observe, outcomes, course).level


def successes(config: LoopConfig, records: Sequence[EpisodeRecord]) -> list[bool]:
    """Say which episodes are a success for the curriculum: by verdict, or without labels by half the votes."""
    if Teacher(config.teacher) is not Teacher.VOTE:
        return [record.verdict == "correct" for record in records]
    replay = Replay(options=config.env_options)
    return [agreement(record, replay.same(record)) >= 0.5 for record in records]


def worse_p_value(old: Sequence[int], new: Sequence[int]) -> float:
    """Return the chance of the new one doing this badly if both were equal: exact McNemar, one side."""
    lost = sum(o > n for o, n in zip(old, new, strict=True))
    won = sum(o < n for o, n in zip(old, new, strict=True))
    n = lost + won
    worse, all_ways = (
        sum(math.comb(n, k) for k in range(lost, n + 1)),
        1 << n,
    )  # whole numbers: 2.0**1024 is none
    return worse / all_ways


def _told(line: Mapping[str, Any]) -> str:
    verdict = "" if line.get("accepted", True) else "  (turned down)"
    return f"generation {line['generation']}: greedy {line['greedy']:.3f}  searched {line['searched']:.3f}{verdict}"

"""The loop: play with search, learn from what a teacher approves, evaluate, keep the better policy; again.

A loop lives in one folder: `generation-G/run` (episodes), `generation-G/policy` and, with its own reward model,
`generation-G/prm`; `loop.jsonl` has one line per finished generation. Started again it goes on where it stopped:
episodes, training steps and whole generations that are there are not repeated. For the embedded models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES
from stepgym.agents.embedded.policy import WEIGHTS, EmbeddedPolicy
from stepgym.agents.embedded.reward import EmbeddedRewardModel
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.curriculum import Curriculum
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.sandbox.plugins import load_dotted
from stepgym.selfplay import ledger
from stepgym.selfplay.buffer import without_near_duplicates
from stepgym.selfplay.loop_config import LoopConfig, hold_to
from stepgym.selfplay.run_folder import RunFolder, read_episodes
from stepgym.selfplay.teachers import Teacher, agreement, lessons
from stepgym.selfplay.train import boards, examples
from stepgym.selfplay.train.examples import Choice, Labels, Replay, require, require_both_classes
from stepgym.selfplay.train.fit import Schedule
from stepgym.selfplay.types import RunConfig

Tell = Callable[[str], None]
PLAY_SEED, HELD_OUT_SEED = 500_000, 700_000
"""Problem seeds of self-play and of evaluation; no two sets of different seeds share their draws."""


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
    config: LoopConfig, *, tell: Tell = lambda line: None, report: Report | None = None
) -> list[dict[str, Any]]:
    """Run the generations that are not there yet and return the line of each, the start as generation 0.

    `report` is called at the end of each generation and its figures are kept in the line (`config.report` names one).
    """
    report = load_dotted(config.report) if config.report else report
    memory: dict[int, list[EpisodeRecord]] = {}
    return finish(config, lambda number, lines: _generation(config, number, lines, memory, report), tell=tell)


def finish(
    config: LoopConfig, generation: Callable[[int, Sequence[Mapping[str, Any]]], dict[str, Any]], *, tell: Tell
) -> list[dict[str, Any]]:
    """Make the generations that the log has not yet, each from its number and the lines before; return all lines."""
    out = Path(config.out)
    hold_to(out, config)
    log = out / "loop.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    if not lines:
        lines.append(_log(log, first_line(config)))
        tell(_told(lines[-1]))
    for number in range(len(lines), config.generations + 1):
        lines.append(_log(log, generation(number, lines)))
        tell(_told(lines[-1]))
    return lines


def first_line(config: LoopConfig) -> dict[str, Any]:
    """Return the line of generation 0: what the start can do, and what it cost where its trainer says so."""
    clock = ledger.Clock()
    figures = evaluate(config, _init(config))
    cost = Path(config.init) / ledger.FILE
    spent = {"imitation": json.loads(cost.read_text(encoding="utf-8"))} if cost.is_file() else {}
    tested = {**figures.pop("test"), "seconds": clock.lap()}
    return {"generation": 0, "policy": _init(config), **figures, "ledger": {**spent, "test": tested}}


def _generation(
    config: LoopConfig,
    number: int,
    lines: Sequence[Mapping[str, Any]],
    memory: dict[int, list[EpisodeRecord]],
    report: Report | None,
) -> dict[str, Any]:
    folder = Path(config.out) / f"generation-{number}"
    before = str(lines[-1]["policy"])
    level = level_after(config, lines)
    clock = ledger.Clock()
    memory[number] = play(config, number, before, level=level)
    played = {**ledger.spent(memory[number]), "seconds": clock.lap()}
    choices = lessons_of(config, number, memory)
    policy = train_policy(config, choices, before, folder / net.POLICY, seed=number)
    trained = {**policy, "seconds": clock.lap()}
    judged = _train_prm(config, memory[number], before, folder / net.PRM, seed=number)
    spent = {"play": played, "train": trained, **({"reward_model": {**judged, "seconds": clock.lap()}} if judged else {})}
    figures = evaluate(config, str(folder))
    spent["test"] = {**figures.pop("test"), "seconds": clock.lap()}
    best = next(line for line in reversed(lines) if line.get("accepted", True))
    worse = worse_p_value(best["solved"], figures["solved"])
    accepted = worse > 1 - config.confidence
    line = {
        "generation": number,
        "policy": str(folder) if accepted else before,
        "accepted": accepted,
        "p_worse": worse,
        **figures,
        "play_solved": sum(r.verdict == "correct" for r in memory[number]) / len(memory[number]),
        "lessons": len(choices),
        "ledger": spent,
    }
    if config.band:
        outcomes = successes(config, memory[number])
        line |= {"level": level, "success": sum(outcomes) / len(outcomes), "curriculum": next_level(config, level, outcomes)}
    if report:
        line["report"] = dict(report(Generation(config, number, folder, memory[number], _env(config, config.level, HELD_OUT_SEED))))
    return line


def play(config: LoopConfig, generation: int, start: str, *, level: int | None = None) -> list[EpisodeRecord]:
    """Play the generation's problems into its run folder and return all episodes."""
    level = config.level if level is None else level
    seed = PLAY_SEED + 1000 * config.seed + generation
    env = load_env(config.env, level=level, seed=seed, **config.env_options)
    folder = Path(config.out) / f"generation-{generation}" / "run"
    about = RunConfig(
        env_id=env.env_id, env_options={"level": level, **config.env_options}, agent=config.agent,
        agent_settings=dict(config.agent_settings), policy=start, seed=seed,
        policy_settings={"temperature": config.temperature},
        reward_model=start if config.own_reward_model else None, see_verdicts=config.see_verdicts,
    )  # fmt: skip
    with RunFolder(folder, about) as run:
        problems = [env.problems[i] for i in range(config.episodes)]
        records = list(read_episodes(folder)) if run.done else []
        left = [problem for problem in problems if problem.id not in run.done]
        for record in iter_solve(
            left, env=env, agent=config.agent, agent_settings=config.agent_settings, seed=seed,
            policy=_policy(config, start, seed), reward_model=_reward_model(config, start),
            see_verdicts=config.see_verdicts, verify_all=True,
        ):  # fmt: skip
            run.append(record)
            records.append(record)
    return records


def lessons_of(config: LoopConfig, generation: int, memory: dict[int, list[EpisodeRecord]]) -> list[Choice]:
    """Return what is learned in a generation: the replay buffer's lessons, without near-duplicates.

    `memory` holds generations that this process has played or read; what has left the buffer is dropped from it.
    """
    first = max(1, generation - config.replay + 1)
    for g in range(first, generation):
        if g not in memory:
            memory[g] = list(read_episodes(Path(config.out) / f"generation-{g}" / "run"))
    for g in [g for g in memory if g < first]:
        del memory[g]
    apart = [problem.prompt for problem in held_out(config)]
    replay = Replay(options=config.env_options)
    found: list[Choice] = []
    for g, kept in zip(sorted(memory), without_near_duplicates([memory[g] for g in sorted(memory)], apart=apart)):
        trusted = replace(config, most_agreed=min(1.0, config.most_agreed + config.more_agreed * (g - 1)))
        by_problem = lessons(trusted, kept, replay, seed=1000 * config.seed + g)
        found += [choice for choices in by_problem.values() for choice in choices]
    return require(found, f"nothing that teacher {config.teacher} approves")


def train_policy(
    config: LoopConfig, choices: Sequence[Choice], start: str, out: Path, *, seed: int, steps: int | None = None
) -> dict[str, float]:
    """Train the policy of folder `start` on the lessons into `out`; return what it cost."""
    schedule = Schedule(steps or config.steps, config.learning_rate, warmup=20, checkpoint_every=200)
    model = net.load(net.POLICY, Path(start) / net.POLICY)
    boards.train_choices(model, choices, schedule=schedule, batch=config.batch, seed=seed, out=out)
    read = boards.tokens_read(model.config.stepgym_game, choices[:500])
    return ledger.training(net.num_parameters(model), read * config.batch * schedule.steps)


def _train_prm(
    config: LoopConfig, records: Sequence[EpisodeRecord], start: str, out: Path, *, seed: int
) -> dict[str, float]:
    if not config.own_reward_model:
        return {}
    judged = require_both_classes(examples.judged_steps(records, Replay(options=config.env_options), labels=Labels.MONTE_CARLO))
    schedule = Schedule(config.steps, config.learning_rate, warmup=20, checkpoint_every=200)
    prm = net.load(net.PRM, Path(start) / net.PRM)
    boards.train_judged(prm, judged, schedule=schedule, seed=seed, out=out)
    game = GAMES[prm.config.stepgym_game]
    sizes = [len(game.reading_tokens(one.board)) for one in judged[:500]]
    return ledger.training(net.num_parameters(prm), sum(sizes) / len(sizes) * 256 * config.steps)


def level_after(config: LoopConfig, lines: Sequence[Mapping[str, Any]]) -> int:
    """Return the level to play after these generations."""
    if not config.band:
        return config.level
    left = lines[-1].get("curriculum", config.start_level)
    return int(left["level"] if isinstance(left, dict) else left)  # loops of before kept a whole curriculum here


def next_level(config: LoopConfig, level: int, outcomes: Sequence[bool]) -> int:
    """Return the level after a generation: one up or down by its own success rate alone."""
    low, high = config.band
    course = Curriculum(level=level, highest=config.highest_level, low=low, high=high, window=len(outcomes))
    return reduce(Curriculum.observe, outcomes, course).level


def successes(config: LoopConfig, records: Sequence[EpisodeRecord]) -> list[bool]:
    """Say which episodes are a success for the curriculum: by verdict, or without labels by half the votes."""
    if Teacher(config.teacher) is not Teacher.VOTE:
        return [record.verdict == "correct" for record in records]
    replay = Replay(options=config.env_options)
    return [agreement(record, replay.same(record)) >= 0.5 for record in records]


def held_out(config: LoopConfig) -> list[Problem]:
    """Return the problems that every generation is measured on and none learns from."""
    env = _env(config, config.level, HELD_OUT_SEED)
    return [env.problems[i] for i in range(config.held_out)]


def evaluate(config: LoopConfig, folder: str) -> dict[str, Any]:
    """Return accuracy on the held-out problems, greedy and under the loop's own search, which ones greedy solves, and
    what both cost."""
    env, problems = _env(config, config.level, HELD_OUT_SEED), held_out(config)
    policy = _policy(config, folder, config.seed)

    def solved(agent: str, settings: Mapping[str, Any]) -> list[EpisodeRecord]:
        return list(
            iter_solve(
                problems, env=env, agent=agent, agent_settings=settings, policy=policy, seed=config.seed,
                reward_model=_reward_model(config, folder), see_verdicts=config.see_verdicts,
            )
        )  # fmt: skip

    greedy, searched = solved("greedy", {}), solved(config.agent, config.agent_settings)
    right = [int(record.verdict == "correct") for record in greedy]
    found = sum(record.verdict == "correct" for record in searched)
    cost = {"greedy": ledger.spent(greedy), "searched": ledger.spent(searched)}
    whole = {name: cost["greedy"][name] + cost["searched"][name] for name in cost["greedy"]}
    return {
        "greedy": sum(right) / len(right),
        "searched": found / len(searched),
        "solved": right,
        "test": {**whole, "flops_a_problem": {name: one["flops"] / len(problems) for name, one in cost.items()}},
    }


def _env(config: LoopConfig, level: int, seed: int) -> Any:
    return load_env(config.env, level=level, seed=seed + config.seed, **config.env_options)


def worse_p_value(old: Sequence[int], new: Sequence[int]) -> float:
    """Return the chance of the new one doing this badly if both were equal: exact McNemar, one side."""
    lost = sum(o > n for o, n in zip(old, new, strict=True))
    won = sum(o < n for o, n in zip(old, new, strict=True))
    n = lost + won
    return math.fsum(math.comb(n, k) for k in range(lost, n + 1)) / 2.0**n


def _policy(config: LoopConfig, folder: str, seed: int) -> EmbeddedPolicy:
    return EmbeddedPolicy(Path(folder) / net.POLICY, seed=seed, temperature=config.temperature)


def _reward_model(config: LoopConfig, folder: str) -> EmbeddedRewardModel | None:
    return EmbeddedRewardModel(Path(folder) / net.PRM) if config.own_reward_model else None


def _init(config: LoopConfig) -> str:
    return str(WEIGHTS if config.init == "embedded" else Path(config.init))


def _log(file: Path, line: dict[str, Any]) -> dict[str, Any]:
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(line) + "\n")
    return line


def _told(line: Mapping[str, Any]) -> str:
    verdict = "" if line.get("accepted", True) else "  (turned down)"
    return f"generation {line['generation']}: greedy {line['greedy']:.3f}  searched {line['searched']:.3f}{verdict}"

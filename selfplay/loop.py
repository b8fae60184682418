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
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.embedded import net
from stepgym.agents.embedded.games import GAMES, MIXED
from stepgym.agents.executors import IN_PROCESS
from stepgym.agents.jobs import Executor
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.mixture import MixedProblems
from stepgym.envs.proposals.problems import NAME as PROPOSE
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import NAMESPACE, full_id
from stepgym.envs.types import LegalSteps
from stepgym.plugins.names import load_dotted
from stepgym.selfplay import costs
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_curriculum import Lines, curriculum_figures, is_mixture, played_options
from stepgym.selfplay.loop_folder import (
    FRESH,
    RUN,
    START,
    add_line,
    check_settings,
    keep_settings,
    model_home,
    read_log,
)
from stepgym.selfplay.loop_learn import (
    load_reward_model,
    policy_targets,
    replay_buffer,
    train_policy,
    train_reward_model,
    value_targets,
)
from stepgym.selfplay.loop_play import evaluate, held_out_env, held_out_places, outcomes_of, play
from stepgym.selfplay.loop_proposals import (
    SOLVED,
    is_proposing,
    joined,
    proposal_figures,
    proposal_targets,
)
from stepgym.training.types import OnProgress, Progress, TrainingError

FRESH_SHAPE = net.Shape(64, 3, 4)


class Generation(NamedTuple):
    """A finished generation, as a report sees it."""

    config: LoopConfig
    """The loop's settings."""
    number: int
    """The generation's number; 0 is the start."""
    folder: Path
    """Holds `run/`, `policy/` and, with its own reward model, `prm/`."""
    records: Sequence[EpisodeRecord]
    """The episodes that were played in it."""
    env: Any
    """The environment of the held-out problems."""


Report = Callable[[Generation], Mapping[str, Any]]
"""Returns figures that JSON can hold."""


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
    episodes: dict[str, dict[int, list[EpisodeRecord]]] = {RUN: {}, SOLVED: {}}

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
            for env_id, each in line.get("environments", {}).items():
                figures[env_id.removeprefix(NAMESPACE)] = each["greedy"]
            progress(Progress("loop", number + 1, config.generations + 1, "generations", figures))
    return lines


def first_line(
    config: LoopConfig, progress: OnProgress | None = None, *, executor: Executor = IN_PROCESS
) -> dict[str, Any]:
    """Return the log line of generation 0.

    It has the accuracy of the starting policy, and its training cost if known.
    """
    game = _require_game(config)
    played_options(config, ())  # refuses settings before anything is written
    if config.init == FRESH:
        _write_fresh(config, game)
    start = net.load(net.POLICY, net.model_folder(model_home(config, START), net.POLICY))
    played = start.config.stepgym_game
    if game == MIXED != played:
        raise TrainingError(
            f"init = {config.init!r} plays {GAMES[played].title}, not all that {full_id(config.env)} needs here; give "
            f"init = {FRESH!r} or a policy that a loop on a mixture or on {PROPOSE} trained"
        )
    if (
        config.own_reward_model
    ):  # a value head beside the policy can score, but the loop cannot train it
        load_reward_model(config, START)
    watch = costs.Stopwatch()
    figures = evaluate(config, START, progress=progress, executor=executor)
    cost = Path(config.init) / costs.FILE
    spent = {"imitation": json.loads(cost.read_text(encoding="utf-8"))} if cost.is_file() else {}
    spent["test"] = {**figures.pop("test"), "seconds": watch.lap()}
    return {"generation": 0, "policy": START, **figures, "costs": spent}


def _write_fresh(config: LoopConfig, game: str) -> None:
    """Write untrained models of a game."""
    for kind in (net.POLICY, net.PRM) if config.own_reward_model else (net.POLICY,):
        folder = model_home(config, START) / kind
        if not (folder / "config.json").is_file():
            net.save(net.build(kind, FRESH_SHAPE, game, seed=config.seed), folder)


def _require_game(config: LoopConfig) -> str:
    """Return the game of the embedded models that reads the loop's environment.

    Raises `TrainingError` if there is none, and names the environment, in a mixture the member.
    """
    with closing(held_out_env(config)) as env:
        members = env.problems.members if isinstance(env.problems, MixedProblems) else ()
        for each in [member.env for member in members] or [env]:
            if readable_game(each) is None:
                raise TrainingError(
                    f"the models of the loop cannot read {each.env_id}; they play {GAMES[MIXED].title}. Name one of these, or "
                    f"train a language model on it: stepgym train grpo --init smollm2 --env {each.env_id}"
                )
        return MIXED if members or is_proposing(config) else str(readable_game(env))


def readable_game(env: ReasoningEnv) -> str | None:
    """Return the game of the embedded models that an environment plays, found by its first problem; `None` if there is none."""
    state = env.domain.initial(env.problems[0])
    for name, game in GAMES.items():
        if game.plays(state.public):
            if not game.is_listed(state.public):
                return name
            texts = [move.text for move in game.moves(state.public)]
            legal = env.domain.legal_steps(state) if isinstance(env.domain, LegalSteps) else []
            return name if sorted(texts) == sorted(legal) else None
    return None


def _generation(
    config: LoopConfig,
    number: int,
    lines: Lines,
    episodes: dict[str, dict[int, list[EpisodeRecord]]],
    report: Report | None,
    progress: OnProgress | None,
    executor: Executor,
) -> dict[str, Any]:
    name = f"generation-{number}"
    folder, before = Path(config.out) / name, str(lines[-1]["policy"])
    options = played_options(config, lines)
    watch = costs.Stopwatch()
    records = episodes[RUN][number] = play(
        config, number, before, options=options, progress=progress, executor=executor
    )
    spent = {"play": {**costs.playing_cost(records), "seconds": watch.lap()}}
    buffer = replay_buffer(config, number, episodes[RUN])
    if is_proposing(config):
        solved = replay_buffer(config, number, episodes[SOLVED], SOLVED)
        targets = joined(policy_targets(config, solved), proposal_targets(buffer))
        about = {"proposals": proposal_figures(records, episodes[SOLVED][number])}
    else:
        targets, about = policy_targets(config, buffer), {}
    cost = train_policy(
        config, targets, before, folder / net.POLICY, seed=number, progress=progress
    )
    spent["train"] = {**cost, "seconds": watch.lap()}
    if config.own_reward_model:
        scorer = load_reward_model(config, before)
        values = value_targets(buffer, scorer.config.stepgym_game)
        cost = train_reward_model(
            config, values, scorer, folder / net.PRM, seed=number, progress=progress
        )
        spent["reward_model"] = {**cost, "seconds": watch.lap()}
    figures = evaluate(config, name, progress=progress, executor=executor)
    spent["test"] = {**figures.pop("test"), "seconds": watch.lap()}
    best = next(line for line in reversed(lines) if line.get("accepted", True))
    worse = worse_on_some(config, best, figures)
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
        **about,
        "costs": spent,
    }
    line |= curriculum_figures(config, lines, records)
    if report:
        line["report"] = dict(
            report(Generation(config, number, folder, records, held_out_env(config)))
        )
    return line


def worse_on_some(config: LoopConfig, old: Mapping[str, Any], new: dict[str, Any]) -> float:
    """Return the p-value of "the new policy is worse", and note it in `new` for each environment of a mixture.

    A policy that is worse on one environment is worse, however much better it is on another; the smallest of k p-values
    counts k times (Bonferroni).
    """
    if not is_mixture(config):
        return worse_p_value(old["solved"], new["solved"])
    for env_id, places in held_out_places(config).items():
        before, after = ([line["solved"][place] for place in places] for line in (old, new))
        new["environments"][env_id]["p_worse"] = worse_p_value(before, after)
    found = [float(each["p_worse"]) for each in new["environments"].values()]
    return min(1.0, len(found) * min(found))


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

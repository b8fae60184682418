"""`stepgym reproduce alphazero`: self-play improves a policy that imitates imperfect demonstrators.

Trains from scratch, writes `results.json`, a picture and a page into its folder, and can be stopped: each seed and
arm that is finished is not run again. Negative results are reported like positive ones.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.intervals import bootstrap_groups
from stepgym.claims.imitation import demonstrations, known_facts, train_imitation
from stepgym.claims.jobs import run_jobs
from stepgym.plugins.names import unknown_name
from stepgym.records.atomic import write_whole
from stepgym.selfplay import costs
from stepgym.selfplay.loop import Generation, run_generations, run_loop
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_folder import read_log
from stepgym.selfplay.loop_learn import train_policy
from stepgym.selfplay.loop_page import bands, write_loop_page
from stepgym.selfplay.loop_play import evaluate
from stepgym.selfplay.teachers import Form, Teacher
from stepgym.training.progress import progress_lines
from stepgym.training.types import OnProgress, Schedule, TrainingError

WriteLine = Callable[[str], None]
SHAPE = net.Shape(32, 1, 4)
SCRATCH_SHAPE = net.Shape(64, 3, 4)
LEVEL = 6
"""Problems are sums of eight numbers."""
MODULUS = 19
"""Smaller than the environment's default: the addition table has 190 facts instead of 496 and is learned in minutes."""
GENERATIONS = 8
KNOWN = 0.62
"""Share of the addition table that the demonstrators know."""
SELF_PLAY: Mapping[str, Mapping[str, Any]] = {
    "vote": {"teacher": Teacher.VOTE, "form": Form.BOTH, "most_agreed": 0.35},
    "vote-paths": {"teacher": Teacher.VOTE, "form": Form.PATHS, "most_agreed": 0.35},
    "verifier": {"teacher": Teacher.VERIFIER, "form": Form.BOTH},
    "rejection": {"teacher": Teacher.VERIFIER, "form": Form.PATHS},
    "random": {"teacher": Teacher.RANDOM, "form": Form.BOTH},
    "shuffled": {"teacher": Teacher.SHUFFLED, "form": Form.BOTH},
    "oracle": {"teacher": Teacher.ORACLE},
}
"""Arm -> its settings; all arms start from the same policy, play the same episodes and train for the same steps."""
ARMS = (*SELF_PLAY, "imitation", "scratch")


def self_play_improves(
    out: Path,
    *,
    seeds: int = 3,
    arms: Sequence[str] = ARMS,
    first_seed: int = 0,
    jobs: int = 1,
    write_line: WriteLine = print,
    **settings: int | None,
) -> dict[str, Any]:
    """Imitate demonstrators who know part of the addition table, then learn by self-play without them.

    Arms: `vote` uses no labels; `verifier` uses verdicts on whole answers; `scratch` starts from random weights on
    Countdown, learns from verdicts, and a curriculum raises the level. Controls: `vote-paths` and `rejection` learn only
    the solutions that end in the voted or the verified answer; `imitation` spends the FLOPs of `vote` on more
    demonstrations; `random` and `shuffled` get no information; `oracle` has every step verified. All generations and
    arms of a seed share the held-out problems, and no policy is rejected, so that controls may get worse. `settings` are
    those of `one_seed`. `jobs` processes share the seeds; `write_line` must then be picklable. `imitation` always runs
    after `vote`.
    """
    for arm in set(arms) - set(ARMS):
        raise unknown_name("arm", arm, ARMS, dotted=False)
    arms = [arm for arm in ARMS if arm in arms]
    run = partial(one_seed, out=out, arms=arms, write_line=write_line, **settings)  # type: ignore[arg-type]
    found = run_jobs(run, range(first_seed, first_seed + seeds), jobs)
    return write_results(out, {arm: [of_seed[arm] for of_seed in found] for arm in arms})


def one_seed(
    seed: int,
    *,
    out: Path,
    arms: Sequence[str],
    write_line: WriteLine,
    generations: int | None = None,
    episodes: int = 400,
    held_out: int = 200,
    imitation_steps: int = 1000,
    steps: int = 300,
    num_demonstrations: int = 4000,
) -> dict[str, list[dict[str, Any]]]:
    """Run the unfinished arms of one seed; return the log lines of each arm."""
    folder = out / f"seed-{seed}"
    start = folder / "start"
    if any(arm != "scratch" for arm in arms) and not (start / costs.FILE).is_file():
        schedule = Schedule(imitation_steps, 5e-3)
        train_imitation(
            start,
            shape=SHAPE,
            level=LEVEL,
            share=KNOWN,
            modulus=MODULUS,
            num_problems=num_demonstrations,
            schedule=schedule,
            seed=seed,
        )
    common = LoopConfig(
        out="",
        env="stepgym/ModularSums-v0",
        level=LEVEL,
        env_options={"modulus": MODULUS},
        init=str(start),
        agent_settings={"n": 32, "pick": "vote"},
        generations=generations or GENERATIONS,
        episodes=episodes,
        held_out=held_out,
        seed=seed,
        replay=3,
        steps=steps,
        learning_rate=3e-3,
        batch=256,
        path_weight=2.0,
        confidence=1.0,
    )
    facts = partial(facts_known, known=known_facts(KNOWN, seed, modulus=MODULUS))
    lines: dict[str, list[dict[str, Any]]] = {}
    for arm in arms:
        progress = progress_lines(write_line, prefix=f"seed {seed} {arm}: ", every_s=20.0)
        if arm == "imitation":
            lines[arm] = more_imitation(
                replace(common, out=str(folder / arm)),
                folder / "vote",
                num_demonstrations,
                report=facts,
                progress=progress,
            )
        elif arm == "scratch":
            lines[arm] = run_loop(_scratch(common, folder), progress=progress)
        else:
            lines[arm] = run_loop(
                replace(common, out=str(folder / arm), **SELF_PLAY[arm]),
                progress=progress,
                report=facts,
            )
    return lines


def write_results(
    out: Path, curves: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
) -> dict[str, Any]:
    """Write `results.json`, the figure and the page; return the results by arm."""
    write_loop_page(out, curves)
    results = {arm: _summary(seeds) for arm, seeds in curves.items()}
    write_whole(out / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def _summary(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    first, last = [lines[0] for lines in seeds], [lines[-1] for lines in seeds]
    found: dict[str, Any] = {what: bands(seeds, what) for what in ("greedy", "searched")}
    for what, outcomes in (("greedy", "solved"), ("searched", "searched_solved")):
        decided = [[one for one in line[outcomes] if one is not None] for line in last]
        found[f"{what}_last_ci"] = list(bootstrap_groups(decided))
        found[f"{what}_by_seed"] = [[line[what] for line in side] for side in (first, last)]
    if "report" in last[0]:
        found["facts"] = {
            name: sum(line["report"][name] for line in last) / len(last)
            for name in last[0]["report"]
        }
    found["costs"] = [costs.total_costs(lines) for lines in seeds]
    return found


def facts_known(generation: Generation, *, known: frozenset[tuple[int, int]]) -> dict[str, float]:
    """Return the share of the addition table that the policy has right, of the demonstrated facts and of the others."""
    policy = EmbeddedPolicy(generation.folder / net.POLICY)
    right: dict[bool, list[bool]] = {True: [], False: []}
    pairs = [(a, b) for a in range(MODULUS) for b in range(MODULUS)]
    policy.learn_probabilities([((b,), a, MODULUS) for a, b in pairs])
    for a, b in pairs:
        plan, log_probs = policy.log_probs(((b,), a, MODULUS))
        best = plan.moves[max(range(len(log_probs)), key=log_probs.__getitem__)].text
        right[(min(a, b), max(a, b)) in known].append(best == f"{a} + {b} = {(a + b) % MODULUS}")
    return {
        name: sum(right[side]) / max(1, len(right[side]))
        for name, side in (("demonstrated", True), ("others", False))
    }


def more_imitation(
    config: LoopConfig,
    model: Path,
    num_demonstrations: int,
    *,
    report: Callable[[Generation], Mapping[str, Any]],
    progress: OnProgress,
) -> list[dict[str, Any]]:
    """Spend the FLOPs of the loop in `model` on training with new demonstrations, generation by generation."""
    budget = [line["costs"] for line in read_log(model)]
    if len(budget) <= config.generations:
        raise TrainingError(
            f"the arm `imitation` spends what `vote` spent in {config.generations} generations, and {model} has"
            f" {max(0, len(budget) - 1)}: run `vote` with it"
        )
    known = known_facts(KNOWN, config.seed, modulus=MODULUS)

    def generation(number: int, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        name = f"generation-{number}"
        folder = Path(config.out) / name
        demos = demonstrations(
            num_demonstrations,
            level=LEVEL,
            known=known,
            seed=1000 * number + config.seed,
            modulus=MODULUS,
        )
        allowed = budget[number]["play"]["flops"] + budget[number]["train"]["flops"]
        clock = costs.Stopwatch()
        steps = math.ceil(config.steps * allowed / budget[number]["train"]["flops"])
        cost = train_policy(
            config,
            demos,
            lines[-1]["policy"],
            folder / net.POLICY,
            seed=number,
            steps=steps,
            progress=progress,
        )
        cost |= {"seconds": clock.lap()}
        figures = evaluate(config, name, progress=progress)
        spent = {"train": cost, "test": {**figures.pop("test"), "seconds": clock.lap()}}
        return {
            "generation": number,
            "policy": name,
            **figures,
            "targets": len(demos),
            "costs": spent,
            "report": report(Generation(config, number, folder, [], None)),
        }

    return run_generations(config, generation, progress=progress)


def _scratch(common: LoopConfig, folder: Path) -> LoopConfig:
    """Write random weights and return the settings of the loop on Countdown that starts from them."""
    start = folder / "scratch-start"
    if not (start / net.POLICY / "config.json").is_file():
        net.save(
            net.build(net.POLICY, SCRATCH_SHAPE, "countdown", seed=common.seed), start / net.POLICY
        )
    return replace(
        common,
        out=str(folder / "scratch"),
        env="stepgym/Countdown-v0",
        env_options={},
        level=3,
        init=str(start),
        teacher=Teacher.VERIFIER,
        form=Form.PATHS,
        agent_settings={"n": 32},
        see_verdicts=True,
        band=(0.4, 0.8),
        start_level=1,
        highest_level=3,
        learning_rate=2e-3,
        batch=128,
    )

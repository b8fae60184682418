"""`stepgym reproduce small-beats-14x`: a small model with search against a large model without (Snell et al. 2024).

Both models (arXiv:2408.03314 gives the idea) are trained from scratch on the same demonstrations for the same number of
steps. Each search then gets the widest setting at which the small model spends, on every problem, at most the FLOPs of
the large model's average greedy answer. Settings are chosen by FLOPs alone, never by results. Finished seeds and
families are not run again. Negative results are reported like positive ones.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents.intervals import bootstrap_groups
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import HasParameters
from stepgym.claims.jobs import run_jobs
from stepgym.claims.small_beats_large.figure import draw_figure
from stepgym.claims.small_beats_large.models import FAMILIES, HELD_OUT, Family, TrainedModels
from stepgym.envs.registry import load_env
from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError
from stepgym.records.atomic import write_whole
from stepgym.records.kept_settings import KeptSettings

WriteLine = Callable[[str], None]
Settings = Mapping[str, Any]
PILOT = 24
"""Problems on which a width is searched for before it is tried on all of them."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One row of the table: a policy, a search and how its width is chosen.

    `ladder` lists settings from narrow to wide; the widest that fits the FLOPs is used. `on_average` bounds the mean FLOPs
    instead of those of each problem. `like` names the row whose settings are used instead, whatever they cost.
    `verifier` limits a row to families with (True) or without (False) a verifier at test time.
    """

    name: str
    policy: str = "small"
    agent: str = "greedy"
    ladder: tuple[Settings, ...] = ({},)
    reward_model: str | None = None
    sees_verdicts: bool = False
    on_average: bool = False
    like: str | None = None
    verifier: bool | None = None


WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 40, 48)
WIDTHS_IF_STOPPED = (*WIDTHS, 64, 96, 128, 192, 256)
"""Widths for searches that stop early on most problems."""
BEAM_SHAPES = (
    (1, 2),
    (1, 3),
    (2, 2),
    (2, 3),
    (2, 4),
    (3, 3),
    (3, 4),
    (4, 4),
    (4, 5),
    (5, 5),
    (6, 6),
    (7, 7),
    (8, 8),
)
AGGREGATION = {True: "last", False: "prod"}
"""How the scores of a path are combined, with and without a verifier: on Countdown the last position decides."""


def _best_of(widths: Sequence[int] = WIDTHS, /, **more: Any) -> tuple[Settings, ...]:
    return tuple({"n": n, **more} for n in widths)


def methods(verifier: bool) -> list[Method]:
    """Return the rows for a family with a verifier at test time, or without one."""
    rule = {"aggregation": AGGREGATION[verifier]}
    beams = tuple({"width": a, "expand": b, **rule} for a, b in BEAM_SHAPES)
    dvts = tuple({"subtrees": a, "expand": b, **rule} for a, b in BEAM_SHAPES)
    mcts = tuple({"simulations": n, "width": 4, **rule} for n in WIDTHS)
    stopped: dict[str, Any] = {"agent": "best_of_n", "sees_verdicts": True, "verifier": True}
    first, beam, vote = "best-of-N to the first verified", "beam with PRM", "majority vote"
    weighted = "PRM-weighted vote"
    found = [
        Method(name="large greedy", policy="large"),
        Method(name="small greedy"),
        Method(name=first, ladder=_best_of(wave=1), **stopped),
        Method(
            name=f"{first}, FLOPs equal on average",
            ladder=_best_of(WIDTHS_IF_STOPPED, wave=1),
            on_average=True,
            **stopped,
        ),
        Method(
            name="MCTS with PRM to the first verified",
            agent="mcts",
            ladder=mcts,
            reward_model="prm",
            sees_verdicts=True,
            verifier=True,
        ),
        Method(name=vote, agent="best_of_n", ladder=_best_of(pick="vote")),
        Method(
            name=weighted,
            agent="best_of_n",
            ladder=_best_of(pick="weighted_vote", **rule),
            reward_model="prm",
        ),
        Method(
            name="best-of-N by PRM",
            agent="best_of_n",
            ladder=_best_of(pick="score", **rule),
            reward_model="prm",
        ),
        Method(name=beam, agent="beam", ladder=beams, reward_model="prm"),
        Method(name="DVTS with PRM", agent="dvts", ladder=dvts, reward_model="prm"),
        Method(name="MCTS with PRM", agent="mcts", ladder=mcts, reward_model="prm"),
        Method(
            name="control: random legal play to the first verified, same N",
            policy="random",
            like=first,
            **stopped,
        ),
        Method(
            name="control: random legal play, majority vote",
            policy="random",
            agent="best_of_n",
            like=vote,
            verifier=False,
        ),
        Method(
            name="control: beam with random values", agent="beam", like=beam, reward_model="random"
        ),
        Method(name="control: beam with a weak PRM", agent="beam", like=beam, reward_model="weak"),
        Method(
            name="control: PRM-weighted vote with a weak PRM",
            agent="best_of_n",
            like=weighted,
            reward_model="weak",
        ),
        Method(
            name="control: large, best-of-N to the first verified, same N",
            policy="large",
            like=first,
            **stopped,
        ),
        Method(
            name="control: large, majority vote, same N",
            policy="large",
            agent="best_of_n",
            like=vote,
        ),
        Method(
            name="control: large, beam with PRM, same width",
            policy="large",
            agent="beam",
            like=beam,
            reward_model="prm",
        ),
    ]
    return [method for method in found if method.verifier in (None, verifier)]


class Outcome(NamedTuple):
    """One method on all problems: 1 for each solved problem, and the FLOPs of each."""

    settings: Settings
    solved: list[int]
    flops: list[float]


def small_beats_large(
    out: Path,
    *,
    seeds: int = 3,
    families: Sequence[str] = tuple(FAMILIES),
    num_problems: int = 200,
    steps: int | None = None,
    jobs: int = 1,
    write_line: WriteLine = print,
) -> dict[str, Any]:
    """Train, play and compare; write `results.json` and `figure.png` and return the results.

    `jobs` processes share the seeds and families; `write_line` must then be a function that can be pickled.
    """
    todo = [(family, seed) for seed in range(seeds) for family in families]
    run = partial(one_seed, out=out, num_problems=num_problems, steps=steps, write_line=write_line)
    rows = dict(zip(todo, run_jobs(run, todo, jobs)))
    results: dict[str, Any] = {"problems": num_problems, "seeds": seeds, "families": []}
    for name in families:
        for level in map(str, FAMILIES[name].levels):
            of_seeds = [rows[name, seed]["levels"][level] for seed in range(seeds)]
            about = {"family": name, "level": int(level), "steps": rows[name, 0]["steps"]}
            seconds = [rows[name, seed]["seconds"] for seed in range(seeds)]
            results["families"].append({**about, "seconds": seconds, "methods": pooled(of_seeds)})
    write_whole(out / "results.json", json.dumps(results, indent=1))
    draw_figure(out / "figure.png", results["families"])
    return results


def one_seed(
    job: tuple[str, int], *, out: Path, num_problems: int, steps: int | None, write_line: WriteLine
) -> dict[str, Any]:
    """Train one family's models with one seed and play all methods at all its levels; a finished seed is read."""
    family, seed = FAMILIES[job[0]], job[1]
    folder = out / f"{family.name}-{seed}"
    about = {"problems": num_problems, "steps": steps or family.steps}
    kept = KeptSettings(file=folder / "settings.json", what="a run", error=UserError)
    kept.check(about)
    file = folder / "rows.json"
    if file.is_file():
        finished: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return finished
    kept.write(about)
    started = time.perf_counter()
    models = family.train(folder, seed, about["steps"], write_line)
    trained = time.perf_counter()
    levels = {
        str(level): play_methods(family, models, level, seed, num_problems, write_line)
        for level in family.levels
    }
    seconds = {"train": trained - started, "play": time.perf_counter() - trained}
    found = {**about, "seconds": seconds, "levels": levels}
    write_whole(file, json.dumps(found))
    return found


def play_methods(
    family: Family,
    models: TrainedModels,
    level: int,
    seed: int,
    num_problems: int,
    write_line: WriteLine,
) -> list[dict[str, Any]]:
    """Return one row per method."""
    env = load_env(family.env_id, level=level, seed=HELD_OUT + seed)
    problems = [env.problems[i] for i in range(num_problems)]
    policies = {
        "small": models.small,
        "large": models.large,
        "random": load_policy("random", seed=seed),
    }
    values = {
        "prm": models.prm,
        "weak": models.weak,
        "random": load_reward_model("random", seed=seed),
    }
    played: dict[str, Outcome] = {}
    rows = []
    for method in methods(family.verifier):

        def play(settings: Settings, chosen: Sequence[Problem], method: Method = method) -> Outcome:
            records = list(
                iter_solve(
                    chosen,
                    env=env,
                    agent=method.agent,
                    agent_settings=settings,
                    seed=seed,
                    policy=policies[method.policy],
                    see_verdicts=method.sees_verdicts,
                    reward_model=values[method.reward_model] if method.reward_model else None,
                )
            )
            costs = [float(record.usage.get("flops", 0.0)) for record in records]
            return Outcome(
                settings, [int(record.verdict == "correct") for record in records], costs
            )

        if method.like or not played:
            result = play(played[method.like].settings if method.like else {}, problems)
        else:
            baseline = next(iter(played.values())).flops
            result = widest(play, method, problems, sum(baseline) / len(baseline))
        played[method.name] = result
        policy = policies[method.policy]
        parameters = policy.num_parameters if isinstance(policy, HasParameters) else 0
        rows.append(
            {
                "name": method.name,
                "policy": method.policy,
                "parameters": parameters,
                **result._asdict(),
            }
        )
        share, mean = sum(result.solved) / num_problems, sum(result.flops) / num_problems / 1e6
        write_line(
            f"{family.name} {level}, seed {seed}  {method.name:58} {share:.3f}  {mean:8.2f} MFLOP  {_shown(result.settings)}"
        )
    return rows


def widest(
    play: Callable[[Settings, Sequence[Problem]], Outcome],
    method: Method,
    problems: Sequence[Problem],
    allowance: float,
) -> Outcome:
    """Return the outcome of the widest settings within the allowance of FLOPs, or of the narrowest if none fit.

    The search starts from the cost on a few problems; the cost on all of them decides.
    """

    def fits(result: Outcome) -> bool:
        spent = sum(result.flops) / len(result.flops) if method.on_average else max(result.flops)
        return spent <= allowance

    low, high = 0, len(method.ladder) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if fits(play(method.ladder[middle], problems[:PILOT])):
            low = middle
        else:
            high = middle - 1
    result = play(method.ladder[low], problems)
    while not fits(result) and low > 0:
        low -= 1
        result = play(method.ladder[low], problems)
    return result


def pooled(seeds: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Pool the seeds: the share solved, and its difference from the large model's greedy answers, problem by problem.

    Intervals are 95%, by bootstrap over problems and seeds.
    """
    found = []
    baseline = [rows[0] for rows in seeds]
    for at, first in enumerate(seeds[0]):
        rows = [each[at] for each in seeds]
        solved = [row["solved"] for row in rows]
        gains = [
            [a - b for a, b in zip(row["solved"], base["solved"], strict=True)]
            for row, base in zip(rows, baseline)
        ]
        found.append(
            {
                "name": first["name"],
                "parameters": first["parameters"],
                "settings": [row["settings"] for row in rows],
                "solved": _mean(solved),
                "ci": list(bootstrap_groups(solved)),
                "by_seed": [_mean([each]) for each in solved],
                "over_large_greedy": _mean(gains),
                "over_large_greedy_ci": list(bootstrap_groups(gains)),
                "mflop": _mean([row["flops"] for row in rows]) / 1e6,
                "mflop_most": max(max(row["flops"]) for row in rows) / 1e6,
            }
        )
    return found


def _mean(groups: Sequence[Sequence[float]]) -> float:
    return sum(sum(group) / len(group) for group in groups) / len(groups)


def _shown(settings: Settings) -> str:
    return " ".join(f"{name}={value}" for name, value in settings.items())

"""`stepgym reproduce transfer`: train on one task, measure on all of them.

`measure` plays any policies on any environments. By default the command trains one tiny model per task, all with one
vocabulary, and measures each on every task twice: as trained, and after a short training on that task, which a fresh
model gets too. Models choose among the legal steps only, so that no task is lost because of its format; the row of the
fresh model shows how much that alone solves.
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from stepgym.agents.embedded import net
from stepgym.agents.embedded.policy import EmbeddedPolicy
from stepgym.agents.intervals import bootstrap_groups
from stepgym.agents.solving import iter_solve
from stepgym.agents.types import Policy
from stepgym.claims.jobs import run_jobs
from stepgym.claims.transfer.heat_map import draw_heat_map
from stepgym.envs.families import countdown, modular_sums
from stepgym.envs.registry import load_env
from stepgym.envs.types import Step
from stepgym.plugins.errors import UserError
from stepgym.records.atomic import write_whole
from stepgym.records.kept_settings import KeptSettings
from stepgym.training.config import TRAINING_SEED
from stepgym.training.embedded_trainers import table_of, train_targets
from stepgym.training.types import PolicyTarget, Schedule

WriteLine = Callable[[str], None]
Outcomes = dict[str, dict[str, list[list[int]]]]
"""Row -> column -> one list per seed: 1 for each solved problem."""
SHAPE = net.Shape(32, 2, 4)
FRESH = "fresh model"
HELD_OUT = 700_000
"""The first seed of held-out problems."""


@dataclass(frozen=True)
class Task:
    """An environment with its options: one column of the matrix."""

    name: str
    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)


TASKS = {
    task.name: task
    for task in (
        Task("countdown, 3 numbers", "stepgym/Countdown-v0", {"level": 2}),
        Task("countdown, 4 numbers", "stepgym/Countdown-v0", {"level": 3}),
        Task("countdown, 5 numbers", "stepgym/Countdown-v0", {"level": 5}),
        Task("3 numbers mod 31", "stepgym/ModularSums-v0", {"level": 1}),
        Task("5 numbers mod 31", "stepgym/ModularSums-v0", {"level": 3}),
        Task("5 numbers mod 17", "stepgym/ModularSums-v0", {"level": 3, "modulus": 17}),
    )
}


def read_task(text: str) -> Task:
    """Read `ID,NAME=VALUE,...`; a value is JSON if it parses, otherwise text. Raises `UserError`."""
    env_id, *rest = text.split(",")
    options: dict[str, Any] = {}
    for part in rest:
        name, equals, value = part.partition("=")
        if not equals:
            raise UserError(f"{text!r} should look like stepgym/Countdown-v0,level=3")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return Task(text, env_id, options)


def measure(
    policies: Mapping[str, Callable[[Task], Policy]],
    tasks: Sequence[Task],
    *,
    num_problems: int = 200,
    seed: int = 0,
    agent: str = "greedy",
    agent_settings: Mapping[str, Any] | None = None,
    write_line: WriteLine = lambda line: None,
) -> dict[str, dict[str, list[int]]]:
    """Play every policy on the held-out problems of every task; a policy that cannot play a task solves none of them."""
    found: dict[str, dict[str, list[int]]] = {name: {} for name in policies}
    for task in tasks:
        env = load_env(task.env_id, seed=HELD_OUT + seed, **task.options)
        try:
            problems = [env.problems[i] for i in range(min(num_problems, len(env.problems)))]
            for name, policy in policies.items():
                records = list(
                    iter_solve(
                        problems,
                        env=env,
                        agent=agent,
                        agent_settings=agent_settings,
                        policy=policy(task),
                        seed=seed,
                        see_verdicts=False,
                    )
                )
                found[name][task.name] = [int(record.verdict == "correct") for record in records]
                failed = next((f"  ({r.note[:100]})" for r in records if r.verdict == "failed"), "")
                write_line(
                    f"{name:24} on {task.name:24} {_share(found[name][task.name]):.3f}{failed}"
                )
        finally:
            env.close()
    return found


def reproduce_transfer(
    out: Path,
    *,
    seeds: int = 3,
    num_problems: int = 200,
    steps: int = 600,
    adapt_steps: int = 60,
    families: Sequence[str] = tuple(TASKS),
    jobs: int = 1,
    write_line: WriteLine = print,
) -> dict[str, Any]:
    """Train one tiny model per task and measure both matrices; write `results.json` and `heatmap.png`.

    A finished seed is not run again; `jobs` processes share the seeds.
    """
    as_is: list[dict[str, dict[str, list[int]]]] = []
    adapted: list[dict[str, dict[str, list[int]]]] = []
    settings = {
        "problems": num_problems,
        "steps": steps,
        "adapt_steps": adapt_steps,
        "families": list(families),
    }
    for found in run_jobs(
        partial(_one_seed, out=out, settings=settings, write_line=write_line), range(seeds), jobs
    ):
        as_is.append(found["as_is"])
        adapted.append(found["adapted"])
    results = {
        **settings,
        "seeds": seeds,
        "as_is": matrix(_by_seed(as_is)),
        "adapted": matrix(_by_seed(adapted)),
    }
    return write_transfer(out, results)


def _one_seed(
    seed: int, *, out: Path, settings: Mapping[str, Any], write_line: WriteLine
) -> dict[str, Any]:
    """Return what one seed's models solve; a finished seed is read from its file."""
    folder = out / f"seed-{seed}"
    kept = KeptSettings(file=folder / "settings.json", what="a run", error=UserError)
    kept.check(settings)
    file = folder / "outcomes.json"
    if not file.is_file():
        kept.write(settings)
        write_whole(file, json.dumps(_train_and_measure(folder, seed, settings, write_line)))
    outcomes: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return outcomes


def _train_and_measure(
    folder: Path, seed: int, settings: Mapping[str, Any], write_line: WriteLine
) -> dict[str, Any]:
    tasks = [TASKS[name] for name in settings["families"]]
    targets = {
        task.name: table_of(_game(task), demonstrations(task, 3 * settings["steps"], seed))
        for task in tasks
    }
    models: dict[str, Any] = {FRESH: net.build(net.POLICY, SHAPE, _game(tasks[0]), seed=seed)}
    for task in tasks:
        write_line(f"seed {seed}: training on {task.name}")
        model = net.build(net.POLICY, SHAPE, _game(task), seed=seed)
        out = folder / task.name.replace(" ", "-").replace(",", "")
        train_targets(
            model,
            targets[task.name],
            schedule=Schedule(settings["steps"], 5e-3),
            seed=seed,
            out=out,
        )
        models[task.name] = model
    common: dict[str, Any] = {
        "num_problems": settings["problems"],
        "seed": seed,
        "write_line": write_line,
    }
    as_is = measure({name: _player(model, seed) for name, model in models.items()}, tasks, **common)

    def adapted_on(model: Any) -> Callable[[Task], Policy]:
        def player(task: Task) -> Policy:
            own = copy.deepcopy(model)
            own.config.stepgym_game = _game(task)
            schedule = Schedule(settings["adapt_steps"], 3e-3, warmup=10)
            train_targets(own, targets[task.name], schedule=schedule, seed=seed + 1)
            return EmbeddedPolicy(model=own, seed=seed)

        return player

    write_line(f"seed {seed}: the same models after {settings['adapt_steps']} steps on each family")
    adapted = measure({name: adapted_on(model) for name, model in models.items()}, tasks, **common)
    return {"as_is": as_is, "adapted": adapted}


def _player(model: Any, seed: int) -> Callable[[Task], Policy]:
    """Return a function from a task to the model as its policy, whatever task the model was trained on."""

    def player(task: Task) -> Policy:
        own = copy.deepcopy(model)
        own.config.stepgym_game = _game(task)
        return EmbeddedPolicy(model=own, seed=seed)

    return player


def _game(task: Task) -> str:
    return "countdown" if "Countdown" in task.env_id else "modular_sums"


def demonstrations(task: Task, num_problems: int, seed: int) -> list[PolicyTarget]:
    """Return the steps of one random solution of each training problem."""
    rng, found = random.Random(seed), []
    env = load_env(task.env_id, seed=TRAINING_SEED + seed, **task.options)
    for index in range(num_problems):
        state = env.domain.initial(env.problems[index])
        while not state.done:
            text = _good_step(state.public, rng)
            found.append(PolicyTarget(state.public, {text: 1.0}))
            state = env.domain.advance([state], [Step(text)])[0]
    return found


def _good_step(position: Any, rng: random.Random) -> str:
    if len(position) == 2:
        numbers, target = position
        found = countdown.random_solution(numbers, target, rng)
        assert found is not None, "problems are drawn with a solution"
        return found[0]
    remaining, running, modulus = position
    a, b = rng.sample(remaining, 2) if running is None else (running, rng.choice(remaining))
    a, b = (min(a, b), max(a, b)) if running is None else (a, b)
    text = f"{a} + {b} = {(a + b) % modulus}"
    assert not isinstance(modular_sums.play(position, text), str)
    return text


def _by_seed(seeds: Sequence[Mapping[str, Mapping[str, list[int]]]]) -> Outcomes:
    return {
        row: {column: [seed[row][column] for seed in seeds] for column in cells}
        for row, cells in seeds[0].items()
    }


def matrix(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Return the cells: the share solved with its 95% interval, and the difference from the fresh model, if it has a row."""
    cells = []
    for row, columns in outcomes.items():
        for column, groups in columns.items():
            cell: dict[str, Any] = {
                "trained_on": row,
                "on": column,
                "solved": _mean(groups),
                "ci": list(bootstrap_groups(groups)),
            }
            if row != FRESH and FRESH in outcomes:
                pairs = zip(groups, outcomes[FRESH][column], strict=True)
                gains = [[a - b for a, b in zip(own, fresh, strict=True)] for own, fresh in pairs]
                cell |= {"over_fresh": _mean(gains), "over_fresh_ci": list(bootstrap_groups(gains))}
            cells.append(cell)
    return cells


def _mean(groups: Sequence[Sequence[float]]) -> float:
    return sum(map(_share, groups)) / len(groups)


def _share(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def write_transfer(out: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Write `results.json` and `heatmap.png` and return the results."""
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "results.json", json.dumps(results, indent=1))
    titles = {"as_is": "as trained", "adapted": f"after {results.get('adapt_steps')} steps there"}
    draw_heat_map(
        out / "heatmap.png",
        {title: results[name] for name, title in titles.items() if name in results},
    )
    return results

"""Transfer: what was learned on one family, measured on all others (`stepgym reproduce transfer`).

Any policies on any environments make a matrix (`measure`). By itself the command trains tiny models, one per family,
that share one vocabulary, and asks two things of each: what it solves on the other families as it is, and after the
same short training there that a fresh model gets. Steps are written over the legal ones alone, so that a family whose
steps a model never saw is not lost at the form; the row of a fresh model shows what that is worth.
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
from stepgym.claims.pictures import draw_matrices
from stepgym.claims.small_beats_large.models import HELD_OUT
from stepgym.envs.families import countdown, modular_sums
from stepgym.envs.registry import load_env
from stepgym.envs.types import Step
from stepgym.plugins.errors import UserError
from stepgym.records.atomic import write_whole
from stepgym.training.config import TRAINING_SEED
from stepgym.training.embedded_trainers import table_of, train_targets
from stepgym.training.types import PolicyTarget, Schedule

Tell = Callable[[str], None]
Outcomes = dict[str, dict[str, list[list[int]]]]
"""Row -> column -> one list per seed: 1 for each solved problem."""
SHAPE = net.Shape(32, 2, 4)
FRESH = "fresh model"


@dataclass(frozen=True)
class Place:
    """An environment with its options: a column of the matrix."""

    name: str
    env_id: str
    options: Mapping[str, Any] = field(default_factory=dict)


FAMILIES = {
    place.name: place
    for place in (
        Place("countdown, 3 numbers", "stepgym/Countdown-v0", {"level": 2}),
        Place("countdown, 4 numbers", "stepgym/Countdown-v0", {"level": 3}),
        Place("countdown, 5 numbers", "stepgym/Countdown-v0", {"level": 5}),
        Place("3 numbers mod 31", "stepgym/ModularSums-v0", {"level": 1}),
        Place("5 numbers mod 31", "stepgym/ModularSums-v0", {"level": 3}),
        Place("5 numbers mod 17", "stepgym/ModularSums-v0", {"level": 3, "modulus": 17}),
    )
}


def place_of(text: str) -> Place:
    """Read `ID,NAME=VALUE,...`; values are JSON where they can be. Raises `ValueError`."""
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
    return Place(text, env_id, options)


def measure(
    policies: Mapping[str, Callable[[Place], Policy]],
    places: Sequence[Place],
    *,
    num_problems: int = 200,
    seed: int = 0,
    agent: str = "greedy",
    agent_settings: Mapping[str, Any] | None = None,
    tell: Tell = lambda line: None,
) -> dict[str, dict[str, list[int]]]:
    """Play every policy on every place's held-out problems; a policy that cannot play there solves nothing."""
    found: dict[str, dict[str, list[int]]] = {name: {} for name in policies}
    for place in places:
        env = load_env(place.env_id, seed=HELD_OUT + seed, **place.options)
        try:
            problems = [env.problems[i] for i in range(min(num_problems, len(env.problems)))]
            for name, policy in policies.items():
                records = list(
                    iter_solve(
                        problems,
                        env=env,
                        agent=agent,
                        agent_settings=agent_settings,
                        policy=policy(place),
                        seed=seed,
                        see_verdicts=False,
                    )
                )
                found[name][place.name] = [int(record.verdict == "correct") for record in records]
                failed = next((f"  ({r.note[:100]})" for r in records if r.verdict == "failed"), "")
                tell(f"{name:24} on {place.name:24} {_share(found[name][place.name]):.3f}{failed}")
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
    families: Sequence[str] = tuple(FAMILIES),
    jobs: int = 1,
    tell: Tell = print,
) -> dict[str, Any]:
    """Train one tiny model per family and measure both matrices; write `results.json` and `heatmap.png`.

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
        partial(_one_seed, out=out, settings=settings, tell=tell), range(seeds), jobs
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


def _one_seed(seed: int, *, out: Path, settings: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return what one seed's models solve, from its file where that is there."""
    file = out / f"seed-{seed}" / "outcomes.json"
    if not file.is_file():
        found = _train_and_measure(file.parent, seed, settings, tell)
        write_whole(file, json.dumps({**settings, **found}))
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if {name: kept[name] for name in settings} != settings:
        raise UserError(f"{file.parent} holds a run with other settings; choose another --out")
    return kept


def _train_and_measure(
    folder: Path, seed: int, settings: Mapping[str, Any], tell: Tell
) -> dict[str, Any]:
    places = [FAMILIES[name] for name in settings["families"]]
    lessons = {
        place.name: table_of(_game(place), demonstrations(place, 3 * settings["steps"], seed))
        for place in places
    }
    models: dict[str, Any] = {FRESH: net.build(net.POLICY, SHAPE, _game(places[0]), seed=seed)}
    for place in places:
        tell(f"seed {seed}: training on {place.name}")
        model = net.build(net.POLICY, SHAPE, _game(place), seed=seed)
        out = folder / place.name.replace(" ", "-").replace(",", "")
        train_targets(
            model,
            lessons[place.name],
            schedule=Schedule(settings["steps"], 5e-3),
            seed=seed,
            out=out,
        )
        models[place.name] = model
    common: dict[str, Any] = {"num_problems": settings["problems"], "seed": seed, "tell": tell}
    as_is = measure(
        {name: _player(model, seed) for name, model in models.items()}, places, **common
    )

    def taught(model: Any) -> Callable[[Place], Policy]:
        def player(place: Place) -> Policy:
            own = copy.deepcopy(model)
            own.config.stepgym_game = _game(place)
            schedule = Schedule(settings["adapt_steps"], 3e-3, warmup=10)
            train_targets(own, lessons[place.name], schedule=schedule, seed=seed + 1)
            return EmbeddedPolicy(model=own, seed=seed)

        return player

    tell(f"seed {seed}: the same models after {settings['adapt_steps']} steps on each family")
    adapted = measure({name: taught(model) for name, model in models.items()}, places, **common)
    return {"as_is": as_is, "adapted": adapted}


def _player(model: Any, seed: int) -> Callable[[Place], Policy]:
    """Return how a model plays a place: the game is the place's, whatever the model was trained on."""

    def player(place: Place) -> Policy:
        own = copy.deepcopy(model)
        own.config.stepgym_game = _game(place)
        return EmbeddedPolicy(model=own, seed=seed)

    return player


def _game(place: Place) -> str:
    return "countdown" if "Countdown" in place.env_id else "modular_sums"


def demonstrations(place: Place, num_problems: int, seed: int) -> list[PolicyTarget]:
    """Return the steps of one random solution of each training problem."""
    rng, found = random.Random(seed), []
    env = load_env(place.env_id, seed=TRAINING_SEED + seed, **place.options)
    for index in range(num_problems):
        state = env.domain.initial(env.problems[index])
        while not state.done:
            text = _good_step(state.public, rng)
            found.append(PolicyTarget(state.public, {text: 1.0}))
            state = env.domain.advance([state], [Step(text)])[0]
    return found


def _good_step(board: Any, rng: random.Random) -> str:
    if len(board) == 2:
        numbers, target = board
        found = countdown.random_solution(numbers, target, rng)
        assert found is not None, "problems are drawn with a solution"
        return found[0]
    remaining, running, modulus = board
    a, b = rng.sample(remaining, 2) if running is None else (running, rng.choice(remaining))
    a, b = (min(a, b), max(a, b)) if running is None else (a, b)
    text = f"{a} + {b} = {(a + b) % modulus}"
    assert not isinstance(modular_sums.play(board, text), str)
    return text


def _by_seed(seeds: Sequence[Mapping[str, Mapping[str, list[int]]]]) -> Outcomes:
    return {
        row: {column: [seed[row][column] for seed in seeds] for column in cells}
        for row, cells in seeds[0].items()
    }


def matrix(outcomes: Outcomes) -> list[dict[str, Any]]:
    """Return the cells: share solved with its 95% interval, and against the fresh model's row where there is one."""
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
    draw_matrices(
        out / "heatmap.png",
        {title: results[name] for name, title in titles.items() if name in results},
    )
    return results

"""What a loop's next generation plays: the level of its environment or, with a mixture, each member's weight and level.

A loop on several environments has `env = "stepgym/Mixture-v0"`, whose option `rule` moves the weights; `band` moves the
levels. Both change between generations only, so that each generation's run is a mixture of fixed weights and levels: worker
processes can play it, and a run that was cut short is completed as it was begun. The schedule is kept in the lines of the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import reduce
from typing import Any

from stepgym.agents.types import EpisodeRecord
from stepgym.envs.curriculum import Curriculum
from stepgym.envs.mixture import NAME as MIXTURE
from stepgym.envs.mixture import MixedProblems
from stepgym.envs.mixture_schedule import MixtureSchedule
from stepgym.envs.proposals.problems import NAME as PROPOSE
from stepgym.envs.registry import full_id, load_env
from stepgym.envs.types import WithLevel
from stepgym.records.loader import Environments
from stepgym.selfplay.loop_config import LoopConfig
from stepgym.selfplay.loop_proposals import SOLVED_ON, is_proposing, proposing_options
from stepgym.selfplay.teachers import Teacher, agreement
from stepgym.training.examples import episode_is_correct
from stepgym.training.types import TrainingError

Lines = Sequence[Mapping[str, Any]]
"""The log's lines so far."""


def is_mixture(config: LoopConfig) -> bool:
    """Return whether the loop plays several environments."""
    return full_id(config.env) == MIXTURE


def held_out_id(config: LoopConfig) -> str:
    """Return the environment of the held-out problems."""
    return SOLVED_ON if is_proposing(config) else config.env


def held_out_options(config: LoopConfig) -> dict[str, Any]:
    """Return the options of the environment of the held-out problems, without the seed.

    The members of a mixture have their first weights and, unless they name one, the loop's level.
    """
    if is_proposing(config):
        return {"level": config.level}
    if not is_mixture(config):
        return {"level": config.level, **config.env_options}
    members = _members(config)
    made = {name: load_env(name, **_without_weights(options)) for name, options in members.items()}
    levels = {
        name: {"level": config.level}
        for name, env in made.items()
        if isinstance(env.problems, WithLevel)
    }
    for env in made.values():
        env.close()
    given = {name: levels.get(name, {}) | options for name, options in members.items()}
    return {**_without_rule(config.env_options), "members": given}


def played_options(config: LoopConfig, lines: Lines) -> dict[str, Any]:
    """Return the options of the environment that the generation after these lines plays, without the seed."""
    if is_proposing(config):
        return proposing_options(config)
    if not is_mixture(config):
        return {"level": level_after(config, lines), **config.env_options}
    options, schedule = held_out_options(config), schedule_after(config, lines)
    members = {}
    for (name, given), weight, course in zip(
        options["members"].items(), schedule.weights(), schedule.courses, strict=True
    ):
        level = {"level": course.curriculum.level} if "level" in given else {}
        members[name] = {**_without_weights(given), **level, "weight": weight}
    return {**options, "members": members}


def level_after(config: LoopConfig, lines: Lines) -> int:
    """Return the level to play after these generations, of a loop on one environment."""
    if not config.band:
        return config.level
    return int(lines[-1].get("curriculum", config.start_level)) if lines else config.start_level


def schedule_after(config: LoopConfig, lines: Lines) -> MixtureSchedule:
    """Return the weights and levels of a mixture after these generations."""
    if lines and "mixture" in lines[-1]:
        return MixtureSchedule.from_json(lines[-1]["mixture"])
    options = held_out_options(config) | {"rule": config.env_options.get("rule") or "fixed"}
    with closing(load_env(MIXTURE, **options)) as env:
        problems = env.problems
    assert isinstance(problems, MixedProblems) and problems.schedule is not None
    start = problems.schedule
    low, high = config.band or (0.0, 1.0)
    courses = []
    for course in start.courses:
        level = config.start_level if config.band else course.curriculum.level
        highest = config.highest_level if config.band else level
        curriculum = Curriculum(level=level, highest=highest, low=low, high=high)
        courses.append(replace(course, curriculum=curriculum))
    return replace(start, courses=tuple(courses))


def curriculum_figures(
    config: LoopConfig, lines: Lines, records: Sequence[EpisodeRecord]
) -> dict[str, Any]:
    """Return what the log keeps of the curriculum after a generation, given the lines before it and its episodes.

    With a mixture that is the next schedule, and for each environment the weight and level played and the success rate.
    """
    if not is_mixture(config):
        if not config.band:
            return {}
        level, succeeded = level_after(config, lines), successes(config, records)
        moved = next_level(config, level, succeeded)
        return {"level": level, "success": _rate(succeeded), "curriculum": moved}
    schedule = schedule_after(config, lines)
    places = member_places(config, [record.problem_id for record in records])
    outcomes = {
        env_id: successes(config, [records[place] for place in found])
        for env_id, found in places.items()
    }
    rates = {env_id: _rate(found) for env_id, found in outcomes.items()}
    played = {
        course.env_id: {
            "weight": weight,
            "level": course.curriculum.level,
            "success": rates[course.env_id],
        }
        for course, weight in zip(schedule.courses, schedule.weights())
    }
    after = schedule.observe_round({env_id: found for env_id, found in outcomes.items() if found})
    if config.band:
        courses = []
        for course in schedule.courses:
            level = next_level(config, course.curriculum.level, outcomes[course.env_id])
            courses.append(replace(course.curriculum, level=level))
        moved_to = zip(after.courses, courses)
        after = replace(
            after, courses=tuple(replace(course, curriculum=each) for course, each in moved_to)
        )
    return {"played": played, "mixture": after.to_json()}


def member_places(config: LoopConfig, problem_ids: Sequence[str]) -> dict[str, list[int]]:
    """Return for each environment of a mixture which of these problems are its own, in the members' order."""
    with closing(load_env(MIXTURE, **held_out_options(config))) as env:
        problems = env.problems
    assert isinstance(problems, MixedProblems)
    places: dict[str, list[int]] = {member.env.env_id: [] for member in problems.members}
    for place, problem_id in enumerate(problem_ids):
        places[problems.env_id_of(problem_id)].append(place)
    return places


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


def _rate(succeeded: Sequence[bool]) -> float | None:
    return sum(succeeded) / len(succeeded) if succeeded else None


def _members(config: LoopConfig) -> dict[str, dict[str, Any]]:
    """Return the options of each member, its weight among them. Raises `TrainingError`."""
    members = config.env_options.get("members")
    if not isinstance(members, Mapping) or not members:
        raise TrainingError(
            "a loop on stepgym/Mixture-v0 needs members in env_options, such as "
            "[env_options.members] with Countdown-v0 = 1 and ModularSums-v0 = {weight = 1, modulus = 7}"
        )
    if any(full_id(name) == PROPOSE for name in members):
        raise TrainingError(f"{PROPOSE} is no member of a loop's mixture; give it alone")
    found = {
        name: dict(given) if isinstance(given, Mapping) else {"weight": given}
        for name, given in members.items()
    }
    for name, given in found.items():
        if "seed" in given:
            raise TrainingError(f"seed is a setting of the loop, not of the member {name}")
    return found


def _without_weights(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given for name, given in options.items() if not name.endswith("weight")}


def _without_rule(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given for name, given in options.items() if name != "rule"}

"""Scheduling: projects with prerequisites, rooms for meetings, jobs on two machines. Levels raise the number of jobs."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from stepgym.envs.families.text import draft, scaled, text_family, worded
from stepgym.envs.problem_sets import Draft

NAME = "stepgym/Scheduling-v0"


def generate(rng: random.Random, level: int) -> Draft:
    """Draw one of the three kinds."""
    return rng.choice((_project, _meetings, _two_machines))(rng, level)


def _project(rng: random.Random, level: int) -> Draft:
    """Draw tasks with prerequisites; the answer is the length of a longest chain."""
    names = ascii_uppercase[: scaled(level, 3, 12)]
    durations = {name: rng.randint(1, scaled(level, 6, 20)) for name in names}
    needs = {
        name: sorted(rng.sample(names[:k], min(k, rng.randint(0, 2))))
        for k, name in enumerate(names)
    }
    ends = finish_times(durations, needs)
    told = list(names)
    rng.shuffle(told)
    tasks = "; ".join(
        f"{name} takes {durations[name]} days"
        + (f" and needs {' and '.join(needs[name])} done" if needs[name] else "")
        for name in told
    )
    question = worded(
        rng,
        "A project has these tasks: {tasks}. Any number of tasks can run at the same time. After how many days can the "
        "whole project be finished at the earliest?",
        "Tasks of a project: {tasks}. Tasks run in parallel as far as their needs allow. What is the smallest number of "
        "days in which all of them are done?",
        tasks=tasks,
    )
    steps = []
    for name in names:
        start = max((ends[need] for need in needs[name]), default=0)
        steps.append(f"{name} ends after {start} + {durations[name]} = {ends[name]} days.")
    return draft(question, max(ends.values()), steps)


def finish_times(
    durations: Mapping[str, int], needs: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Return when each task ends at the earliest; every task comes after those that it needs."""
    ends: dict[str, int] = {}
    for name, length in durations.items():
        ends[name] = length + max((ends[need] for need in needs[name]), default=0)
    return ends


def _meetings(rng: random.Random, level: int) -> Draft:
    """Draw meetings; the answer is how many of them fit into one room."""
    count, latest = scaled(level, 3, 14), scaled(level, 10, 24)
    meetings = []
    for _ in range(count):
        start = rng.randint(0, latest - 2)
        meetings.append((start, rng.randint(start + 1, min(latest, start + 6))))
    chosen = most_meetings(meetings)
    question = worded(
        rng,
        "One room, and meetings from hour to hour: {meetings}. A meeting may begin when another ends. What is the largest "
        "number of these meetings that the room can hold?",
        "These meetings are asked for, as start and end in hours: {meetings}. How many of them at most can take place in "
        "one room, if no two overlap and one may start at the hour when another ends?",
        meetings=", ".join(f"{start}-{end}" for start, end in meetings),
    )
    steps = [f"Take {start}-{end}, which ends first of those that fit." for start, end in chosen]
    return draft(question, len(chosen), steps)


def most_meetings(meetings: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return a largest set of meetings without overlap: always the one that ends first."""
    chosen: list[tuple[int, int]] = []
    for start, end in sorted(meetings, key=lambda meeting: meeting[1]):
        if not chosen or start >= chosen[-1][1]:
            chosen.append((start, end))
    return chosen


def _two_machines(rng: random.Random, level: int) -> Draft:
    """Draw jobs for two equal machines; the answer is the smallest time after which both are done."""
    jobs = [rng.randint(1, scaled(level, 8, 60)) for _ in range(scaled(level, 3, 12))]
    total = sum(jobs)
    first = halved(jobs)
    question = worded(
        rng,
        "Two equal machines share jobs that take {jobs} minutes. A job runs on one machine without a break. What is the "
        "smallest number of minutes after which all jobs can be done?",
        "Jobs of {jobs} minutes are spread over two machines that start together, each job on one of them. After how many "
        "minutes at the earliest have both finished?",
        jobs=", ".join(map(str, jobs)),
    )
    value = max(sum(first), total - sum(first))
    steps = [
        f"{' + '.join(map(str, jobs))} = {total}",
        f"One machine takes {' + '.join(map(str, first)) or '0'} = {sum(first)} minutes.",
        f"The other one takes {total} - {sum(first)} = {total - sum(first)} minutes.",
    ]
    return draft(question, value, steps)


def halved(jobs: Sequence[int]) -> list[int]:
    """Return jobs whose sum is the largest that is at most half of all, by dynamic programming over sums."""
    reached: dict[int, tuple[int, ...]] = {0: ()}
    for job in jobs:
        for total, chosen in list(reached.items()):
            reached.setdefault(total + job, (*chosen, job))
    return list(reached[max(total for total in reached if 2 * total <= sum(jobs))])


make = text_family(NAME, generate)

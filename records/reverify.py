"""Verification of a stored run with today's verifier.

What changed goes to `verdicts.jsonl` beside the episodes, which stay as they were written: the run keeps both.
`read_episodes` gives the new verdicts, unless the recorded ones are asked for. An answer that the new verifier leaves
undecided through a limit of its own keeps a decided verdict.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import Fault, Problem, State, Status, Verdict
from stepgym.plugins.worker_processes import map_in_order
from stepgym.records.atomic import write_whole
from stepgym.records.loader import Environments
from stepgym.records.run_folder import lock_folder, read_episodes, read_header, versions
from stepgym.records.types import VERDICTS_FILE, Reverification, VerdictChange

InOrder = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""Calls a function on parts, somewhere, and yields the results in the order of the parts."""
BATCH = 64
"""Episodes verified in one call."""


def reverify(
    path: str | Path,
    *,
    keep: bool = True,
    in_order: InOrder = map_in_order,
    on_progress: Callable[[int], object] | None = None,
) -> Reverification:
    """Verify all answers of a run anew and return the differences from the recorded verdicts.

    Unless `keep` is false, the run keeps the new verdicts too. `in_order(function, batches)` verifies the batches
    somewhere and yields the results in their order: here by default, `Workers(2).map` in two processes, `OnRay("auto").map`
    on a Ray cluster. Raises `RecordError` if there is no run, or the environment cannot be made
    or makes other problems now, `SandboxError` if its sandbox is not to be had; nothing is written then.
    """
    folder, started = Path(path), time.perf_counter()
    read_header(folder)
    lock = lock_folder(folder) if keep else -1
    num_episodes, num_answers = 0, 0
    changes: list[VerdictChange] = []
    try:
        batches = _batches(read_episodes(folder, recorded=True))
        for batch in in_order(_verified, batches):
            for answers, found in batch:
                num_episodes += 1
                num_answers += answers
                changes += found
            if on_progress is not None:
                on_progress(num_episodes)
        if keep:
            header = {"format": 1, "versions": versions(), "episodes": num_episodes}
            lines = [header, *(change._asdict() for change in changes)]
            write_whole(folder / VERDICTS_FILE, "".join(json.dumps(line) + "\n" for line in lines))
    finally:
        _environments.close()
        if lock >= 0:
            os.close(lock)
    kinds = Counter(f"{change.before} -> {change.verdict}" for change in changes)
    return Reverification(
        run=str(folder),
        episodes=num_episodes,
        answers=num_answers,
        changed=dict(kinds.most_common()),
        changes=tuple(changes),
        seconds=time.perf_counter() - started,
    )


def _batches(records: Iterable[EpisodeRecord]) -> Iterator[list[EpisodeRecord]]:
    stream = iter(records)
    while batch := list(islice(stream, BATCH)):
        yield batch


_environments = Environments()
"""Of the records that this process verifies."""


def _verified(records: list[EpisodeRecord]) -> list[tuple[int, list[VerdictChange]]]:
    """Return for each record how many answers it has, and the verdicts that changed."""
    asked: dict[int, tuple[Any, list[tuple[int, int]], list[Problem], list[State]]] = {}
    for at, record in enumerate(records):
        env, problem = _environments.of(record), _environments.problem(record)
        _, places, problems, states = asked.setdefault(id(env), (env, [], [], []))
        for number, node in enumerate(record.nodes):
            result = State(record.prompt, answer=node.answer, outcome=node.outcome)
            if result.has_result:
                places.append((at, number))
                problems.append(problem)
                states.append(result)
    found: list[list[VerdictChange]] = [[] for _ in records]
    counts = [0] * len(records)
    for env, places, problems, states in asked.values():
        owners = [at for at, _ in places]
        given = boundary.verify(env.verifier, problems, states, owners=owners) if states else []
        for (at, number), new in zip(places, given):
            counts[at] += 1
            change = _change(records[at], number, new)
            if change is not None:
                found[at].append(change)
    return list(zip(counts, found))


def _change(
    record: EpisodeRecord, number: int, new: Verdict | boundary.Failure
) -> VerdictChange | None:
    """Return the change of a node's verdict; `None` if it stays the same."""
    if isinstance(new, boundary.Failure):
        new = Verdict(Status.UNDECIDED, reason=new.reason, fault=Fault.OURS)
    node = record.nodes[number]
    before, after = node.verdict, new.status.value
    decided = (Status.CORRECT.value, Status.INCORRECT.value)
    if before == after or (
        new.status is Status.UNDECIDED and new.fault is not Fault.ANSWER and before in decided
    ):
        return None
    return VerdictChange(
        problem_id=record.problem_id,
        attempt=record.attempt,
        node=number,
        answer=node.answer or "",
        reference=record.reference,
        before=before or "not verified",
        verdict=after,
        score=new.score,
        reason=new.reason,
        decided_by=new.decided_by,
        fault=new.fault.value if new.fault is not None else None,
    )

"""Preferences: at a fork, the path to a correct answer over one that leads to incorrect answers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.rows.options import (
    MESSAGES,
    PROBLEM,
    Columns,
    Row,
    RowOptions,
    problem_columns,
)
from stepgym.records.rows.stretches import (
    assistant,
    chat_before,
    own_words,
    plain_before,
    stretches,
)
from stepgym.records.tree import children_of, decided_below, path_to
from stepgym.records.types import TextLayout

COLUMNS: dict[TextLayout, Columns] = {
    layout: {**PROBLEM, "prompt": kind, "chosen": kind, "rejected": kind, "num_shared_steps": "int"}
    for layout, kind in ((TextLayout.CHAT, MESSAGES), (TextLayout.PLAIN, "text"))
}
IDENTITY = ("prompt", "chosen", "rejected")


def rows(record: EpisodeRecord, options: RowOptions) -> Iterator[Row]:
    """Yield one row per fork. Both completions stop at the first reply of the environment.

    In layout chat they begin with the turn in which the paths part, shared steps included; in layout plain the
    prompt holds all shared steps. Raises `UserError` for an agent that drives itself: its tree holds what the agent's
    program said, and no two model calls read the same.
    """
    if record.calls:
        raise UserError(
            f"record {record.problem_id} is of an agent that drives itself, whose paths are no alternatives that its "
            "model wrote; export its model calls as kto, sft or tokens"
        )
    for shared, good, bad in forks(record):
        row: Row = problem_columns(record)
        if options.layout is TextLayout.CHAT:
            earlier = stretches(record, shared)
            if earlier and not record.nodes[earlier[-1][-1]].reply:
                earlier.pop()  # the turn continues after the fork
            row["prompt"] = chat_before(record, earlier, options)
            for name, path in (("chosen", good), ("rejected", bad)):
                turn = stretches(record, path)[len(earlier)]
                row[name] = [assistant(own_words(record, turn, options))]
        else:
            row["prompt"] = plain_before(record, shared[1:], options)
            for name, path in (("chosen", good), ("rejected", bad)):
                rest = stretches(record, path[len(shared) - 1 :])[0]
                row[name] = own_words(record, rest, options)
        row["num_shared_steps"] = len(shared) - 1
        if row["chosen"] != row["rejected"]:
            yield row


def forks(record: EpisodeRecord) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield the path to each fork, and from the root through it a path to a correct and one to an incorrect answer.

    Of several paths the one with the highest value is chosen, and rejected the incorrect one with the highest value,
    because that mistake is the likeliest. Of equal values the higher score decides, then the earlier node.
    """
    below = decided_below(record)
    for fork, children in enumerate(children_of(record)):
        good = [child for child in children if below[child][0]]
        bad = [child for child in children if not below[child][0] and below[child][1]]
        if good and bad:
            best = _most_valued(record, below[_most_valued(record, good)][0])
            worst = _most_valued(record, below[_most_valued(record, bad)][1])
            yield path_to(record, fork), path_to(record, best), path_to(record, worst)


def _most_valued(record: EpisodeRecord, nodes: Sequence[int]) -> int:
    def value(number: int) -> tuple[float, float, int]:
        node = record.nodes[number]
        return node.value, node.score if node.score is not None else 0.0, -number

    return max(nodes, key=value)

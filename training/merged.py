"""Lessons from what a search's lines have in common: equal boards are one board, however they were reached.

Merging makes a graph of the tree. A board that many samples passed is more likely to be right than one that a single
sample made up, and a legal step between two such boards is worth learning even where no sample took it: that is how
a policy learns what it never wrote, from nothing but its own votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cache
from typing import Any

from stepgym.agents.types import EpisodeRecord
from stepgym.envs.types import State, Step
from stepgym.training.examples import Answers, Choice, Replay, Same
from stepgym.training.fit import TrainingError

Board = tuple[int, Hashable]
"""Depth and public data."""
Wanted = Callable[[str | None], bool]


def merged_choices(
    records: Iterable[EpisodeRecord],
    replay: Replay,
    *,
    answers_of: Mapping[str, Answers],
    min_support: int,
) -> list[Choice]:
    """Return for each supported board its legal steps to supported boards, with the support as shares.

    A board's support is how many samples passed it (visits), over all lines that lead to it; `min_support` is the
    least. Ends are supported when they give an answer that is the same as one in `answers_of`, problem by problem;
    problems that are not in it are left out. Raises `TrainingError` for a domain that does not list its legal steps.
    """
    found = []
    for record in records:
        if answers := answers_of.get(record.problem_id):
            domain = replay.env(record).domain
            if not hasattr(domain, "legal_steps"):
                raise TrainingError(
                    f"{record.env_id} does not list its legal steps; learn from paths instead of merged boards"
                )
            found += _choices(
                record,
                replay.states(record),
                _wanted(answers, replay.same(record)),
                min_support,
                domain,
            )
    return found


def _wanted(answers: Answers, same: Same) -> Wanted:
    """Return whether an answer is one of these: a line that nobody took may spell it in its own way."""

    @cache
    def wanted(answer: str | None) -> bool:
        return answer is not None and (
            answer in answers or any(same(answer, other) for other in answers)
        )

    return wanted


def _choices(
    record: EpisodeRecord, states: list[State], wanted: Wanted, min_support: int, domain: Any
) -> list[Choice]:
    support: Counter[Board] = Counter()
    ends: Counter[int] = Counter()
    stands: dict[Board, State] = {}
    for node, state in zip(record.nodes, states):
        board = len(state.steps), state.public
        if not state.done:
            support[board] += max(1, node.visits)
            stands.setdefault(board, state)
        elif wanted(state.answer):
            ends[len(state.steps)] += max(1, node.visits)
    trusted = {board: n for board, n in support.items() if n >= min_support or not board[0]}
    return [
        Choice(board[1], target)
        for board in trusted
        if (target := _target(stands[board], wanted, trusted, ends, domain))
    ]


def _target(
    state: State, wanted: Wanted, trusted: Mapping[Board, int], ends: Mapping[int, int], domain: Any
) -> dict[str, float]:
    texts = domain.legal_steps(state)
    depth = len(state.steps) + 1
    shares: dict[str, float] = {}
    for text, after in zip(
        texts, domain.advance([state] * len(texts), [Step(text) for text in texts])
    ):
        if not after.done:
            share = trusted.get((depth, after.public), 0)
        else:
            share = ends.get(depth, 0) if wanted(after.answer) else 0
        if share:
            shares[text] = float(share)
    total = sum(shares.values())
    return {text: share / total for text, share in shares.items()}

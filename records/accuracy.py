"""Accuracy with several attempts per problem: pass@k, avg@K and majority@K, with intervals.

Undecided and failed attempts are neither right nor wrong: they are counted, and left out of every share. A missing answer
is wrong. Intervals are bootstrap percentiles over problems.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepgym.agents.intervals import Interval, bootstrap_mean
from stepgym.agents.types import EpisodeRecord

MIXED = re.compile(
    r"stepgym/Mixture-v0/\d+/(?:(?P<versioned>.*?-v\d+)(?:/|$)|(?P<other>.*?)(?:/[^/]*)?$)",
    re.DOTALL,
)
"""The id of a mixture's problem: a prefix, then the id of the member's problem, which starts with the member's id or name."""
DECIDED = ("correct", "incorrect", "no_answer")
"""Verdicts that say right or wrong."""


class Share(NamedTuple):
    """A mean over problems, in [0, 1], with its 95% interval."""

    value: float
    """The mean."""
    ci: Interval
    """The bounds of the interval, in [0, 1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy of one run, as shares over its problems with 95% intervals."""

    num_problems: int
    """Problems that were played; those without a decided attempt are in no share."""
    num_attempts: int
    """The most attempts at one problem."""
    pass_at: Mapping[int, Share]
    """k -> chance that at least one of k attempts is right (Chen et al. 2021, arXiv:2107.03374); from 1 to `num_attempts`."""
    mean: Share
    """Share of right attempts per problem, averaged over problems: avg@K."""
    majority: Share
    """Share of problems whose most frequent answer is right; ties count as the share of right ones among them."""
    verdicts: Mapping[str, int]
    """Verdict -> episodes, most frequent first."""
    num_undecided: int
    """Undecided episodes; they count neither as right nor as wrong."""
    num_failed: int
    """Failed episodes; they count neither as right nor as wrong."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object that `stepgym eval --json` prints."""
        return {
            "num_problems": self.num_problems,
            "num_attempts": self.num_attempts,
            "pass_at": {str(k): _json(share) for k, share in self.pass_at.items()},
            "mean": _json(self.mean),
            "majority": _json(self.majority),
            "verdicts": dict(self.verdicts),
            "num_undecided": self.num_undecided,
            "num_failed": self.num_failed,
        }


def accuracy(records: Iterable[EpisodeRecord]) -> Accuracy:
    """Summarise the episodes of one run. A problem without a decided attempt is in no share."""
    by_problem: dict[str, list[EpisodeRecord]] = defaultdict(list)
    verdicts: Counter[str] = Counter()
    for record in records:
        by_problem[record.problem_id].append(record)
        verdicts[record.verdict] += 1
    decided = [
        kept
        for attempts in by_problem.values()
        if (kept := [record for record in attempts if record.verdict in DECIDED])
    ]
    most = max(map(len, by_problem.values()), default=0)
    return Accuracy(
        num_problems=len(by_problem),
        num_attempts=most,
        pass_at={
            k: _share([pass_at(k, kept) for kept in decided if len(kept) >= k])
            for k in range(1, most + 1)
        },
        mean=_share([pass_at(1, kept) for kept in decided]),
        majority=_share([majority(kept) for kept in decided]),
        verdicts=dict(verdicts.most_common()),
        num_undecided=verdicts["undecided"],
        num_failed=verdicts["failed"],
    )


def by_member(records: Iterable[EpisodeRecord]) -> dict[str, Accuracy]:
    """Return the accuracy on each member of a mixture.

    Records of other environments are left out.
    """
    members: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        found = MIXED.match(record.problem_id)
        if found:
            members[found["versioned"] or found["other"]].append(record)
    return {member: accuracy(kept) for member, kept in sorted(members.items())}


def outcomes(records: Iterable[EpisodeRecord]) -> dict[str, float]:
    """Return the share of correct attempts of each problem, by problem id.

    Only decided attempts count; problems without one are left out.
    """
    by_problem: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in records:
        if record.verdict in DECIDED:
            by_problem[record.problem_id].append(record)
    return {problem: pass_at(1, attempts) for problem, attempts in by_problem.items()}


def pass_at(k: int, attempts: Sequence[EpisodeRecord]) -> float:
    """Return the chance that at least one of `k` attempts at a problem is correct.

    This is the unbiased estimator of Chen et al. 2021 (arXiv:2107.03374): `k` of the given attempts are drawn without
    replacement.
    """
    wrong = sum(record.verdict != "correct" for record in attempts)
    return 1.0 - math.comb(wrong, k) / math.comb(len(attempts), k)


def majority(attempts: Sequence[EpisodeRecord]) -> float:
    """Return 1 if the most frequent answer to a problem is correct, 0 if not.

    In a tie of m answers with the correct one, return 1/m. Correct answers are one answer, however they are written;
    incorrect ones are compared as texts. Attempts without an answer have no vote; without any vote, return 0.
    """
    votes = Counter(
        "right" if record.verdict == "correct" else f"wrong: {record.answer}"
        for record in attempts
        if record.answer is not None
    )
    if not votes:
        return 0.0
    best = max(votes.values())
    leaders = [answer for answer, count in votes.items() if count == best]
    return leaders.count("right") / len(leaders)


def _share(values: Sequence[float]) -> Share:
    return Share(sum(values) / len(values) if values else math.nan, bootstrap_mean(values))


def _json(share: Share) -> dict[str, Any]:
    def plain(value: float) -> float | None:
        return None if math.isnan(value) else value

    return {"value": plain(share.value), "ci": [plain(bound) for bound in share.ci]}

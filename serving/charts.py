"""The charts of one or several runs as data: figures with 95% intervals, and what a click on each of them lists.

Undecided and failed episodes are in no accuracy, as everywhere (`stepgym.records.accuracy`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stepgym.agents.intervals import wilson
from stepgym.agents.types import EpisodeRecord
from stepgym.envs.registry import NAMESPACE
from stepgym.records.accuracy import Accuracy, Share, accuracy, by_member
from stepgym.records.comparison import compare
from stepgym.records.types import RecordError

KINDS = {"visible_tokens": "visible", "reasoning_tokens": "internal", "tool_tokens": "tool results"}
"""A field of `Usage` -> its name in the chart of tokens."""
MAX_ROWS = 40
"""Most levels or members of a mixture in a chart."""


class Run(NamedTuple):
    """The episodes of a run folder, in the order in which they were written."""

    name: str
    episodes: Sequence[EpisodeRecord]


@dataclass(frozen=True, slots=True)
class Summary:
    """The accuracies of a run."""

    total: Accuracy
    by_level: Mapping[int, Accuracy]
    by_member: Mapping[str, Accuracy]
    tokens: float
    """Mean new tokens of an episode."""

    @classmethod
    def of(cls, episodes: Sequence[EpisodeRecord]) -> Summary:
        levels: dict[int, list[EpisodeRecord]] = defaultdict(list)
        for record in episodes:
            if record.level is not None:
                levels[record.level].append(record)
        tokens = sum(map(new_tokens, episodes)) / max(1, len(episodes))
        return cls(
            accuracy(episodes),
            {level: accuracy(levels[level]) for level in sorted(levels)[:MAX_ROWS]},
            dict(list(by_member(episodes).items())[:MAX_ROWS]),
            tokens,
        )

    @property
    def headline(self) -> str:
        """The name of `total.mean`."""
        return "solved" if self.total.num_attempts <= 1 else f"avg@{self.total.num_attempts}"


def new_tokens(record: EpisodeRecord) -> int:
    """Return the tokens that the policy generated in an episode."""
    return int(
        (record.usage.get("visible_tokens") or 0) + (record.usage.get("reasoning_tokens") or 0)
    )


def figures(summary: Summary) -> list[dict[str, Any]]:
    """Return the accuracies of a run: in all, by attempts, by level, by member of a mixture."""
    total = summary.total
    found = [(summary.headline, total.mean)]
    if total.num_attempts > 1:
        found += [(f"pass@{k}", share) for k, share in total.pass_at.items()]
        found.append((f"majority@{total.num_attempts}", total.majority))
    if len(summary.by_level) > 1:
        found += [(f"level {level}", each.mean) for level, each in summary.by_level.items()]
    if len(summary.by_member) > 1:
        found += [
            (name.removeprefix(NAMESPACE), each.mean) for name, each in summary.by_member.items()
        ]
    return [{"name": name, **_share(share)} for name, share in found if _is_known(share)]


def charts(
    runs: Sequence[Run], summaries: Sequence[Summary], loop: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the charts that have something to show; `loop` are the lines of a loop's log."""
    found = [
        _generations(loop, {run.name: number for number, run in enumerate(runs)}),
        _runs(runs, summaries),
        _levels(runs, summaries),
        _members(runs, summaries),
        _compute(runs, summaries),
        _tokens(runs),
    ]
    return [chart for chart in found if chart["rows"]]


def pairs(runs: Sequence[Run]) -> dict[str, Any] | None:
    """Return which of two runs solved which problem, with the statistics of `stepgym compare`; `None` without shared problems.

    Each group has pairs of episode numbers, one per problem: in the run that has it right the first right attempt, in the
    other the first wrong one.
    """
    if len(runs) != 2:
        return None
    try:
        result = compare(runs[0].episodes, runs[1].episodes)
    except RecordError:
        return None
    places, start = [], 0
    for run in runs:
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for number, record in enumerate(run.episodes, start):
            found[record.problem_id].setdefault(record.verdict, number)
        places.append(found)
        start += len(run.episodes)
    gained, lost = set(result.gained), set(result.lost)
    groups: dict[str, list[list[int]]] = {
        name: [] for name in ("both", "only first", "only second", "neither", "undecided")
    }
    for problem, first in places[0].items():
        second = places[1].get(problem)
        if second is None:
            continue
        if problem in gained:
            group = "only second"
        elif problem in lost:
            group = "only first"
        elif not (_decided(first) and _decided(second)):
            group = "undecided"
        else:
            group = "both" if "correct" in first and "correct" in second else "neither"
        groups[group].append(
            [
                _pick(first, group in ("both", "only first")),
                _pick(second, group in ("both", "only second")),
            ]
        )
    return {
        "names": [run.name for run in runs],
        "groups": {name: found for name, found in groups.items() if found},
        "first": result.first,
        "second": result.second,
        "difference": result.difference,
        "ci": list(result.ci),
        "p": result.p_value,
        "problems": result.num_problems,
        "left_out": [result.only_first, result.only_second],
    }


def _decided(places: Mapping[str, int]) -> bool:
    return not places.keys().isdisjoint(("correct", "incorrect", "no_answer"))


def _pick(places: Mapping[str, int], right: bool) -> int:
    wanted = [name for name in places if (name == "correct") is right]
    return places[wanted[0]] if wanted else next(iter(places.values()))


def _share(share: Share) -> dict[str, float]:
    return {"share": share.value, "low": share.ci.low, "high": share.ci.high}


def _is_known(share: Share) -> bool:
    return not math.isnan(share.value)


def _point(label: str, each: Accuracy, share: Share | None = None, **more: Any) -> dict[str, Any]:
    return {
        "label": label,
        **_share(each.mean if share is None else share),
        "problems": each.num_problems,
        **more,
    }


def _chart(name: str, title: str, kind: str, rows: Sequence[Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "title": title, "kind": kind, "rows": list(rows), **more}


def _runs(runs: Sequence[Run], summaries: Sequence[Summary]) -> dict[str, Any]:
    rows = [
        _point(run.name, summary.total, show={"run": number})
        for number, (run, summary) in enumerate(zip(runs, summaries))
        if _is_known(summary.total.mean)
    ]
    title = "Solved by run and agent"
    return _chart("runs", title, "bars", rows if len(runs) > 1 else [])


def _levels(runs: Sequence[Run], summaries: Sequence[Summary]) -> dict[str, Any]:
    series: list[dict[str, Any]] = [
        {
            "name": run.name,
            "points": [
                _point(str(level), each, show={"run": number, "level": level})
                for level, each in summary.by_level.items()
                if _is_known(each.mean)
            ],
        }
        for number, (run, summary) in enumerate(zip(runs, summaries))
    ]
    levels = {point["label"] for each in series for point in each["points"]}
    series = [each for each in series if each["points"]] if len(levels) > 1 else []
    return _chart("levels", "Solved by level", "lines", series, x="level")


def _members(runs: Sequence[Run], summaries: Sequence[Summary]) -> dict[str, Any]:
    rows = [
        _point(
            " · ".join(
                filter(None, [member.removeprefix(NAMESPACE), run.name if len(runs) > 1 else ""])
            ),
            each,
            show={"run": number, "find": member},
        )
        for number, (run, summary) in enumerate(zip(runs, summaries))
        if len(summary.by_member) > 1
        for member, each in summary.by_member.items()
        if _is_known(each.mean)
    ]
    return _chart("members", "Solved by environment", "bars", rows)


def _compute(runs: Sequence[Run], summaries: Sequence[Summary]) -> dict[str, Any]:
    """pass@k against the tokens of k attempts; one point for a run with one attempt."""
    series = [
        {
            "name": run.name,
            "points": [
                _point(
                    "1 attempt" if k == 1 else f"best of {k}",
                    summary.total,
                    share,
                    x=k * summary.tokens,
                    show={"run": number},
                )
                for k, share in summary.total.pass_at.items()
                if _is_known(share)
            ],
        }
        for number, (run, summary) in enumerate(zip(runs, summaries))
        if summary.tokens > 0
    ]
    shown = [each for each in series if each["points"]]
    if sum(len(each["points"]) for each in shown) < 2:
        shown = []
    note = "pass@k: the share of problems that at least one of k attempts solves"
    has_attempts = any(len(each["points"]) > 1 for each in shown)
    return _chart(
        "compute",
        "Accuracy against compute",
        "lines",
        shown,
        x="new tokens a problem",
        log=True,
        note=note if has_attempts else "",
    )


def _tokens(runs: Sequence[Run]) -> dict[str, Any]:
    """Mean tokens of an episode by kind: for each run, or for each verdict of the only run."""
    groups: dict[str, tuple[list[EpisodeRecord], dict[str, Any]]] = {}
    for number, run in enumerate(runs):
        for record in run.episodes:
            name, show = record.verdict.replace("_", " "), dict[str, Any](verdict=record.verdict)
            if len(runs) > 1:
                name, show = run.name, {"run": number}
            groups.setdefault(name, ([], show))[0].append(record)
    rows: list[dict[str, Any]] = [
        {
            "label": label,
            "values": [
                sum(float(record.usage.get(kind) or 0) for record in records) / len(records)
                for kind in KINDS
            ],
            "episodes": len(records),
            "show": show,
        }
        for label, (records, show) in groups.items()
    ]
    rows = [row for row in rows if sum(row["values"]) > 0]
    return _chart("tokens", "Tokens an episode", "stack", rows, kinds=list(KINDS.values()))


def _generations(loop: Sequence[Mapping[str, Any]], places: Mapping[str, int]) -> dict[str, Any]:
    series = []
    for name, solved in (("greedy", "solved"), ("searched", "searched_solved")):
        points = []
        for line in loop:
            generation, hits = int(line["generation"]), line.get(solved) or []
            low, high = wilson(sum(hits), len(hits)) if hits else (line[name], line[name])
            place = places.get(f"generation-{generation}")
            points.append(
                {
                    "label": str(generation)
                    + ("" if line.get("accepted", True) else " (rejected)"),
                    "share": float(line[name]),
                    "low": low,
                    "high": high,
                    "problems": len(hits),
                    "show": None if place is None else {"run": place},
                }
            )
        series.append({"name": name, "points": points})
    return _chart(
        "generations",
        "Solved on held-out problems by generation",
        "lines",
        series if loop else [],
        x="generation",
        note="a click lists the episodes that the generation was trained on",
    )

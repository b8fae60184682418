"""Records to training rows: one function per format, each a pure function of one record.

Only what the verifier decided counts: an undecided or missing verdict makes no example, good or bad. Text is laid
out as the policy saw it (`stepgym.envs.tokens.render`), so that `prompt + completion` is the very transcript.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.tokens import STEP_END, parse, render, shown_reply
from stepgym.envs.types import SegmentKind, State, Step
from stepgym.records.tree import children_of, decided_below, ends, path_to
from stepgym.records.types import ExportFormat, Span

Row = dict[str, Any]
OPENRLHF_PLACEHOLDER = "ки"
"""The token after which OpenRLHF's process reward model reads a label (as in the Math-Shepherd data)."""


def rows(
    record: EpisodeRecord, kind: ExportFormat, *, learn_reasoning: bool = True
) -> Iterator[Row]:
    """Yield the rows of one record; none where it holds nothing verified of that kind."""
    match kind:
        case ExportFormat.SFT:
            yield from sft_rows(record, learn_reasoning=learn_reasoning)
        case ExportFormat.PREFERENCE:
            yield from preference_rows(record)
        case ExportFormat.STEPS:
            yield from step_rows(record)
        case ExportFormat.TREE:
            yield from tree_rows(record)
        case ExportFormat.VERL:
            yield verl_row(record)
        case ExportFormat.OPENRLHF:
            yield from (openrlhf_row(row) for row in step_rows(record))


def sft_rows(record: EpisodeRecord, *, learn_reasoning: bool = True) -> Iterator[Row]:
    """Yield every verified way to the answer in the tree, the one the search stood by first.

    `spans` cover the completion and say what to learn from: replies of the environment never, internal reasoning
    when `learn_reasoning`.
    """
    paths = [path_to(record, node) for node in ends(record, "correct")]
    paths.sort(key=lambda path: path != list(record.path))
    for path in paths:
        steps = [record.nodes[node] for node in path[1:]]
        completion, spans = lay_out(steps, learn_reasoning=learn_reasoning)
        yield {
            **_problem(record),
            "prompt": prompt_of(record),
            "completion": completion,
            "spans": [span._asdict() for span in spans],
            "answer": steps[-1].answer if steps else record.answer,
            "selected": path == list(record.path),
        }


def preference_rows(record: EpisodeRecord) -> Iterator[Row]:
    """Yield one row per fork of which one way leads to a correct end and another only to incorrect ones.

    The prompt holds the steps that both share.
    """
    for shared, good, bad in forks(record):
        yield {
            **_problem(record),
            "prompt": prompt_of(record, [record.nodes[node] for node in shared[1:]]),
            "chosen": _completion(record, good[len(shared) :]),
            "rejected": _completion(record, bad[len(shared) :]),
            "num_shared_steps": len(shared) - 1,
        }


def forks(record: EpisodeRecord) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """Yield the path to each fork, and from the root through it a path to a correct and one to an incorrect end.

    Of several ways the most valued one is chosen, and rejected the most valued wrong one, because that is the mistake
    worth unlearning.
    """
    below = decided_below(record)
    for fork, children in enumerate(children_of(record)):
        good = [child for child in children if below[child][0]]
        bad = [child for child in children if not below[child][0] and below[child][1]]
        if not good or not bad:
            continue
        best = max(
            below[max(good, key=lambda c: _worth(record, c))][0], key=lambda n: _worth(record, n)
        )
        worst = max(
            below[max(bad, key=lambda c: _worth(record, c))][1], key=lambda n: _worth(record, n)
        )
        yield path_to(record, fork), path_to(record, best), path_to(record, worst)


def step_rows(record: EpisodeRecord) -> Iterator[Row]:
    """Yield one row per decided path: its steps, and for each step whether a correct end lies below it.

    `labels` are hard (some correct end below), `values` soft (the share of decided ends below that are correct).
    """
    below = decided_below(record)
    for node in [*ends(record, "correct"), *ends(record, "incorrect")]:
        path = path_to(record, node)[1:]
        counts = [(len(below[step][0]), len(below[step][1])) for step in path]
        yield {
            **_problem(record),
            "prompt": prompt_of(record),
            "completions": [record.nodes[step].text for step in path],
            "replies": [record.nodes[step].reply for step in path],
            "labels": [good > 0 for good, _ in counts],
            "values": [good / (good + bad) for good, bad in counts],
            "correct": record.nodes[node].verdict == "correct",
        }


def tree_rows(record: EpisodeRecord) -> Iterator[Row]:
    """Yield one row per node, in the tree's order; `visits` over siblings is what search found out about them."""
    selected = set(record.path)
    for number, node in enumerate(record.nodes):
        yield {
            **_problem(record),
            "node": number,
            "parent": node.parent,
            "depth": len(path_to(record, number)) - 1,
            "prompt": prompt_of(
                record, [record.nodes[step] for step in path_to(record, number)[1:-1]]
            ),
            "text": node.text,
            "reply": node.reply,
            "log_prob": node.log_prob,
            "num_tokens": node.num_tokens,
            "prior": node.prior,
            "score": node.score,
            "visits": node.visits,
            "value": node.value,
            "status": node.status,
            "answer": node.answer,
            "verdict": node.verdict,
            "selected": number in selected,
        }


def verl_row(record: EpisodeRecord) -> Row:
    """Return the problem in verl's columns; its episode's verdict is in `extra_info`."""
    return {
        "data_source": record.env_id,
        "prompt": [{"role": "user", "content": record.prompt}],
        "ability": record.env_id.rpartition("/")[2].partition("-")[0].lower(),
        "reward_model": {"style": "rule", "ground_truth": record.reference},
        "extra_info": {
            "index": record.index,
            "level": record.level,
            "problem_id": record.problem_id,
            "verdict": record.verdict,
        },
    }


def openrlhf_row(row: Row) -> Row:
    """Return a row of `step_rows` in OpenRLHF's columns: the placeholder after each step, one `+` or `-` for each."""
    steps = [f"{text} {OPENRLHF_PLACEHOLDER}" for text in row["completions"]]
    return {
        "input": row["prompt"] + "\n".join(steps),
        "label": ["+" if good else "-" for good in row["labels"]],
    }


def lay_out(steps: Sequence[NodeRecord], *, learn_reasoning: bool = True) -> tuple[str, list[Span]]:
    """Return the steps as one completion, and spans that cover it without gap: its loss mask."""
    text = ""
    spans: list[Span] = []

    def add(piece: str, kind: str, learn: bool) -> None:
        nonlocal text
        spans.append(Span(len(text), len(text) + len(piece), kind, learn))
        text += piece

    for step in steps:
        for segment in parse(step.text):
            reasoning = segment.kind is SegmentKind.REASONING
            piece = step.text[segment.start : segment.end]
            add(piece, segment.kind.value, learn_reasoning or not reasoning)
        add(STEP_END + "\n", "step_end", True)
        if step.reply:
            add(shown_reply(step.reply) + "\n", SegmentKind.TOOL_RESULT.value, False)
    return text, spans


def prompt_of(record: EpisodeRecord, steps: Sequence[NodeRecord] = ()) -> str:
    """Return the transcript up to and including `steps`, as the policy saw it."""
    return render(State(record.prompt, tuple(Step(step.text, reply=step.reply) for step in steps)))


def _problem(record: EpisodeRecord) -> Row:
    return {"env_id": record.env_id, "problem_id": record.problem_id, "level": record.level}


def _completion(record: EpisodeRecord, path: Sequence[int]) -> str:
    return lay_out([record.nodes[node] for node in path])[0]


def _worth(record: EpisodeRecord, node: int) -> tuple[float, float, int]:
    found = record.nodes[node]
    return (found.value, found.score if found.score is not None else 0.0, -node)

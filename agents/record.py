"""Makes an `EpisodeRecord` from a search tree."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NamedTuple

from stepgym.agents.types import ROOT, EpisodeRecord, NodeRecord, NodeStatus, SearchTree
from stepgym.envs.types import Problem, State, Status, Verdict

MAX_ITEMS = 200
MAX_TEXT = 2000
NOT_JSON = object()
"""What `public_json` returns for data that JSON cannot hold."""


def make_record(
    tree: SearchTree,
    problem: Problem,
    *,
    best: int,
    verdict: Verdict | None,
    env_id: str = "",
    env_options: Mapping[str, Any] | None = None,
    attempt: int = 0,
    step_verdicts: Mapping[int, Status] | None = None,
    agent: Mapping[str, Any] | None = None,
    calls: Sequence[Mapping[str, Any]] = (),
) -> EpisodeRecord:
    """Make the record of a finished search that chose node `best`; `verdict` is that of its answer, if it has one.

    `step_verdicts` are the step verifier's, by node.
    """
    state = tree.states[best]
    notes = "; ".join(f"node {node}: {note}" for node, note in sorted(tree.notes.items())[:5])
    return EpisodeRecord(
        env_id=env_id,
        env_options=dict(env_options or {}),
        problem_id=problem.id,
        attempt=attempt,
        level=problem.level,
        seed=problem.seed,
        index=problem.index,
        prompt=problem.prompt,
        system=tree.states[ROOT].system,
        reference=problem.reference,
        nodes=tuple(
            node_record(tree, node, (step_verdicts or {}).get(node)) for node in range(len(tree))
        ),
        path=tuple(tree.path(best)),
        answer=state.answer,
        outcome=state.outcome,
        verdict=verdict_name(tree, state, verdict),
        fault=_fault(verdict),
        score=verdict.score if verdict is not None else 0.0,
        reason=verdict.reason if verdict is not None else "",
        decided_by=verdict.decided_by if verdict is not None else "",
        details=evidence(verdict.details) if verdict is not None else {},
        note=notes[:4000],
        calls=tuple(calls),
        usage={f.name: getattr(tree.usage, f.name) for f in dataclasses.fields(tree.usage)},
        agent=dict(agent or {}),
        versions={"stepgym": package_version(), "python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def verdict_name(tree: SearchTree, state: State, verdict: Verdict | None) -> str:
    """Return the record's verdict: the verifier's status, or why there is none."""
    if verdict is not None:
        return verdict.status.value
    if state.has_result:
        return Status.UNDECIDED.value
    return "failed" if NodeStatus.FAILED in tree.status else "no_answer"


def node_record(tree: SearchTree, node: int, step_verdict: Status | None = None) -> NodeRecord:
    """Return one node as the record keeps it."""
    state = tree.states[node]
    step = state.steps[-1] if state.steps and node != ROOT else None
    verdict = tree.verdicts.get(node)
    public, below = public_json(state.public), context_below(tree, node)
    return NodeRecord(
        parent=tree.parent[node],
        text=step.text if step else "",
        reply=step.reply if step else "",
        log_prob=step.log_prob if step else None,
        num_tokens=step.num_tokens if step else 0,
        num_reasoning_tokens=step.num_reasoning_tokens if step else 0,
        num_reply_tokens=step.num_reply_tokens if step else 0,
        cut_results=step.cut_results if step else (),
        refused=step.refused if step else False,
        final=step.final if step else False,
        token_ids=step.token_ids if step else None,
        token_log_probs=step.token_log_probs if step else None,
        context_ids=below.context_ids,
        context_restarts=below.context_restarts,
        own_context_ids=_own_context_ids(tree, node),
        public=None if public is NOT_JSON else public,
        prior=tree.prior[node],
        score=tree.score[node],
        visits=tree.visits[node],
        value=tree.value[node],
        status=tree.status[node].value,
        end=state.end.value if state.end is not None else None,
        answer=state.answer,
        outcome=state.outcome,
        verdict=verdict.status.value if verdict else None,
        reward=verdict.score if verdict and verdict.correct and verdict.score != 1 else None,
        fault=_fault(verdict),
        step_verdict=step_verdict.value if step_verdict is not None else None,
        note=tree.notes.get(node, ""),
    )


def public_json(value: Any) -> Any:
    """Return `State.public` as JSON, tuples as lists; `NOT_JSON` if it holds anything but tuples and JSON's scalars."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        inner = [public_json(item) for item in value]
        return NOT_JSON if NOT_JSON in inner else inner
    return NOT_JSON


class Context(NamedTuple):
    """What a policy read below a node; see the fields of `NodeRecord` with these names."""

    context_ids: tuple[int, ...] | None = None
    context_restarts: bool = False


def context_below(tree: SearchTree, node: int) -> Context:
    """Return what the policy read after a node's own tokens, taken from the first child that has tokens."""
    whole = next(
        (ids for child in tree.children[node] if (ids := read_ids(tree, child)) is not None), None
    )
    if whole is None:
        return Context()
    if node == ROOT:
        return Context(whole)
    before = (read_ids(tree, node) or ()) + (tree.states[node].steps[-1].token_ids or ())
    if before and whole[: len(before)] == before:
        return Context(whole[len(before) :])
    return Context(whole, context_restarts=True)


def read_ids(tree: SearchTree, node: int) -> tuple[int, ...] | None:
    """Return all that the policy read before a node's own tokens; `None` if its step has no tokens."""
    step = tree.states[node].steps[-1] if node != ROOT else None
    return step.context_ids if step is not None and step.token_ids is not None else None


def _own_context_ids(tree: SearchTree, node: int) -> tuple[int, ...] | None:
    """Return what was read before a node's own tokens if it differs from what was read before its first sibling's."""
    mine = read_ids(tree, node)
    if mine is None:
        return None
    siblings = tree.children[tree.parent[node]]
    first = next(ids for child in siblings if (ids := read_ids(tree, child)) is not None)
    return None if mine is first or mine == first else mine


def evidence(value: Any) -> Any:
    """Return a verdict's details as JSON: texts cut to 2,000 characters, lists to 200 items."""
    if isinstance(value, Mapping):
        return {str(name): evidence(each) for name, each in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple):
        return [evidence(each) for each in value[:MAX_ITEMS]]
    if value is None or isinstance(value, bool | int | float):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " …"


def _fault(verdict: Verdict | None) -> str | None:
    return verdict.fault.value if verdict is not None and verdict.fault is not None else None


def package_version() -> str:
    """Return this package's version, `0` from a checkout that is not installed."""
    try:
        return version("stepgym")
    except PackageNotFoundError:
        return "0"

"""From a grown tree to one line: `EpisodeRecord`."""

from __future__ import annotations

import dataclasses
import platform
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from stepgym.agents.types import ROOT, EpisodeRecord, NodeRecord, NodeStatus, SearchTree
from stepgym.envs.types import Problem, Status, Verdict

SECRET_SETTINGS = frozenset({"api_key", "password", "token"})
SECRET = "(secret)"


def describe(thing: object) -> Any:
    """Return a JSON-able description of a plug-in: its kind and settings, nothing that is run, no secret."""
    if thing is None or isinstance(thing, bool | int | float):
        return thing
    if isinstance(thing, str):
        return without_secrets(thing)
    if isinstance(thing, Enum):
        return thing.value
    if isinstance(thing, Mapping):
        return {
            str(key): SECRET if key in SECRET_SETTINGS and value else describe(value)
            for key, value in thing.items()
        }
    if isinstance(thing, list | tuple):
        return [describe(item) for item in thing]
    own = getattr(thing, "describe", None)
    if callable(own) and not isinstance(thing, type):
        return own()
    kind = (
        thing
        if isinstance(thing, type) or (callable(thing) and hasattr(thing, "__qualname__"))
        else type(thing)
    )
    name = f"{kind.__module__}:{kind.__qualname__}"
    settings = {}
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        settings = {
            f.name: describe(getattr(thing, f.name)) for f in dataclasses.fields(thing) if f.repr
        }
    size = getattr(thing, "num_parameters", None)
    if isinstance(size, int):
        settings["num_parameters"] = size
    return {"kind": name, **settings} if settings else name


def without_secrets(text: str) -> str:
    """Return a text whose URLs have lost their user, password and query, which may hold a key."""
    if "://" not in text:
        return text
    return re.sub(r"(?<=://)([^\s/?#]*@)?([^\s?#]*)(\?[^\s#]*)?", r"\2", text)


def make_record(
    tree: SearchTree,
    problem: Problem,
    *,
    best: int,
    verdict: Verdict | None,
    env_id: str = "",
    agent: Mapping[str, Any] | None = None,
) -> EpisodeRecord:
    """Make the record of one finished search that stands by node `best`; `verdict` is of its answer, if it has one."""
    answer = tree.states[best].answer
    notes = "; ".join(f"node {node}: {note}" for node, note in sorted(tree.notes.items())[:5])
    return EpisodeRecord(
        env_id=env_id,
        problem_id=problem.id,
        level=problem.level,
        seed=problem.seed,
        index=problem.index,
        prompt=problem.prompt,
        reference=problem.reference,
        nodes=tuple(node_record(tree, node) for node in range(len(tree))),
        path=tuple(tree.path(best)),
        answer=answer,
        verdict=outcome(tree, answer, verdict),
        score=verdict.score if verdict is not None else 0.0,
        reason=verdict.reason if verdict is not None else "",
        note=notes[:4000],
        usage={f.name: getattr(tree.usage, f.name) for f in dataclasses.fields(tree.usage)},
        agent=dict(agent or {}),
        versions={"stepgym": package_version(), "python": platform.python_version()},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def outcome(tree: SearchTree, answer: str | None, verdict: Verdict | None) -> str:
    """Return the record's verdict: the verifier's word, or why there is none."""
    if verdict is not None:
        return verdict.status.value
    if answer is not None:
        return Status.UNDECIDED.value
    return "failed" if NodeStatus.FAILED in tree.status else "no_answer"


def node_record(tree: SearchTree, node: int) -> NodeRecord:
    """Return one node as the record keeps it."""
    state = tree.states[node]
    step = state.steps[-1] if state.steps and node != ROOT else None
    verdict = tree.verdicts.get(node)
    return NodeRecord(
        parent=tree.parent[node],
        text=step.text if step else "",
        reply=step.reply if step else "",
        log_prob=step.log_prob if step else None,
        num_tokens=step.num_tokens if step else 0,
        prior=tree.prior[node],
        score=tree.score[node],
        visits=tree.visits[node],
        value=tree.value[node],
        status=tree.status[node].value,
        answer=state.answer,
        verdict=verdict.status.value if verdict else None,
        note=tree.notes.get(node, ""),
    )


def package_version() -> str:
    """Return this package's version, `0` from a checkout that is not installed."""
    try:
        return version("stepgym")
    except PackageNotFoundError:
        return "0"

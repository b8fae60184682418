"""Search trees as one self-contained HTML page, with data, style and script inside.

Text written by a model is untrusted. It is stored as JSON in inert script blocks with `<` escaped, is shown as text only,
and the page's content policy allows just the one script and the one style whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.registry import NAMESPACE
from stepgym.envs.tokens import parse
from stepgym.envs.types import SegmentKind
from stepgym.records.accuracy import accuracy, by_member
from stepgym.records.atomic import make_room, write_whole
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import View
from stepgym.records.views import view_of

MAX_TEXT = 8_000
"""Most characters of one text on the page; a longer one is cut and shows its length."""
VERDICTS = ("correct", "incorrect", "undecided", "no_answer", "failed")


def write_page(run: str | Path, out: str | Path, *, view: View = View.OPERATOR) -> int:
    """Write the page of a run folder as `view` shows it, and return how many episodes it has."""
    target = Path(out)
    make_room(target)
    episodes = [view_of(record, view) for record in read_episodes(run)]
    write_whole(target, page(episodes))
    return len(episodes)


def page(episodes: Sequence[EpisodeRecord], *, title: str = "stepgym: search trees") -> str:
    """Return the page. Episodes keep their order; each is parsed by the browser only when it is opened."""
    home = files("stepgym.serving")
    style, tree, around = (
        home.joinpath(name).read_text(encoding="utf-8")
        for name in ("viewer.css", "viewer.tree.js", "viewer.js")
    )
    script = tree + around
    blocks = (
        f'<script type="application/json" id="episode-{number}">{embed(episode_data(record))}</script>'
        for number, record in enumerate(episodes)
    )
    parts = {
        "title": html.escape(title),
        "style": style,
        "style_hash": _hash(style),
        "script_hash": _hash(script),
        "index": embed(index_data(episodes)),
        "script": script,
        "episodes": "\n".join(blocks),
    }
    pieces = home.joinpath("viewer.html").read_text(encoding="utf-8").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:  # one pass, so that a `{{title}}` in a model's text stays what it is
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def embed(data: Any) -> str:
    """Return ASCII JSON that cannot end or change the script block around it."""
    plain = json.dumps(data, separators=(",", ":"))
    return plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def index_data(episodes: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return the data of the list of episodes."""
    verdicts = Counter(record.verdict for record in episodes)
    first = episodes[0] if episodes else None
    return {
        "env_id": first.env_id if first else "an empty run",
        "facts": " · ".join([*_names(first.agent if first else {}), f"{len(episodes):,} episodes"]),
        "figures": _figures(episodes),
        "verdicts": {name: verdicts[name] for name in dict.fromkeys([*VERDICTS, *verdicts])},
        "episodes": [
            {
                "verdict": record.verdict,
                "title": clip(_one_line(record.prompt), 110),
                "nodes": len(record.nodes),
                "attempt": record.attempt,
                "tokens": _tokens(record),
                "search": clip(
                    _one_line(f"{record.prompt} {record.answer or ''} {record.problem_id}").lower(),
                    500,
                ),
            }
            for record in episodes
        ],
    }


def _figures(episodes: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """Return the accuracies of a run: in all, by attempts, by level, by member of a mixture."""
    total = accuracy(episodes)
    groups = [("solved" if total.num_attempts <= 1 else f"avg@{total.num_attempts}", total.mean)]
    if total.num_attempts > 1:
        groups += [(f"pass@{k}", share) for k, share in total.pass_at.items()]
        groups.append((f"majority@{total.num_attempts}", total.majority))
    levels: dict[int, list[EpisodeRecord]] = defaultdict(list)
    for record in episodes:
        if record.level is not None:
            levels[record.level].append(record)
    if len(levels) > 1:
        groups += [(f"level {level}", accuracy(levels[level]).mean) for level in sorted(levels)]
    members = by_member(episodes)
    if len(members) > 1:
        groups += [(member.removeprefix(NAMESPACE), each.mean) for member, each in members.items()]
    return [
        {"name": name, "share": share.value, "low": share.ci.low, "high": share.ci.high}
        for name, share in groups
        if not math.isnan(share.value)
    ]


def episode_data(record: EpisodeRecord) -> dict[str, Any]:
    """Return the data of one episode, with one-letter keys because there are many nodes."""
    usage = record.usage
    cost = [f"{_tokens(record):,} tokens", f"{int(usage.get('model_calls') or 0):,} model calls"]
    if wall := usage.get("wall_s"):
        cost.append(f"{wall:.2f} s")
    return {
        "id": clip(record.problem_id, 200),
        "verdict": record.verdict,
        "prompt": clip(record.prompt),
        "answer": clip(record.answer or "", 500),
        "reference": clip(record.reference, 500),
        "reason": clip(record.reason, 500),
        "note": clip(record.note, 500),
        "cost": " · ".join(cost),
        "path": list(record.path),
        "nodes": [_node_data(node) for node in record.nodes],
    }


def clip(text: str, size: int = MAX_TEXT) -> str:
    """Return the text, or its beginning and its length if it is too long."""
    return text if len(text) <= size else f"{text[:size]} … ({len(text):,} characters)"


def _number(value: float | None) -> float | None:
    """Return the number in six digits, or `None` for one that JSON cannot hold."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _node_data(node: NodeRecord) -> dict[str, Any]:
    """Return the data of one node; keys other than `t` are left out if they have no value."""
    text = clip(node.text)
    data: dict[str, Any] = {
        "p": node.parent,
        "t": text,
        "r": clip(node.reply),
        "l": _number(node.log_prob),
        "k": node.num_tokens,
        "o": _number(node.prior),
        "s": _number(node.score),
        "v": node.visits,
        "q": _number(node.value),
        "u": node.status,
        "a": None if node.answer is None else clip(node.answer, 2000),
        "d": node.verdict,
        "n": clip(node.note, 2000),
    }
    data = {key: value for key, value in data.items() if key == "t" or value not in (None, "")}
    segments = parse(text)
    if any(segment.kind is not SegmentKind.VISIBLE for segment in segments):
        data["g"] = [[segment.kind.value, segment.text] for segment in segments]
    return data


def _tokens(record: EpisodeRecord) -> int:
    return int(
        (record.usage.get("visible_tokens") or 0) + (record.usage.get("reasoning_tokens") or 0)
    )


def _names(agent: Mapping[str, Any]) -> list[str]:
    """Return the kinds of agent, policy and reward model."""
    found = []
    for part in ("agent", "policy", "reward_model"):
        name = agent.get(part)
        name = name.get("kind", name) if isinstance(name, Mapping) else name
        if name:
            found.append(clip(str(name).rpartition(":")[2], 80))
    return list(dict.fromkeys(found))


def _one_line(text: str) -> str:
    return " ".join(text[:2000].split())


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode(
        "ascii"
    )

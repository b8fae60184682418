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
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.envs.tokens import parse
from stepgym.envs.types import SegmentKind
from stepgym.records.atomic import make_room, write_whole
from stepgym.records.run_folder import read_episodes
from stepgym.records.types import View
from stepgym.records.views import view_of
from stepgym.serving.charts import Run, Summary, charts, figures, new_tokens, pairs

MAX_TEXT = 8_000
"""Most characters of one text on the page; a longer one is cut and shows its length."""
MAX_TESTS = 200
"""Most tests of one verdict on the page."""
MAX_MESSAGES = 200
"""Most messages of a self-driving agent on the page."""
VERDICTS = ("correct", "incorrect", "undecided", "no_answer", "failed")
SCRIPTS = ("viewer.tree.js", "viewer.text.js", "viewer.reading.js", "viewer.charts.js", "viewer.js")
IMPORTS = re.compile(r"\A(?:\s*(?:from [\w.]+ import|import \w).*\n)+")
"""Lines with which the prompts of many code problems begin, and that no title in the list needs."""
UNITS = {"s": "s", "mib": "MiB", "bytes": "bytes"}
"""Units with which names of figures end."""
MARKDOWN = re.compile(r"[`*#$|~]|(?<![a-z0-9])_|\\\\|\\u003e|\\n *(?:[-+]|\d+[.)]) ")
MATHEMATICS = re.compile(r"\$|\\\\(?:[(\[]|[a-zA-Z]{2})")
"""Signs in embedded JSON that may need the libraries; a page without them does not carry these."""


def write_page(*runs: str | Path, out: str | Path, view: View = View.OPERATOR) -> int:
    """Write the page of run folders, or of a loop's folder; return the number of episodes.

    `view` selects what is shown. Raises `RecordError` for a folder without a run.
    """
    target = Path(out)
    make_room(target)
    found, loop = read_runs(runs, view=view)
    title = f"stepgym: {', '.join(run.name for run in found[:3])}"
    write_whole(target, page(found, loop=loop, title=title))
    return sum(len(run.episodes) for run in found)


def read_runs(
    folders: Sequence[str | Path], *, view: View = View.OPERATOR
) -> tuple[list[Run], list[dict[str, Any]]]:
    """Return the runs in the folders, and the lines of a loop's log if there is one.

    A loop's folder stands for the runs of its generations. Raises `RecordError` for any other folder without a run.
    """
    places: list[Path] = []
    loop: list[dict[str, Any]] = []
    for folder in map(Path, folders):
        if (folder / "loop.jsonl").is_file():
            from stepgym.selfplay.loop_folder import read_log  # here, because it imports torch

            loop = read_log(folder)
            homes = (folder / f"generation-{line['generation']}" / "run" for line in loop)
            places += [home for home in homes if (home / "run.json").is_file()]
        else:
            places.append(folder)
    names = _short_names(places)
    runs = [
        Run(name, [view_of(record, view) for record in read_episodes(place)])
        for name, place in zip(names, places)
    ]
    return runs, loop


def page(
    runs: Sequence[Run],
    *,
    loop: Sequence[Mapping[str, Any]] = (),
    title: str = "stepgym: search trees",
    is_live: bool = False,
) -> str:
    """Return the page as HTML.

    Episodes keep their order, and the browser parses an episode only when it is opened.

    `loop` are the lines of a loop's log; `is_live` offers to load the page again, for a run that goes on.
    """
    home = files("stepgym.serving")

    def read(*names: str) -> str:
        return "".join(home.joinpath(name).read_text(encoding="utf-8") for name in names)

    style, script = read("viewer.css"), read(*SCRIPTS)
    episodes = [record for run in runs for record in run.episodes]
    blocks = [embed(episode_data(record)) for record in episodes]
    libraries = {}
    if any(map(MARKDOWN.search, blocks)):
        libraries["markdown-it"] = read("bundled/markdown-it.js")
    if any(map(MATHEMATICS.search, blocks)):
        libraries["katex"] = read("bundled/katex.js")
        libraries["katex-style"] = read("bundled/katex.css")
    hashes = {name: f" '{_hash(source)}'" for name, source in libraries.items()}
    parts = {
        "title": html.escape(title),
        "style": style,
        "scripts": f"'{_hash(script)}'" + hashes.get("markdown-it", "") + hashes.get("katex", ""),
        "styles": f"'{_hash(style)}'" + hashes.get("katex-style", ""),
        "fonts": "data:" if "katex-style" in libraries else "'none'",
        "index": embed(index_data(runs, loop=loop, is_live=is_live)),
        "libraries": "\n".join(
            f'<script type="text/plain" id="library-{name}">{source}</script>'
            for name, source in libraries.items()
        ),
        "script": script,
        "episodes": "\n".join(
            f'<script type="application/json" id="episode-{number}">{block}</script>'
            for number, block in enumerate(blocks)
        ),
    }
    pieces = home.joinpath("viewer.html").read_text(encoding="utf-8").split("{{")
    filled = [pieces[0]]
    for piece in pieces[1:]:  # one pass, so that a `{{title}}` in a model's text stays what it is
        name, _, rest = piece.partition("}}")
        filled += [parts[name], rest]
    return "".join(filled)


def _short_names(places: Sequence[Path]) -> list[str]:
    """Return names that tell the folders apart: their own, with as many folders above as needed."""
    shared = [place.absolute().parts for place in places]
    if len(shared) > 1:
        while len({parts[-1] for parts in shared}) == 1 and min(map(len, shared)) > 1:
            shared = [parts[:-1] for parts in shared]  # `generation-1/run`, `generation-2/run`
    for size in range(1, max(map(len, shared), default=1) + 1):
        names = ["/".join(parts[-size:]) for parts in shared]
        if len(set(names)) == len(names):
            break
    return names if shared else []


def embed(data: Any) -> str:
    """Return ASCII JSON that cannot end or change the script block around it."""
    plain = json.dumps(data, separators=(",", ":"))
    return plain.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def index_data(
    runs: Sequence[Run], *, loop: Sequence[Mapping[str, Any]] = (), is_live: bool = False
) -> dict[str, Any]:
    """Return the data of the list of episodes and of the charts."""
    episodes = [record for run in runs for record in run.episodes]
    verdicts = Counter(record.verdict for record in episodes)
    summaries = [Summary.of(run.episodes) for run in runs]
    env_ids = list(dict.fromkeys(record.env_id for record in episodes))
    if len(runs) == 1:
        shown = figures(summaries[0])
    else:
        shown = [
            {**figure, "name": run.name}
            for run, summary in zip(runs, summaries)
            for figure in figures(summary)[:1]
        ]
    shared = _shared_heads(episodes)
    return {
        "env_id": ", ".join(env_ids[:3]) if env_ids else "an empty run",
        "facts": " · ".join(
            [
                *(_names(runs[0]) if len(runs) == 1 else [f"{len(runs)} runs"]),
                _counted(len(episodes), "episode"),
            ]
        ),
        "runs": [
            {"name": run.name, "facts": " · ".join(_names(run)), "episodes": len(run.episodes)}
            for run in runs
        ],
        "live": is_live,
        "figures": shown,
        "charts": charts(runs, summaries, loop),
        "pairs": pairs(runs),
        "verdicts": {name: verdicts[name] for name in dict.fromkeys([*VERDICTS, *verdicts])},
        "episodes": [
            _row(record, number, shared[record.env_id])
            for number, run in enumerate(runs)
            for record in run.episodes
        ],
    }


def _shared_heads(episodes: Sequence[EpisodeRecord]) -> dict[str, int]:
    """Return for each environment the characters of the lines with which all its prompts begin.

    Titles in the list leave these out, because instructions are the same in every row.
    """
    prompts: dict[str, set[str]] = {}
    for record in episodes:
        prompts.setdefault(record.env_id, set()).add(record.prompt)
    heads = {}
    for env_id, found in prompts.items():
        pairs = zip(min(found), max(found))  # what these two share, all share
        size = next((i for i, (one, other) in enumerate(pairs) if one != other), len(min(found)))
        heads[env_id] = min(found).rfind("\n", 0, size) + 1 if len(found) > 1 else 0
    return heads


def _row(record: EpisodeRecord, run: int, shared: int) -> dict[str, Any]:
    """Return an episode's row in the list; `run` and `level` are left out if they have no value."""
    words = f"{record.problem_id} {record.prompt} {record.answer or ''}"
    row = {
        "verdict": record.verdict,
        "title": clip(
            _one_line(IMPORTS.sub("", record.prompt[shared:])) or _one_line(record.prompt), 110
        ),
        "nodes": len(record.nodes),
        "attempt": record.attempt,
        "tokens": new_tokens(record),
        "search": clip(_one_line(words).lower(), 500),
    }
    return (
        row
        | ({"run": run} if run else {})
        | ({} if record.level is None else {"level": record.level})
    )


def episode_data(record: EpisodeRecord) -> dict[str, Any]:
    """Return the data of one episode, with one-letter keys because there are many nodes."""
    usage = record.usage
    cost = [
        f"{new_tokens(record):,} tokens",
        _counted(int(usage.get("model_calls") or 0), "model call"),
    ]
    if (wall := usage.get("wall_s") or 0) >= 0.005:
        cost.append(f"{wall:.2f} s")
    data = {
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
    more = {"evidence": _evidence(record.details), "messages": list(_messages(record.calls))}
    return data | {name: found for name, found in more.items() if found}


def _evidence(details: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the verdict rests on: rows of tests, what the program used, and other findings as text."""
    tests = details.get("tests")
    if not isinstance(tests, list) or not all(isinstance(row, list | tuple) for row in tests):
        tests = []
    facts = {
        name.replace("_", " "): clip(_plain(value), 500)
        for name, value in details.items()
        if value not in (None, "", [], {}) and not (name == "tests" and tests)
    }
    rows = [
        [cell if isinstance(cell, float | int) else clip(str(cell), 2000) for cell in row]
        for row in tests[:MAX_TESTS]
    ]
    found: dict[str, Any] = {"tests": rows, "num": len(tests), "facts": facts}
    return {name: value for name, value in found.items() if value}


def _plain(value: Any) -> str:
    """Return a value as words: `{"cpu_s": 0.1}` as `cpu 0.1 s`."""
    if isinstance(value, Mapping):
        parts = []
        for name, each in value.items():
            words, _, unit = str(name).rpartition("_")
            words, unit = (words, f" {UNITS[unit]}") if unit in UNITS else (str(name), "")
            parts.append(f"{words.replace('_', ' ')} {_plain(each)}{unit}")
        return ", ".join(parts)
    return value if isinstance(value, str) else json.dumps(value)


def _messages(calls: Sequence[Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield the messages of an agent's model calls as (role, text), each once.

    A request that does not continue the messages before it starts a conversation of its own (`new conversation`).
    """
    seen: list[tuple[str, str]] = []
    num_sent = 0
    for call in calls:
        sent = (call.get("request") or {}).get("messages") or ()
        asked = [part for each in sent if isinstance(each, Mapping) for part in _parts(each)]
        continues = asked[: len(seen)] == seen
        fresh = asked[len(seen) :] if continues else [("new conversation", ""), *asked]
        choices = (call.get("response") or {}).get("choices") or ()
        said = [part for each in choices[:1] for part in _parts(each.get("message") or {})]
        seen = asked + said
        if call.get("status") != 200:
            said = [("error", json.dumps(call.get("response")))]
        for role, text in fresh + said:
            if num_sent == MAX_MESSAGES:
                yield ["more", f"further messages are left out; {len(calls):,} model calls in all"]
                return
            num_sent += 1
            yield [clip(role, 40), clip(text)]


def _parts(message: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a chat message as (role, text): its content, then each of its tool calls."""
    content = message.get("content")
    if isinstance(content, list):  # parts of several kinds
        content = "\n".join(
            str(part.get("text", part) if isinstance(part, Mapping) else part) for part in content
        )
    parts = [(str(message.get("role", "assistant")), str(content))] if content else []
    for call in message.get("tool_calls") or ():
        function = (call.get("function") if isinstance(call, Mapping) else None) or {}
        name, given = function.get("name", "tool"), function.get("arguments", "")
        parts.append(("tool call", f"{name}({given})"))
    return parts


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


def _names(run: Run) -> list[str]:
    """Return the kinds of agent, policy and reward model."""
    agent = run.episodes[0].agent if run.episodes else {}
    found = []
    for part in ("agent", "policy", "reward_model"):
        name = agent.get(part)
        name = name.get("kind", name) if isinstance(name, Mapping) else name
        if name:
            found.append(clip(str(name).rpartition(":")[2], 80))
    return list(dict.fromkeys(found))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _one_line(text: str) -> str:
    return " ".join(text[:2000].split())


def _hash(source: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode("utf-8")).digest()).decode(
        "ascii"
    )

"""The page of search trees: whole in itself, and never code that a model wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym import serving
from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.cli.view import command
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig
from stepgym.serving.charts import Run
from stepgym.serving.page import embed, episode_data, index_data, page

BUNDLED = Path(serving.__file__).parent / "bundled"
LIBRARIES = {"katex.js": "katex", "katex.css": "katex-style", "markdown-it.js": "markdown-it"}
ATTACKS = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "{{script}}",
    "]]>",
    "\u2028alert(1)",
    "\ud800",
    "&lt;/script&gt;",
]


def record(text: str) -> EpisodeRecord:
    nodes = (
        NodeRecord(parent=-1),
        NodeRecord(parent=0, text=text, reply=text, answer=text, note=text, status="ended"),
    )
    return EpisodeRecord(
        env_id=text,
        problem_id=text,
        level=1,
        seed=0,
        index=0,
        prompt=text,
        reference=text,
        nodes=nodes,
        path=(0, 1),
        answer=text,
        verdict="incorrect",
        score=0.0,
        reason=text,
        note=text,
        agent={"agent": text},
    )


class Blocks(HTMLParser):
    """Collects what a browser would see as elements, and the text of script blocks."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.in_script = False
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        for name in ("katex.js", "katex.css", "markdown-it.js"):
            library = (BUNDLED / name).read_text(encoding="utf-8")
            block = f'<script type="text/plain" id="library-{LIBRARIES[name]}">{library}</script>'
            source = source.replace(block, "")
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self.in_script = tag == "script"
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.in_script = False

    def handle_data(self, data: str) -> None:
        if self.in_script:
            attrs, text = self.scripts[-1]
            self.scripts[-1] = (attrs, text + data)


@cache
def plain_tags() -> list[str]:
    return Blocks(page([Run("run", [record("x")])])).tags


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(ATTACKS))
def test_model_text_stays_data(text: str) -> None:
    attacked = Blocks(page([Run("run", [record(text)])]))
    assert attacked.tags == plain_tags(), "the text made elements of its own"
    [episode] = [body for attrs, body in attacked.scripts if attrs.get("id") == "episode-0"]
    assert json.loads(episode)["nodes"][1].get("r", "") == text


@given(st.floats())
def test_every_number_is_json_that_a_browser_reads(number: float) -> None:
    node = NodeRecord(parent=0, log_prob=number, prior=number, score=number, value=number)
    data = episode_data(replace(record("x"), nodes=(NodeRecord(parent=-1), node)))
    [_, shown] = json.loads(json.dumps(data, allow_nan=False))["nodes"]
    assert shown.get("q") == (pytest.approx(number, rel=1e-5) if math.isfinite(number) else None)


@given(
    st.recursive(
        st.text() | st.none() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_embedded_json_is_inert_and_comes_back(data: object) -> None:
    text = embed(data)
    assert json.loads(text) == data and text.isascii() and not set("<>&") & set(text)


def test_only_the_named_script_and_style_may_run() -> None:
    source = page([Run("run", [record("x")])])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy is not None and "unsafe" not in policy[1] and "default-src 'none'" in policy[1]
    [script] = [body for attrs, body in Blocks(source).scripts if not attrs]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy[1]


def test_nothing_is_fetched() -> None:
    source = page([Run("run", [record("x")])])
    assert not {name for name, _ in Blocks(source).attributes} & {"src", "href", "srcset", "action"}
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|insertAdjacent|eval\(", source
    )


def test_libraries_are_there_only_if_a_text_needs_them_and_load_nothing() -> None:
    plain, typeset = (
        page([Run("run", [record(text)])]) for text in ("Reach 24 from 3, 8 and 1.", "**$x^2$**")
    )
    assert 'id="library-' not in plain and "font-src 'none'" in plain
    assert typeset.count('id="library-') == 3 and "font-src data:" in typeset
    assert not re.search(r"url\((?!data:font/woff2)", typeset)
    assert len(typeset) - len(plain) < 1_000_000


def test_bundled_libraries_name_their_versions_and_licences() -> None:
    versions = json.loads((BUNDLED / "versions.json").read_text(encoding="utf-8"))
    for name, file in (("katex", "katex.js"), ("markdown-it", "markdown-it.js")):
        assert (BUNDLED / file).stat().st_size > 50_000 and versions[name]["version"]
        assert len(versions[name]["sha512"]) == 128
        assert "Permission is hereby granted" in (BUNDLED / f"LICENSE.{name}").read_text()
    assert "OPEN FONT LICENSE" in (BUNDLED / "LICENSE.katex-fonts").read_text(encoding="utf-8")


def test_two_runs_are_paired_by_problem() -> None:
    verdicts = [("correct", "correct"), ("correct", "incorrect"), ("incorrect", "correct")]
    verdicts += [("incorrect", "no_answer"), ("undecided", "correct")]
    first, second = (
        [
            replace(record("x"), problem_id=f"p{i}", verdict=pair[run])
            for i, pair in enumerate(verdicts)
        ]
        for run in (0, 1)
    )
    found = index_data([Run("a", first), Run("b", [*second, record("only here")])])["pairs"]
    assert found["groups"] == {
        "both": [[0, 5]],
        "only first": [[1, 6]],
        "only second": [[2, 7]],
        "neither": [[3, 8]],
        "undecided": [[4, 9]],
    }
    assert (found["problems"], found["p"]) == (4, 1.0)
    assert index_data([Run("a", first)])["pairs"] is None
    assert index_data([Run("a", first), Run("b", [record("x")])])["pairs"] is None


def test_messages_of_an_agent_are_shown_once() -> None:
    def call(messages: list[dict[str, object]], reply: dict[str, object]) -> dict[str, object]:
        return {
            "request": {"messages": messages},
            "response": {"choices": [{"message": reply}]},
            "status": 200,
        }

    ask: dict[str, object] = {"role": "user", "content": "question"}
    use: dict[str, object] = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "python", "arguments": "1+1"}}],
    }
    told: dict[str, object] = {"role": "tool", "content": "2"}
    say: dict[str, object] = {"role": "assistant", "content": [{"type": "text", "text": "two"}]}
    calls = (
        call([ask], use),
        call([ask, use, told], say),
        call([told], say),
        {"request": {"messages": [told, say]}, "response": {"error": "gone"}, "status": 503},
    )
    found = episode_data(replace(record("x"), calls=calls))["messages"]
    assert found == [
        ["user", "question"],
        ["tool call", "python(1+1)"],
        ["tool", "2"],
        ["assistant", "two"],
        ["new conversation", ""],
        ["tool", "2"],
        ["assistant", "two"],
        ["error", '{"error": "gone"}'],
    ]


def test_a_megabyte_of_text_is_shown_by_its_beginning() -> None:
    data = episode_data(record("x" * 1_000_000))
    assert (
        data["nodes"][1]["t"].endswith("… (1,000,000 characters)")
        and len(json.dumps(data)) < 100_000
    )


def test_an_empty_run_makes_a_page() -> None:
    assert "an empty run" in page([Run("run", [])])


def test_the_users_page_holds_no_reasoning(tmp_path: Path) -> None:
    config = RunConfig(env_id="stepgym/Math-v0", agent="greedy", policy="scripted")
    with RunFolder(tmp_path / "run", config) as folder:
        step = NodeRecord(parent=0, text="<think>a secret</think>shown", note="a secret")
        call = {"request": {"messages": [{"role": "user", "content": "a secret"}]}, "status": 200}
        details = {"tests": [["a secret", "failed", "a secret"]], "used": {"a secret": 1}}
        folder.append(
            replace(
                record("x"),
                nodes=(NodeRecord(parent=-1), step),
                calls=(call,),
                details=details,
                note="a secret",
                reason="a secret",
            )
        )
    for view, is_there in (("user", False), ("operator", True)):
        out = tmp_path / f"{view}.html"
        words = [str(tmp_path / "run"), "--out", str(out), "--view", view, "--json"]
        done = CliRunner().invoke(command, words, catch_exceptions=False)
        assert json.loads(done.stdout) == {"file": str(out), "episodes": 1, "view": view}
        text = out.read_text(encoding="utf-8")
        assert "shown" in text and ("a secret" in text) is is_there


def test_the_page_shows_accuracies_without_what_was_not_decided() -> None:
    attempts = [
        replace(
            record("x"), problem_id=f"p{i % 4}", level=1 + i % 2, attempt=i // 4, verdict=verdict
        )
        for i, verdict in enumerate(
            [
                "correct",
                "incorrect",
                "undecided",
                "failed",
                "correct",
                "correct",
                "incorrect",
                "failed",
            ]
        )
    ]
    figures = {each["name"]: each for each in index_data([Run("run", attempts)])["figures"]}
    # p0: right, right; p1: wrong, right; p2: undecided, wrong; p3 failed twice, and is in no figure
    assert figures["avg@2"]["share"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert figures["level 2"]["share"] == pytest.approx(0.5)
    assert figures["avg@2"]["low"] <= figures["avg@2"]["share"] <= figures["avg@2"]["high"]
    assert (
        not index_data([Run("run", attempts[3:4])])["figures"]
        and not index_data([Run("run", [])])["figures"]
    )


def test_titles_leave_out_what_all_prompts_begin_with() -> None:
    head = "Write the code.\n\nimport re\n"
    prompts = [f"{head}\nfrom typing import List\ndef one(x):", f"{head}\ndef other(x):"]
    records = [replace(record("x"), prompt=prompt) for prompt in prompts]
    rows = index_data([Run("run", records)])["episodes"]
    assert [row["title"] for row in rows] == ["def one(x):", "def other(x):"]
    alone = index_data([Run("run", records[:1])])["episodes"]
    assert alone[0]["title"].startswith("Write the code.")


def test_figures_of_evidence_have_their_units() -> None:
    used = {"cpu_s": 0.5, "peak_memory_mib": 12.0, "note": "a"}
    facts = episode_data(replace(record("x"), details={"used": used}))["evidence"]["facts"]
    assert facts == {"used": "cpu 0.5 s, peak memory 12.0 MiB, note a"}

"""The page of search trees: whole in itself, and never code that a model wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents.types import EpisodeRecord, NodeRecord
from stepgym.cli.view import command
from stepgym.records.run_folder import RunFolder
from stepgym.records.types import RunConfig
from stepgym.serving.page import embed, episode_data, index_data, page

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


@given(st.text(st.characters(exclude_categories=())) | st.sampled_from(ATTACKS))
def test_model_text_stays_data(text: str) -> None:
    plain, attacked = Blocks(page([record("x")])), Blocks(page([record(text)]))
    assert attacked.tags == plain.tags, "the text made elements of its own"
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
    source = page([record("x")])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', source)
    assert policy is not None and "unsafe" not in policy[1] and "default-src 'none'" in policy[1]
    [script] = [body for attrs, body in Blocks(source).scripts if not attrs]
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy[1]


def test_nothing_is_fetched() -> None:
    source = page([record("x")])
    assert not {name for name, _ in Blocks(source).attributes} & {"src", "href", "srcset", "action"}
    assert not re.search(
        r"url\(|@import|fetch\(|XMLHttpRequest|innerHTML|insertAdjacent|eval\(", source
    )


def test_a_megabyte_of_text_is_shown_by_its_beginning() -> None:
    data = episode_data(record("x" * 1_000_000))
    assert (
        data["nodes"][1]["t"].endswith("… (1,000,000 characters)")
        and len(json.dumps(data)) < 100_000
    )


def test_an_empty_run_makes_a_page() -> None:
    assert "an empty run" in page([])


def test_the_users_page_holds_no_reasoning(tmp_path: Path) -> None:
    config = RunConfig(env_id="stepgym/Math-v0", agent="greedy", policy="scripted")
    with RunFolder(tmp_path / "run", config) as folder:
        step = NodeRecord(parent=0, text="<think>a secret</think>shown")
        folder.append(replace(record("x"), nodes=(NodeRecord(parent=-1), step)))
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
    figures = {each["name"]: each for each in index_data(attempts)["figures"]}
    # p0: right, right; p1: wrong, right; p2: undecided, wrong; p3 failed twice, and is in no figure
    assert figures["avg@2"]["share"] == pytest.approx((1 + 0.5 + 0) / 3)
    assert figures["level 2"]["share"] == pytest.approx(0.5)
    assert figures["avg@2"]["low"] <= figures["avg@2"]["share"] <= figures["avg@2"]["high"]
    assert not index_data(attempts[3:4])["figures"] and not index_data([])["figures"]

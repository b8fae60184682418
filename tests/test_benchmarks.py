"""The table of benchmarks: each link to a figure leads to one, and a page quotes the value that its row has."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

HOUSE = Path(__file__).resolve().parent.parent
RESULTS = HOUSE / "benchmarks" / "RESULTS.md"
PAGES = [HOUSE / "README.md", *sorted((HOUSE / "docs").rglob("*.md"))]
LINK = re.compile(r"\[([^\[\]]*)\]\([^)\s]*RESULTS\.md#([\w-]+)\)")
LINKS = [
    (page.relative_to(HOUSE), words, anchor)
    for page in [*PAGES, HOUSE / "CHANGELOG.md"]
    for words, anchor in LINK.findall(page.read_text(encoding="utf-8"))
]


def anchors() -> set[str]:
    """Ids, and the ids that headings get from GitHub and from Python-Markdown."""
    text = RESULTS.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


@pytest.mark.parametrize(("page", "words", "anchor"), LINKS)
def test_a_link_to_a_result_leads_to_it_and_quotes_its_value(
    page: Path, words: str, anchor: str
) -> None:
    assert anchor in anchors(), f"{page}: RESULTS.md has no {anchor}"
    row = re.search(
        rf'^.*<a id="{re.escape(anchor)}">.*$', RESULTS.read_text(encoding="utf-8"), re.MULTILINE
    )
    if row:
        for figure in re.findall(r"\d[\d,]*(?:\.\d+)?", words):
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d.,]*\d)", row.group()), (
                f"{page} quotes {figure}, but the row {anchor} does not have it: run `make bench`"
            )


def test_links_inside_the_table_lead_somewhere() -> None:
    inside = set(re.findall(r"\]\(#([\w-]+)\)", RESULTS.read_text(encoding="utf-8")))
    assert inside <= anchors(), inside - anchors()


def test_every_report_becomes_rows_and_says_where_it_was_measured() -> None:
    suite = runpy.run_path(str(HOUSE / "benchmarks" / "suite.py"))
    reports: list[dict[str, Any]] = [
        json.loads(file.read_text()) for file in sorted(suite["FOLDER"].glob("*.json"))
    ]
    text = suite["rendered"](reports)
    for report in reports:
        assert {"commit", "machine", "command", "versions", "load_before", "seconds"} <= set(report)
        assert f'<a id="run-{report["benchmark"]}">' in text
        if "error" not in report:
            rows = suite["BENCHES"][report["benchmark"]].rows(report["data"])
            assert rows and all(f'<a id="{row.name}">' in text for row in rows)

"""The page of all environments is what the registry says today."""

from __future__ import annotations

from pathlib import Path

from stepgym.cli.environment_facts import page
from stepgym.envs.registry import ENVIRONMENTS

FILE = Path(__file__).resolve().parent.parent.parent / "docs" / "environments" / "README.md"


def test_the_page_is_up_to_date_and_complete() -> None:
    written = FILE.read_text(encoding="utf-8")
    assert written == page(), "run scripts/environment-page"
    assert all(card.id in written for card in ENVIRONMENTS)

"""The page of each environment is what the registry and the environment say today, under the same headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from stepgym.cli.environment_pages import index, page, terminal
from stepgym.cli.environment_sections import OPTIONS, sections
from stepgym.cli.envs import command
from stepgym.envs.registry import ENVIRONMENTS, EnvironmentCard, load_env

FOLDER = Path(__file__).resolve().parent.parent.parent / "docs" / "environments"
IDS = [card.id for card in ENVIRONMENTS]


@pytest.mark.parametrize("card", ENVIRONMENTS, ids=IDS)
def test_the_page_is_up_to_date(card: EnvironmentCard) -> None:
    written = (FOLDER / f"{card.id.removeprefix('stepgym/')}.md").read_text(encoding="utf-8")
    assert written == page(card), "run scripts/environment-page"
    assert "answered, correct" in written  # the example's right steps are right


def test_the_index_is_complete_and_no_page_is_left_over() -> None:
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == index()
    names = {f"{card.id.removeprefix('stepgym/')}.md" for card in ENVIRONMENTS}
    assert {path.name for path in FOLDER.iterdir()} == names | {"README.md"}


def test_all_pages_have_the_same_headings() -> None:
    found = {
        tuple(re.findall("^## .+", path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in FOLDER.glob("*-v0.md")
    }
    assert len(found) == 1


def test_every_option_is_explained_and_none_is_explained_in_vain() -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*-v0.md"))
    assert all(f"| `{name}` |" in written for name in OPTIONS)


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_terminal_shows_the_same_and_keeps_to_its_width(width: int) -> None:
    env = load_env("Countdown-v0")
    found = sections("Countdown-v0", env, {})
    text = terminal(found, width)
    assert max(map(len, text.splitlines())) <= width
    assert re.findall("^[A-Z].*", text, re.MULTILINE) == [
        section.heading.replace("`", "").upper() for section in found
    ]


def test_the_command_describes_environments_of_other_libraries_too() -> None:
    said = CliRunner().invoke(command, ["gym:FrozenLake-v1", "-n", "1"])
    assert said.exit_code == 0, said.output
    assert "EXAMPLE EPISODE" in said.output and "is no action" in said.output

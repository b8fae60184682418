"""Every code block of the README and the docs runs, in order and in one folder a page, as a reader would run it.

A fence says how its block is used:

- `python`, `sh`: the block runs. With `title="NAME"` it is written to the file NAME instead, for the blocks after it.
- `text`, `json` without a title: nothing runs. A `text` block right after a block that ran shows its output: each of its lines must be
  in it, numbers aside. A line `...` stands for lines that are left out.
- `needs="..."` names what a block needs that a test does not have (minutes, a GPU, a server). It does not run; the options
  of its `stepgym` commands are checked, and its Python is compiled.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest
import yaml

from stepgym.cli import main

HOUSE = Path(__file__).resolve().parent.parent
DOCS = sorted(path.relative_to(HOUSE).as_posix() for path in (HOUSE / "docs").rglob("*.md"))
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/RESULTS.md",
    *DOCS,
]
FENCE = re.compile(r"^(`{3,})([\w+-]*)[ \t]*(.*)\n((?:.*\n)*?)\1[ \t]*$", re.MULTILINE)
SHOWN = {"text", "json"}
MINIMUM = 75
"""A floor under the number of blocks that run, so that a change of this file cannot silently leave them out."""


class Block(NamedTuple):
    """A fenced block: its language, the settings behind it, its text, and whether only blank lines precede it."""

    language: str
    settings: dict[str, str]
    source: str
    follows: bool

    @property
    def runs(self) -> bool:
        return self.language not in SHOWN and not {"needs", "title"} & set(self.settings)


def blocks(page: str) -> list[Block]:
    text = (HOUSE / page).read_text(encoding="utf-8")
    found, end = [], 0
    for match in FENCE.finditer(text):
        settings = dict(re.findall(r'([\w-]+)="([^"]*)"', match[3]))
        follows = bool(end) and not text[end : match.start()].strip()
        found.append(Block(match[2], settings, match[4], follows))
        end = match.end()
    return found


WITH_BLOCKS = [page for page in PAGES if blocks(page)]


def command(block: Block) -> list[str]:
    if block.language == "python":
        return [sys.executable, "-c", block.source]
    assert block.language == "sh", f"a block in {block.language!r} is run by nothing"
    if "make " in block.source:  # `make test` cannot run inside itself: its target must be there
        targets = re.findall(r"^make (\w+)", block.source, re.MULTILINE)
        return ["make", "--dry-run", "--directory", str(HOUSE), *targets]
    return ["sh", "-e", "-c", block.source]


def check_options(source: str) -> None:
    """Check the `stepgym` commands of a block that does not run against the options that exist."""
    for line in source.replace("\\\n", " ").splitlines():
        if not line.startswith("stepgym "):
            continue
        _, *words = shlex.split(line, comments=True)
        found: click.Command = main
        while isinstance(found, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)
            inner = found.get_command(click.Context(found), name)
            assert inner is not None, f"there is no command {name!r}: {line}"
            found = inner
        known = {
            option
            for parameter in found.params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        unknown = [
            word for word in words if word.startswith("--") and word.partition("=")[0] not in known
        ]
        assert not unknown, f"{line}: no such option: {unknown}"


def plain(line: str) -> str:
    """Return a line without its numbers, the lines of tables, and the amount of space."""
    return " ".join(re.sub(r"[\d.,]+|[─━│┃┏┓┡┩└┘┳╇┴┬├┤]+", " ", line).split())


def check_shown(shown: str, output: str) -> None:
    """Check that the output has each line of `shown`, numbers aside."""
    have = {plain(line) for line in output.splitlines()}
    missing = [line for line in shown.splitlines() if line != "..." and plain(line) not in have]
    assert not missing, f"the page shows {missing}, the output is\n{output}"


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_BLOCKS)
def test_every_block_runs(page: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "COLUMNS": "100",
        "HF_DATASETS_CACHE": str(tmp_path / "cache"),
    }
    output: str | None = None
    for block in blocks(page):
        if block.language in SHOWN and "title" not in block.settings:
            if block.language == "text" and block.follows and output is not None:
                check_shown(block.source, output)
            continue
        output = None
        if "title" in block.settings:
            file = tmp_path / block.settings["title"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.source, encoding="utf-8")
        elif "needs" in block.settings:
            if block.language == "python":
                compile(block.source, page, "exec")
            else:
                check_options(block.source)
        else:
            done = subprocess.run(
                command(block),
                cwd=tmp_path,
                env=environment,
                capture_output=True,
                text=True,
                timeout=240,
                stdin=subprocess.DEVNULL,
            )
            output = done.stdout + done.stderr
            assert done.returncode == 0, f"{page}:\n{block.source}\n{output}"


def test_most_blocks_run() -> None:
    found = [(page, block) for page in WITH_BLOCKS for block in blocks(page)]
    left_out = [
        f"{page} ({block.settings['needs']}): {block.source.splitlines()[0]}"
        for page, block in found
        if "needs" in block.settings
    ]
    print("blocks that do not run here:", *left_out, sep="\n  ")
    num_run = sum(block.runs for _, block in found)
    assert num_run >= MINIMUM and num_run >= 2 * len(left_out), left_out
    assert sum(block.runs for block in blocks("README.md")) >= 7


def test_the_first_screen_shows_the_two_commands() -> None:
    first = (HOUSE / "README.md").read_text(encoding="utf-8").splitlines()[:25]
    assert any(line.startswith("make demo") for line in first) and any(
        line.startswith("make test") for line in first
    )


def prose(page: str) -> str:
    """Return a page without its fenced blocks."""
    return FENCE.sub("", (HOUSE / page).read_text(encoding="utf-8"))


def anchors(page: str) -> set[str]:
    """Return the anchors of a page: its own, and those of headings as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    made = {re.sub(r"[^\w -]", "", each).strip().lower().replace(" ", "-") for each in headings}
    return made | set(re.findall(r'<a id="([^"]+)">', prose(page)))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    file = HOUSE / page
    for target, _, anchor in re.findall(r"\]\((?!\w+:)([^)#\s]*)(#([^)\s]+))?", prose(page)):
        path = (file.parent / target) if target else file
        assert path.exists(), f"{page} links to {target}"
        if anchor and path.suffix == ".md":
            name = path.resolve().relative_to(HOUSE).as_posix()
            assert anchor in anchors(name), f"{page} links to {target}#{anchor}"


def test_every_cited_commit_is_in_the_history() -> None:
    """A commit of another project stands with `commit HASH of`."""
    shallow = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=HOUSE, capture_output=True, text=True
    )
    if shallow.stdout.strip() != "false":
        pytest.skip("needs a checkout with its history")
    cited = {
        (page, commit)
        for page in PAGES
        for commit in re.findall(r"\b(?:commit|at)\s([0-9a-f]{7})\b(?! of)", prose(page))
    }
    assert len(cited) > 20
    known = subprocess.run(
        ["git", "rev-list", "--abbrev-commit", "--abbrev=7", "HEAD"],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
    )
    history = {line[:7] for line in known.stdout.split()}
    assert sorted((page, commit) for page, commit in cited if commit not in history) == []


def test_the_site_lists_every_page() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inside = entry.values() if isinstance(entry, dict) else entry
        return [page for part in inside for page in pages(part)]  # type: ignore[attr-defined]

    text = (HOUSE / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(pages(yaml.safe_load(text)["nav"]))
    made = {page for page in DOCS if page.startswith("docs/environments/")}  # listed by a hook
    assert [
        page for page in DOCS if page not in made and page.removeprefix("docs/") not in listed
    ] == []


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("mkdocstrings_handlers") is None, reason="needs the extra `docs`"
)
def test_the_site_builds_without_a_warning_and_without_a_network_address(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mkdocs",
            "build",
            "--strict",
            "--quiet",
            "--site-dir",
            str(tmp_path),
        ],
        cwd=HOUSE,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    loads = re.compile(r'<(?:script|img|iframe)[^>]+src="https?:|<link[^>]+href="https?:')
    assert [page.name for page in tmp_path.rglob("*.html") if loads.search(page.read_text())] == []

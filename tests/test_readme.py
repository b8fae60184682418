"""Every code block of the README and the docs' examples runs, in order, as a reader would run it; those in `bash` take
minutes or a download, and only their options are looked at."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from stepgym.cli import main

HOUSE = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "claims",
            "environments",
            "evaluation",
            "grading",
            "interop",
            "learning",
            "policies",
            "records",
            "sandbox",
            "serving",
            "step-verification",
        )
    ),
]


class Block(NamedTuple):
    """A fenced block: its language and its text."""

    language: str
    source: str


def blocks(document: str) -> list[Block]:
    text = (HOUSE / document).read_text(encoding="utf-8")
    return [
        Block(*found)
        for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    ]


def command(block: Block) -> list[str]:
    if block.language == "python":
        return [sys.executable, "-c", block.source]
    if (
        block.language == "toml"
    ):  # a file, named in its first line: it must read, and the commands behind it use it
        return [
            "sh",
            "-c",
            f"cat > {block.source.split(':')[0].removeprefix('# ')} <<'END'\n{block.source}END",
        ]
    assert block.language == "sh", f"a block in {block.language!r} is run by nothing"
    if (
        "make " in block.source
    ):  # `make test` cannot run inside itself: what it would do must at least be there
        return [
            "make",
            "--dry-run",
            "--directory",
            str(HOUSE),
            *re.findall(r"^make (\w+)", block.source, re.MULTILINE),
        ]
    return ["sh", "-e", "-c", block.source]


def check_options(source: str) -> None:
    """Hold the `stepgym` commands of a block that is not run to the options that there are."""
    for line in source.replace("\\\n", " ").splitlines():
        if not line.startswith("stepgym "):
            continue
        _, *words = shlex.split(line, comments=True)
        found: click.Command = main
        while isinstance(found, click.Group):
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


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_runs(document: str, tmp_path: Path) -> None:
    found = blocks(document)
    assert len(found) >= (7 if document == "README.md" else 1), "blocks are found"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    for block in found:
        if block.language == "bash":  # takes minutes or a download
            check_options(block.source)
            continue
        done = subprocess.run(
            command(block),
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{document}:\n{block.source}\n{done.stdout}\n{done.stderr}"


def test_the_first_screen_shows_the_two_commands() -> None:
    first = (HOUSE / "README.md").read_text(encoding="utf-8").splitlines()[:25]
    assert any(line.startswith("make demo") for line in first) and any(
        line.startswith("make test") for line in first
    )


@pytest.mark.parametrize("document", [*DOCUMENTS, "CONTRIBUTING.md"])
def test_links_lead_somewhere(document: str) -> None:
    file = HOUSE / document
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text(encoding="utf-8")):
        assert (file.parent / target).exists(), f"{document} links to {target}"

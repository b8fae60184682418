"""The sections of an environment as Markdown pages, and as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from stepgym.cli.environment_sections import Block, Section, Table, Verbatim, sections
from stepgym.envs.registry import ENVIRONMENTS, NAMESPACE, EnvironmentCard, load_env
from stepgym.plugins.errors import UserError

HEAD = """\
# All environments

Written by `scripts/environment-page` from the registry; do not edit. `stepgym envs ID` prints the page of one environment, and
`--level`, `--reference` and `--solution` show more of its problems. [Environments](../environments.md) explains what they share.

| id | problems | levels | steps verified |
|---|---|---|---|
"""
FENCE = "`" * 5
INDENT = "    "


def write_pages(folder: Path) -> None:
    """Write the page of each environment and the index; other pages of the folder are removed."""
    folder.mkdir(exist_ok=True)
    found = {**{f"{_name(card)}.md": page(card) for card in ENVIRONMENTS}, "README.md": index()}
    for old in folder.glob("*.md"):
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        (folder / name).write_text(text, encoding="utf-8")


def index() -> str:
    """Return the table of all environments as Markdown."""
    rows = []
    for card in ENVIRONMENTS:
        try:
            env = load_env(card.id)
        except (UserError, ImportError):
            verified = "?"
        else:
            verified = "no" if env.step_verifier is None else "yes"
            env.close()
        levels = f"1 to {card.levels}" if card.levels else "none"
        link = f"[`{_name(card)}`]({_name(card)}.md)"
        rows.append(f"| {link} | {_cell(card.source)} | {levels} | {verified} |\n")
    return HEAD + "".join(rows)


def page(card: EnvironmentCard) -> str:
    """Return the page of an environment as Markdown."""
    head = f"# {_name(card)}\n\n<!-- written by scripts/environment-page -->\n[All environments](README.md)\n"
    try:
        env = load_env(card.id)
    except (UserError, ImportError) as error:
        return f"{head}\nIt needs options: {error}\n"
    parts = [head]
    for section in sections(card.id, env, {}):
        parts.append(f"## {section.heading}\n")
        parts += [_markdown(block) for block in section.blocks]
    env.close()
    return "\n".join(parts)


def terminal(found: Sequence[Section], width: int) -> str:
    """Return sections as text of at most `width` columns; lines of verbatim text are wrapped if they are longer."""
    parts = []
    for section in found:
        parts.append(f"{section.heading.replace('`', '').upper()}\n")
        parts += [_plain(block, width) for block in section.blocks]
    return "\n".join(parts)


def wrapped(text: str, width: int, indent: str = "") -> str:
    """Return a paragraph wrapped to a width, each line after an indent."""
    return textwrap.fill(
        text,
        width,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _name(card: EnvironmentCard) -> str:
    return card.id.removeprefix(NAMESPACE)


def _markdown(block: Block) -> str:
    if isinstance(block, Verbatim):
        return f"{FENCE}text\n{block.text.strip(chr(10))}\n{FENCE}\n"
    if isinstance(block, Table):
        lines = [_row(block.head), "|" + "---|" * len(block.head)]
        lines += [_row([_cell(cell) for cell in row]) for row in block.rows]
        return "\n".join(lines) + "\n"
    return f"{block}\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def _cell(text: str) -> str:
    """Return a text for one cell of a table; `<` is escaped outside of code."""
    parts = " ".join(text.split()).replace("|", "\\|").split("`")
    return "`".join(
        part if number % 2 else part.replace("<", "&lt;") for number, part in enumerate(parts)
    )


def _plain(block: Block, width: int) -> str:
    if isinstance(block, Verbatim):
        return "".join(_cut(line, width) + "\n" for line in block.text.strip("\n").splitlines())
    if isinstance(block, Table):
        return "\n".join(_plain_row(row, block.rows, width) for row in block.rows) + "\n"
    return wrapped(block.replace("`", ""), width, INDENT) + "\n"


def _cut(line: str, width: int) -> str:
    return f"{INDENT}{line}" if len(line) + len(INDENT) <= width else wrapped(line, width, INDENT)


def _plain_row(row: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """Return a row: its first cell in a column, the others as one paragraph beside it."""
    first = max(len(cells[0].replace("`", "")) for cells in rows)
    name = row[0].replace("`", "")
    *middle, last = (cell.replace("`", "") for cell in row[1:])
    words = last + "".join(f" [{cell}]" for cell in middle if cell)
    body = wrapped(words, max(20, width - len(INDENT) - first - 2))
    return textwrap.indent(body, " " * (len(INDENT) + first + 2)).replace(
        " " * (len(INDENT) + first + 2), f"{INDENT}{name:{first}}  ", 1
    )

"""Hooks of mkdocs.yml: the site also shows the files outside docs/ to which its pages link.

Links in the Markdown files are those of the repository's own view (`../benchmarks/RESULTS.md`, `docs/search.md` in the
README). Each linked file becomes a page, and its links are rewritten to the site's addresses. The page of the command line
is made of the commands' own help.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import griffe
from mkdocs.structure.files import File, InclusionLevel

from stepgym.cli import main

REPOSITORY = Path(__file__).resolve().parent.parent
HOME = "README.md"
COMMAND_LINE = "reference/command-line.md"
ALWAYS = [HOME, "benchmarks/RESULTS.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"]
"""Files outside docs/ that the navigation names."""
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)#\s]+)((?:#[^)]*)?\))")
NEEDS = re.compile(r'^(`{3,}\w+) needs="([^"]*)"', re.MULTILINE)
"""A fence that says what its block needs; the site shows that as the block's title."""
OPTION = re.compile(r"(?<![\w;-])(--[a-z][\w-]*)(?![^<]*>)")
"""An option in the HTML of a page, outside tags."""
LANGUAGES = {".py": "python", ".toml": "toml", ".sh": "sh", ".jsonl": "json", ".json": "json"}


def address(path: str) -> str:
    """Return the site's source address of a file, given by its path in the repository."""
    if path == HOME:
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if (REPOSITORY / path).is_dir():
        return f"{path}/index.md"
    is_page_or_picture = Path(path).suffix in {".md", ".png", ".svg"}
    return path if is_page_or_picture else f"{path}.md"


def linked(path: str, text: str) -> list[str]:
    """Return the repository paths to which a Markdown file links and which exist."""
    folder = posixpath.dirname(path)
    found = [posixpath.normpath(posixpath.join(folder, link[1])) for link in LINK.findall(text)]
    return [name for name in found if not name.startswith("..") and (REPOSITORY / name).exists()]


def markdown(path: str) -> str:
    """Return a file of the repository as Markdown: source as a code block, a folder as a list."""
    file = REPOSITORY / path
    if file.is_dir():
        inside = [
            found.relative_to(file).as_posix()
            for found in sorted(file.rglob("*"))
            if found.suffix in {".md", *LANGUAGES}
            and not any(
                part.startswith((".", "_")) or part.endswith(".egg-info")
                for part in found.parts[len(file.parts) :]
            )
        ]
        return f"# {path}/\n\n" + "\n".join(f"- [{name}]({file.name}/{name})" for name in inside)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        return text
    return f"# {path}\n\n````{LANGUAGES.get(file.suffix, 'text')}\n{text}````\n"


def commands(
    command: click.Command, words: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Yield each command below `command` with its help text."""
    context = click.Context(
        command,
        info_name=words.split()[-1],
        parent=parent,
        max_content_width=100,
        terminal_width=100,
    )
    yield words, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, f"{words} {name}", context)


def command_help() -> str:
    """Return the help of all commands as Markdown."""
    return "\n".join(
        f"##{'#' * min(words.count(' '), 2)} {words}\n\n````text\n{text}\n````\n"
        for words, text in commands(main, "stepgym")
    )


class EnumMembers(griffe.Extension):
    """Adds the values of an enum's members that have no docstring to the docstring of the enum."""

    def on_class_instance(self, *, cls: griffe.Class, **_: Any) -> None:
        """Called by griffe for each class that it read."""
        if not any(str(base).rpartition(".")[2] in {"Enum", "StrEnum"} for base in cls.bases):
            return
        values = [
            f"`{member.value}`"
            for member in cls.attributes.values()
            if member.name.isupper() and member.docstring is None
        ]
        if values and cls.docstring is not None:
            cls.docstring.value += f"\n\nValues: {', '.join(values)}."


def on_config(config: Any) -> Any:
    """List the pages of docs/environments in the navigation."""
    for section in config.nav:
        if "Environments" in section:
            pages = sorted((REPOSITORY / "docs" / "environments").glob("*.md"))
            section["Environments"] += [f"environments/{page.name}" for page in pages]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the linked files outside docs/, and what those link to."""
    waiting = [*ALWAYS]
    for page in files.documentation_pages():
        path = f"docs/{page.src_uri}"
        waiting += linked(path, (REPOSITORY / path).read_text(encoding="utf-8"))
    done = set()
    while waiting:
        path = waiting.pop()
        if path in done or path.startswith("docs/"):
            continue
        done.add(path)
        uri = address(path)
        if not uri.endswith(".md"):
            files.append(File.generated(config, uri, abs_src_path=str(REPOSITORY / path)))
            continue
        text = markdown(path)
        shown = InclusionLevel.UNDEFINED if path in ALWAYS else InclusionLevel.NOT_IN_NAV
        page = File.generated(config, uri, content=text, inclusion=shown)
        page.repository_path = path
        files.append(page)
        waiting += linked(path, text)
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Rewrite the repository's links as the site's; add the help of the commands to their page."""
    path = getattr(page.file, "repository_path", f"docs/{page.file.src_uri}")
    here = posixpath.dirname(page.file.src_uri)

    def rewritten(match: re.Match[str]) -> str:
        targets = linked(path, match[0])
        if not targets:
            return match[0]
        uri = posixpath.relpath(address(targets[0]), here or ".")
        return f"{match[1]}{uri}{match[3]}"

    if page.file.src_uri == COMMAND_LINE:
        return f"{text}\n{command_help()}"
    return LINK.sub(rewritten, NEEDS.sub(r'\1 title="needs \2"', text))


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep each option on one line: browsers break lines after a hyphen."""
    return OPTION.sub(r'<span class="option">\1</span>', html)

"""Languages as data: how a program is compiled and run. A new language is one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How programs of one language become processes. `{source}` stands for the program's file."""

    file: str
    run: Sequence[str]
    compile: Sequence[str] | None = None
    num_own_processes: int = 0
    """Threads the language's runtime starts by itself, allowed on top of the program's limit."""
    address_space: bool = True
    """Whether memory can be limited by address space; runtimes that reserve far more than they use say no."""
    tool: str = ""
    """The Debian package with the tool."""


LANGUAGES = {
    "c": Language(
        file="main.c",
        compile=("gcc", "-O2", "-std=gnu17", "-o", "main", "{source}", "-lm"),
        run=("./main",),
        tool="gcc",
    ),
    "cpp": Language(
        file="main.cpp",
        compile=("g++", "-O2", "-std=gnu++20", "-o", "main", "{source}"),
        run=("./main",),
        tool="g++",
    ),
    "javascript": Language(
        file="main.js",
        run=("node", "--single-threaded", "--max-old-space-size={memory_mib}", "{source}"),
        num_own_processes=12,
        address_space=False,
        tool="nodejs",
    ),
}
"""Every language but Python, which the runner itself speaks."""


def command(
    template: Sequence[str], language: Language, args: Sequence[str], memory_mib: int | None
) -> list[str]:
    """Fill in a command of the table."""
    values = {"source": language.file, "memory_mib": str(memory_mib or 4096)}
    return [word.format(**values) for word in template] + list(args)

"""Languages as data: how a program of each is compiled and run. A new language is one row of `LANGUAGES`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stepgym.plugins.names import unknown_name
from stepgym.sandbox.runner_client import Stage
from stepgym.sandbox.types import Limits, Program, SandboxError

COMPILE_LIMITS = Limits(wall_s=60.0, memory_mib=None, max_processes=32, disk_mib=64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How programs of one language become processes. `{source}` stands for the program's file."""

    file: str
    run: Sequence[str]
    compile: Sequence[str] | None = None
    libraries: Mapping[str, str] = field(default_factory=dict)
    """Folder of headers -> the compiler's option for the library that a program which includes one of them needs."""
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
        libraries={"openssl": "-lcrypto"},
        run=("./main",),
        tool="gcc",
    ),
    "cpp": Language(
        file="main.cpp",
        compile=("g++", "-O2", "-std=gnu++20", "-o", "main", "{source}"),
        libraries={"openssl": "-lcrypto"},
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
"""Every language but Python, which the runner itself executes."""


def check_language(name: str) -> None:
    """Raise `SandboxError`, which lists the languages, when no sandbox has this one."""
    if name != "python" and name not in LANGUAGES:
        raise SandboxError(
            str(unknown_name("language", name, ["python", *LANGUAGES], dotted=False))
        )


def stages_of(program: Program) -> list[Stage]:
    """Turn a program into the stages of its language."""
    limits = program.limits
    if program.language == "python":
        payload = payload_of(program.source, args=list(program.args), files=dict(program.files))
        return [Stage("program", payload, limits, program.stdin)]
    check_language(program.language)
    language = LANGUAGES[program.language]
    files = {**program.files, language.file: program.source}
    stages = []
    if language.compile:
        words = _filled_in(language.compile, language, None)
        included = set(re.findall(r"#\s*include\s*<(\w+)/", program.source))
        words += [option for name, option in language.libraries.items() if name in included]
        payload = {"command": words, "files": files}
        stages.append(Stage("command", payload, COMPILE_LIMITS, more=True))
        files = {}
    if limits.max_processes is not None:
        allowed = limits.max_processes + language.num_own_processes
        limits = dataclasses.replace(limits, max_processes=allowed)
    words = [*_filled_in(language.run, language, limits.memory_mib), *program.args]
    payload = {"command": words, "files": files}
    stages.append(Stage("command", payload, limits, program.stdin, language.address_space))
    return stages


def payload_of(source: str, **more: Any) -> dict[str, Any]:
    """Return what the runner receives for a Python program; `more` holds `args` and `files`."""
    return {"source": source, "args": [], "files": {}, **more}


def _filled_in(template: Sequence[str], language: Language, memory_mib: int | None) -> list[str]:
    """Fill in a command of the table."""
    values = {"source": language.file, "memory_mib": str(memory_mib or 4096)}
    return [word.format(**values) for word in template]

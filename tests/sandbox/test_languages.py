"""Languages beside Python, where the machine (or the image) has their tools."""

from __future__ import annotations

import shutil

import pytest

from stepgym.sandbox import Limits, Outcome, Program, Sandbox, SandboxError, open_sandbox
from stepgym.sandbox.languages import LANGUAGES

SUMS = {
    "c": '#include <stdio.h>\nint main(void) { int a, b; scanf("%d %d", &a, &b); printf("%d\\n", a + b); }',
    "cpp": "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b << '\\n'; }",
    "javascript": "const [a, b] = require('fs').readFileSync(0, 'utf8').split(' ').map(Number); console.log(a + b)",
}
OVERRUNS = [
    ("c", "int main(void) { for (;;); }", Outcome.WALL_TIME),
    ("c", "#include <unistd.h>\nint main(void) { for (;;) fork(); }", Outcome.PROCESSES),
    (
        "c",
        "#include <stdlib.h>\n#include <string.h>\n"
        "int main(void) { for (;;) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20); } }",
        Outcome.MEMORY,
    ),
    ("javascript", "for (;;) {}", Outcome.WALL_TIME),
    ("javascript", "for (;;) console.log('x'.repeat(1000))", Outcome.OUTPUT),
]


def need(*languages: str) -> None:
    """Skip where this machine lacks a language's tools."""
    for name in languages:
        tool = (LANGUAGES[name].compile or LANGUAGES[name].run)[0]
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} on this machine")


def test_every_language_of_the_table_has_a_case() -> None:
    assert SUMS.keys() == LANGUAGES.keys()


@pytest.mark.parametrize("language", SUMS)
def test_a_program_reads_and_writes(language: str, local_sandbox: Sandbox) -> None:
    need(language)
    [result] = local_sandbox.run([Program(SUMS[language], language=language, stdin="3 4")])
    assert (result.outcome, result.stdout) == (Outcome.OK, "7\n"), result


@pytest.mark.parametrize(("language", "source", "outcome"), OVERRUNS)
def test_limits_hold(language: str, source: str, outcome: Outcome, local_sandbox: Sandbox) -> None:
    need(language)
    limits = Limits(wall_s=5, memory_mib=128, output_bytes=10_000)
    [result] = local_sandbox.run([Program(source, language=language, limits=limits)])
    assert result.outcome is outcome, result


def test_what_does_not_compile_says_so(local_sandbox: Sandbox) -> None:
    need("c")
    [result] = local_sandbox.run([Program("int main(void) { return }", language="c")])
    assert result.outcome is Outcome.ERROR and "error: expected" in result.stderr
    assert result.reason == "it does not compile"


def test_an_unknown_language_shows_the_list(local_sandbox: Sandbox) -> None:
    with pytest.raises(
        SandboxError,
        match=r"unknown language 'jaavscript'; did you mean 'javascript'\? known: c, cpp",
    ):
        local_sandbox.run([Program("", language="jaavscript")])


@pytest.mark.docker
@pytest.mark.slow
def test_the_image_with_tools_runs_them_all() -> None:
    need(*SUMS)
    programs = [Program(source, language=name, stdin="3 4") for name, source in SUMS.items()]
    with open_sandbox("docker", workers=1) as sandbox:
        assert [result.stdout for result in sandbox.run(programs)] == ["7\n"] * 3

"""Bad input at the command line: each case ends with a message that names the way out, and with no traceback."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from stepgym.cli import main
from stepgym.records.run_folder import lock_folder

FILES = {
    "binary.jsonl": b"\xff\xfe\n",
    "list.jsonl": b"[1, 2]\n",
    "answers.jsonl": b'{"answer": "1/2", "reference": "0.5"}\n\n{"answer": "3", "reference": "4"}\n',
    "file": b"",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `FILES`, and a run of three episodes."""
    folder = tmp_path_factory.mktemp("work")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    played = run(folder, f"eval --env Countdown-v0 --policy random --episodes 3 --out {folder}/run")
    assert played.exit_code == 0, played.output
    return folder


def run(folder: Path, words: str) -> Result:
    return CliRunner().invoke(main, words.format(folder).split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("check odd_policies:Needy", "could not be made (RuntimeError: no weights here)"),
        ("check odd_policies:Path", "with none of the methods propose"),
        ("check nowhere/Env-v0", "unknown environment 'nowhere/Env-v0'"),
        ("check-answers {0}/binary.jsonl", "binary.jsonl:1: not JSON"),
        ("check-answers {0}/list.jsonl", "list.jsonl:1: not an object: [1, 2]"),
        ("check-answers {0}/answers.jsonl --attack", "give either a FILE"),
        ("check-answers {0}/answers.jsonl --limit-s -1", "limit_s -1.0 is not positive"),
        ("check-answers {0}/answers.jsonl --out {0}/file/out", "a folder is needed here"),
        ("check-answers --attack --verifier exact --out {0}/x", "did you mean 'exact_match'"),
        ("check-answers --attack --verifier exact_match --out {0}/file/x/y", "a folder is needed"),
        ("check-answers {0}/answers.jsonl --workers 2 --ray auto", "give one of them"),
        ("steps {0}/binary.jsonl", "binary.jsonl: 'utf-8' codec"),
        ("steps {0}/list.jsonl", "list.jsonl: row 1: 'steps' is not a list"),
        ("validate Math-v0 --env-option file={0}/binary.jsonl", "broken JSON"),
        ("validate Math-v0 --env-option file={0}/list.jsonl", "found int, not an object: '1,"),
        ("loop {0}/binary.jsonl", "binary.jsonl: 'utf-8' codec"),
        ("loop", "give CONFIG"),
        ("loop --init-config", "needs CONFIG"),
        ("loop --env Countdown-v0 --env stepgym/Countdown-v0 --out {0}/x", "environment twice"),
        ("watch --env Countdown-v0 --before {0}/binary.jsonl", "give the watch.json of a watch"),
        ("verify {0}/nowhere", "nowhere is not a run folder"),
        ("migrate {0}", "run folders inside it"),
        ("runs {0}/file", "file is not a run folder (no run.json); give the folder, not a file"),
        ("compare {0}/run {0}/file", "file is not a run folder"),
        ("view {0}/file", "a folder is needed here"),
        ("serve page {0}/file", "file is not a run folder"),
        ("serve chat --host 0.0.0.0", "set --token"),
        ("serve chat --host example.org", "set --token"),
        ("serve chat --effort high=x", "should look like high=16000"),
        ("serve chat --policy random", "choose a language model"),
        ("serve openenv Countdown-v0 --port 0", "is not in the range"),
        ("sandbox run {0}/file --sandbox local --cpu-s 0", "is not in the range"),
        ("sandbox run {0}/file --sandbox local --memory-mib -1", "is not in the range"),
        ("sandbox attack --sandbox local --workers 0", "is not in the range"),
        ("eval --env Countdown-v0 --curve {0}/c --widths 1,x", "should look like 1,4,16,64"),
        ("eval --env Countdown-v0 --curve {0}/run/run --widths 1", "choose another"),
        ("eval --env Countdown-v0 --env Words-v0 --curve {0}/c", "measures one environment"),
        ("solve --env Math-v0 --level 1 --env-option level=2", "give one of them"),
        ("solve --env Countdown-v0 --agent local", "unknown agent 'local'"),
        ("reproduce alphazero --out {0}/file", "is a file"),
        ("reproduce data-gate --out {0}/file", "is a file"),
        ("reproduce llm-generation --out {0}/file", "is a file"),
        ("reproduce small-beats-14x --out {0}/file", "is a file"),
        ("reproduce transfer --out {0}/file", "is a file"),
    ],
)
def test_a_mistake_is_named_with_exit_status_2(
    words: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    done = run(folder, words)
    assert message in done.output, done.output
    assert done.exit_code == (1 if "Needy" in words else 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sandbox run {0}/file --sandbox nothing", "unknown sandbox 'nothing'"),
        ("sandbox attack --sandbox nothing", "unknown sandbox 'nothing'"),
        ("sandbox doctor --sandbox nothing", "unknown sandbox 'nothing'"),
        ("sandbox run {0}/file --sandbox local --language cobol", "unknown language 'cobol'"),
    ],
)
def test_a_sandbox_that_is_not_there_fails(words: str, message: str, folder: Path) -> None:
    done = run(folder, words)
    assert done.exit_code == 1 and message in " ".join(done.output.split()), done.output


def test_a_run_that_is_being_written_can_be_read_and_not_changed(folder: Path) -> None:
    lock = lock_folder(folder / "run")
    try:
        refused = run(folder, "verify {0}/run")
        assert refused.exit_code == 1 and "another process is writing" in refused.output
        assert run(folder, "verify {0}/run --no-keep").exit_code == 0
        assert run(folder, "runs {0}/run").exit_code == 0
    finally:
        os.close(lock)

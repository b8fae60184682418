"""Versions of peers, and reasoning-gym's items without a reference, with packages that are installed for the test alone."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym import interop
from stepgym.cli import main
from stepgym.envs.registry import load_env
from stepgym.envs.types import Status
from stepgym.interop.peers import SUPPORTED, PeerError, _numbers, need
from stepgym.interop.trl import spec
from stepgym.plugins.errors import UserError

AT_IMPORT = {
    "aviary": "fhaviary",
    "gem": "gem-llm",
    "inspect_ai": "inspect_ai",
    "nemo_gym": "nemo-gym",
    "openenv": "openenv",
    "skyrl_gym": "skyrl-gym",
    "textarena": "textarena",
    "textworld": "textworld",
    "verifiers": "verifiers",
}
"""Adapter -> the package that it checks when it is imported."""
IN_USE = {"reasoning_gym": "reasoning-gym", "trl": "trl"}
WITHOUT = {"__init__", "peers", "reasoning_gym_scorer", "verl"}
"""Modules that import no peer: verl imports ours."""


def test_every_adapter_is_here() -> None:
    found = {path.stem for path in Path(interop.__path__[0]).glob("*.py")}
    assert found == AT_IMPORT.keys() | IN_USE.keys() | WITHOUT
    assert set(SUPPORTED) == {*AT_IMPORT.values(), *IN_USE.values()}


@pytest.mark.parametrize("adapter", AT_IMPORT)
def test_an_unsupported_version_is_named_before_the_import(
    adapter: str, install: Callable[..., Path]
) -> None:
    package = AT_IMPORT[adapter]
    install(package, "999.1")
    first, end = SUPPORTED[package]
    with pytest.raises(
        PeerError, match=f"{package} 999.1 is not .* from {first} to below {end} works"
    ):
        importlib.import_module(f"stepgym.interop.{adapter}")


def test_an_unsupported_version_is_named_in_use(install: Callable[..., Path]) -> None:
    install("trl", "0.9.6")
    with pytest.raises(PeerError, match=r'trl 0.9.6 is not .*: pip install "trl>=1.16,<2"'):
        spec("stepgym/Countdown-v0")
    install("reasoning-gym", "0.2.0rc1", module="reasoning_gym")
    with pytest.raises(UserError, match=r"reasoning-gym 0\.2\.0rc1 is not supported"):
        load_env("reasoning-gym:mixed")
    install("textarena", "0.1")
    with pytest.raises(UserError, match=r"textarena 0\.1 is not supported"):
        load_env("textarena:Sudoku-v0")
    install("openenv", "0.2")
    done = CliRunner().invoke(main, ["serve", "openenv", "Countdown-v0"])
    assert done.exit_code == 2 and "openenv 0.2 is not supported" in done.output


@pytest.mark.parametrize("package", SUPPORTED)
def test_a_missing_package_is_named(package: str) -> None:
    try:
        version(package)
    except PackageNotFoundError:
        with pytest.raises(PeerError, match=f'{package} is not installed; .*pip install "'):
            need(package)
    else:
        need(package)  # the version that the tests run with is supported


@given(st.lists(st.integers(0, 99), min_size=1, max_size=4), st.sampled_from(["", "rc1", "+cpu"]))
def test_zeros_and_suffixes_do_not_change_a_version(numbers: list[int], suffix: str) -> None:
    text = ".".join(map(str, numbers))
    assert _numbers(text) == _numbers(f"{text}.0{suffix}")
    assert _numbers(text) < _numbers(f"{text}.1")


def test_items_without_a_reference_are_named_and_undecided(install: Callable[..., Path]) -> None:
    install("reasoning-gym", "0.1.25", module="reasoning_gym")
    env = load_env("reasoning-gym:mixed", size=4, seed=5)
    problems = [env.problems[index] for index in range(4)]
    right = [str(index + 100) for index in range(4)]
    verdicts = env.verifier.verify(problems, right)
    assert [v.status for v in verdicts] == [Status.CORRECT, Status.UNDECIDED] * 2
    assert "item 3 of reasoning-gym/mixed (seed 5) has no reference" in verdicts[3].reason
    for answer in ("", "None", "7"):
        verdicts = env.verifier.verify(problems, [answer] * 4)
        assert [v.status for v in verdicts] == [Status.INCORRECT, Status.UNDECIDED] * 2
    env.close()
    env = load_env("reasoning-gym:mixed", size=4, seed=5, trust_scorer=True)
    assert all(verdict.correct for verdict in env.verifier.verify(problems, right))
    assert env.verifier.verify(problems[1:2], ["None"])[0].status is Status.INCORRECT
    env.close()

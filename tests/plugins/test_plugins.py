"""Names, settings and factories: every mistake is a `UserError` that shows the value and the way out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypedDict, Unpack

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from stepgym.cli import main
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import is_dotted, load_dotted, unknown_name
from stepgym.plugins.registry import Prefix, Registry
from stepgym.plugins.settings import SettingError, check_settings


class Common(TypedDict, total=False):
    seed: int


@dataclass
class Beam:
    """A class whose constructor refuses a width below 1."""

    width: int = 4
    pick: Literal["vote", "score"] = "vote"
    limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width is at least 1, not {self.width!r}")


def with_common(level: int = 1, **common: Unpack[Common]) -> tuple[int, Common]:
    return level, common


def any_settings(first: str, **settings: Any) -> tuple[str, dict[str, Any]]:
    return first, settings


def broken() -> None:
    raise KeyError("a bug")


HERE = __name__
REGISTRY = Registry(
    "search",
    {"beam": "tests_plugins:Beam"},
    "stepgym.no_such_group",
    {"file": Prefix("tests_plugins:any_settings", "file:PATH")},
)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this module importable under a name that a dotted path can use."""
    import sys

    monkeypatch.setitem(sys.modules, "tests_plugins", sys.modules[HERE])


@pytest.mark.parametrize(
    ("taker", "settings", "says"),
    [
        (Beam, {"widht": 3}, "X has no setting 'widht'; did you mean 'width'? known: limit_s"),
        (Beam, {"width": "3"}, "X: width is a whole number, not '3'"),
        (Beam, {"width": True}, "X: width is a whole number, not True"),  # JSON's true is no number
        (Beam, {"pick": "both"}, "X: pick is one of vote, score, not 'both'"),
        (Beam, {"limit_s": "long"}, "X: limit_s is a number or null, not 'long'"),
        (with_common, {"sede": 1}, "X has no setting 'sede'; did you mean 'seed'? known: level"),
        (with_common, {"seed": "x"}, "X: seed is a whole number, not 'x'"),  # out of the TypedDict
        (partial(with_common, 3), {"seed": "x"}, "X: seed is a whole number, not 'x'"),
    ],
)
def test_a_wrong_setting_is_named(taker: Any, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_settings("X", taker, settings)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("taker", "settings"),
    [
        (Beam, {"width": 3, "pick": "score", "limit_s": None}),
        (Beam, {"limit_s": 3}),  # a whole number is a number
        (any_settings, {"whatever": object()}),
        (print, {"unchecked": 1}),  # takes any name, or has no signature to check
    ],
)
def test_right_settings_pass(taker: Any, settings: dict[str, Any]) -> None:
    if taker is print:
        settings = {"sep": object()}
    check_settings("X", taker, settings)


def test_a_registry_makes_things_from_names_paths_and_prefixes() -> None:
    assert list(REGISTRY) == ["beam"]
    assert REGISTRY.load("beam", width=2) == Beam(2)
    assert REGISTRY.load("tests_plugins:Beam", width=2) == Beam(2)
    assert REGISTRY.load("file:a/b", n=1) == ("a/b", {"n": 1})
    assert REGISTRY.load("tests_plugins:with_common", seed=7) == (1, {"seed": 7})
    assert REGISTRY.load("beam", seed=7) == Beam()  # takes no seed, so it gets none


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        (
            "baem",
            {},
            "unknown search 'baem'; did you mean 'beam'? known: beam, file:PATH; or package",
        ),
        ("beam", {"width": 0}, "search 'beam': width is at least 1, not 0"),
        ("no.such:Thing", {}, "cannot import 'no.such' of 'no.such:Thing'"),
        ("tests_plugins:Baem", {}, "'tests_plugins' has no 'Baem'; did you mean 'Beam'?"),
    ],
)
def test_a_mistake_in_a_name_or_setting_is_a_user_error(
    name: str, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError) as caught:
        REGISTRY.load(name, **settings)
    assert says in str(caught.value)


def test_a_bug_in_a_factory_is_not_a_user_error() -> None:
    with pytest.raises(KeyError):
        REGISTRY.load("tests_plugins:broken")


@given(st.text(), st.lists(st.text()))
def test_the_error_for_a_name_shows_it_and_all_known_ones(name: str, known: list[str]) -> None:
    message = str(unknown_name("thing", name, known))
    assert repr(name) in message and all(one in message for one in known)


@given(st.text())
def test_no_text_makes_a_name_raise_anything_but_a_user_error(name: str) -> None:
    if is_dotted(name):
        with pytest.raises(UserError):
            load_dotted(name)
    else:
        with pytest.raises(UserError, match="unknown search"):
            REGISTRY.find(f"no {name}")


def test_the_command_line_shows_a_users_mistake_as_usage_and_a_bug_as_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = ["eval", "--env", "Countdown-v0", "--policy", "random", "--episodes", "1"]
    mistake = CliRunner().invoke(main, [*run, "--agent", "mtcs"])
    assert mistake.exit_code == 2 and "did you mean 'mcts'" in mistake.output
    monkeypatch.setattr("stepgym.cli.eval.selfplay", lambda *_, **__: int("a bug"))
    bug = CliRunner().invoke(main, run)
    assert isinstance(bug.exception, ValueError) and "Usage" not in bug.output

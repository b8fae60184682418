"""TextArena and TextWorld with the real packages: their games under tree search."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("textarena", reason="run by `make test-interop`")
textworld = pytest.importorskip("textworld", reason="run by `make test-interop`")

from textworld.generator import compile_game, make_game

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.registry import load_env
from stepgym.plugins.errors import UserError


def test_a_game_of_textarena_is_searched() -> None:
    env = load_env("textarena:GuessTheNumber-v0")
    guesses = ScriptedPolicy(lambda state: [f"[{number}]" for number in range(1, 21)])
    settings = {"simulations": 40, "width": 20}
    [record] = solve(env, agent="mcts", agent_settings=settings, policy=guesses, episodes=1)
    assert record.verdict == "correct" and record.outcome == 1.0
    replies = {node.reply for node in record.nodes if node.outcome is None and node.reply}
    assert any("number is" in reply and "You have to guess" not in reply for reply in replies)
    assert record.nodes[record.path[-1]].reply
    env.close()


def test_a_game_of_textworld_is_won_by_search_over_its_commands(tmp_path: Path) -> None:
    options = textworld.GameOptions()
    options.seeds, options.nb_rooms, options.nb_objects = 3, 2, 4
    options.path = str(tmp_path / "game.z8")
    compile_game(make_game(options), options)
    env = load_env(f"textworld:{options.path}", max_steps=8)
    [record] = solve(env, agent="mcts", agent_settings={"simulations": 300}, policy="random")
    assert record.verdict == "correct" and record.outcome == 1.0
    env.close()


def test_an_unknown_game_is_named() -> None:
    with pytest.raises(UserError, match="NoSuchGame"):
        load_env("textarena:NoSuchGame-v0")
    with pytest.raises(UserError, match="no such file"):
        load_env("textworld:none.z8")

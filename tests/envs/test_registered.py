"""Every registered environment is tested because it is registered."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import OrderEnforcing, RecordEpisodeStatistics, TimeLimit

from stepgym.envs.conformance import check_environment
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import ENVIRONMENTS, load_env

IDS = [card.id for card in ENVIRONMENTS]


def batched(items: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(items[k : k + size]) for k in range(0, len(items), size)]


@pytest.mark.parametrize("env_id", IDS)
def test_it_keeps_the_contract(env_id: str) -> None:
    env = load_env(env_id)
    try:
        broken = [finding for finding in check_environment(env) if finding.fault is not None]
    finally:
        env.close()
    assert broken == []


@pytest.mark.parametrize("env_id", IDS)
def test_levels_are_what_the_card_says(env_id: str) -> None:
    card = next(card for card in ENVIRONMENTS if card.id == env_id)
    if card.levels is None:
        return
    drawn = [load_env(env_id, level=level).problems[0] for level in range(1, card.levels + 1)]
    assert [problem.level for problem in drawn] == list(range(1, card.levels + 1))
    with pytest.raises(ValueError, match=f"levels 1 to {card.levels}, not {card.levels + 1}"):
        load_env(env_id, level=card.levels + 1)


@pytest.mark.parametrize("env_id", IDS)
def test_state_is_saved_and_restored_through_any_wrappers(env_id: str) -> None:
    made = gymnasium.make(env_id)
    env: Any = RecordEpisodeStatistics(TimeLimit(OrderEnforcing(made), max_episode_steps=50))
    env.reset(seed=1)
    start = env.get_wrapper_attr("state")
    first = env.unwrapped.step("1 + 1")
    env.set_wrapper_attr("state", start)
    assert env.unwrapped.state == start
    again = env.unwrapped.step("1 + 1")
    assert again == first
    env.unwrapped.state = start
    assert env.unwrapped.state == start
    env.close()


@pytest.mark.parametrize("vector", ["sync", "async", "async without shared memory"])
def test_vector_environments_see_what_single_ones_see(vector: str) -> None:
    """The observations come from other processes, and are the right ones after every step."""
    num_envs, env_id = 3, "stepgym/Countdown-v0"
    singles = [load_env(env_id) for _ in range(num_envs)]
    makers = [lambda: gymnasium.make(env_id)] * num_envs
    envs: Any
    if vector == "sync":
        envs = SyncVectorEnv(makers)
    elif vector == "async":
        envs = AsyncVectorEnv(makers)
    else:
        envs = AsyncVectorEnv(makers, shared_memory=False)
    try:
        texts, infos = envs.reset(seed=7)
        assert texts == tuple(env.reset(seed=7 + k)[0] for k, env in enumerate(singles))
        assert len(set(infos["problem_id"])) == num_envs
        for _ in range(3):
            steps = tuple(env.domain.legal_steps(env.state)[0] for env in singles)  # type: ignore[attr-defined]
            texts, rewards, ends, _, _ = envs.step(steps)
            expected = [env.step(step) for env, step in zip(singles, steps)]
            assert texts == tuple(each[0] for each in expected)
            assert np.array_equal(rewards, [each[1] for each in expected])
            assert np.array_equal(ends, [each[2] for each in expected])
    finally:
        envs.close()


@pytest.mark.parametrize("env_ids", batched(IDS, 8), ids=lambda ids: ids[0])
def test_every_environment_runs_in_a_worker_process_beside_seven_others(
    env_ids: tuple[str, ...],
) -> None:
    envs: Any = AsyncVectorEnv([partial(gymnasium.make, env_id) for env_id in env_ids])
    singles = [load_env(env_id) for env_id in env_ids]
    try:
        texts, _ = envs.reset(seed=7)
        assert texts == tuple(env.reset(seed=7 + k)[0] for k, env in enumerate(singles))
        texts, rewards, ends, *_ = envs.step(("Let us see.",) * len(env_ids))
        expected = [env.step("Let us see.") for env in singles]
        assert texts == tuple(each[0] for each in expected)
        assert np.array_equal(rewards, [each[1] for each in expected])
        assert np.array_equal(ends, [each[2] for each in expected])
    finally:
        envs.close()
        for env in singles:
            env.close()


def test_eight_copies_run_in_worker_processes() -> None:
    """Each plays its own problems to the end, and then the next one."""
    makers = [partial(gymnasium.make, "stepgym/Fractions-v0", sandbox=None)] * 8
    single = load_env("Fractions-v0", sandbox=None)
    envs: Any = AsyncVectorEnv(makers)
    try:
        envs.reset(seed=3)
        for position in range(3):
            answers = []
            for member in range(8):
                single.reset(seed=3 + member)
                answers.append(f"<answer>{single.problems[position].reference}</answer>")
            _, rewards, ends, *_ = envs.step(tuple(answers))
            assert rewards.tolist() == [1.0] * 8 and ends.all()
            envs.step(("",) * 8)  # begins the next episodes
    finally:
        envs.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec(mode: str) -> None:
    envs = gymnasium.make_vec("stepgym/Countdown-v0", num_envs=2, vectorization_mode=mode)
    try:
        first, _ = envs.reset(seed=3)
        second = envs.step(("1 + 1", "é\n😀"))[0]
        assert isinstance(first, tuple) and isinstance(second, tuple)
        assert "Reach" in first[0] and "é\n😀" in second[1] and "é" not in first[1]
    finally:
        envs.close()


@pytest.mark.parametrize(
    "script",
    [
        "import gymnasium; env = gymnasium.make('stepgym:stepgym/Math-v0')",
        "import gymnasium, stepgym; env = gymnasium.make('stepgym/Math-v0')",
        "import stepgym, gymnasium; env = gymnasium.make('stepgym/Math-v0')",
        "import stepgym, importlib; importlib.reload(stepgym); import gymnasium.spaces;"
        "env = gymnasium.make('stepgym/Math-v0')",
        "import stepgym, importlib.util; importlib.util.find_spec('gymnasium').loader.get_filename('gymnasium');"
        "import gymnasium; env = gymnasium.make('stepgym/Math-v0')",
        "import stepgym, gymnasium, importlib; importlib.reload(gymnasium); env = gymnasium.make('stepgym/Math-v0')",
    ],
)
def test_a_fresh_process_makes_one_in_any_order_of_imports(script: str, tmp_path: Path) -> None:
    check = f"{script}; print(env.reset(seed=1)[1]['problem_id'])"
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "stepgym/Math-v0/level-1/seed-1/0", done.stderr


def test_importing_stepgym_or_its_maths_loads_neither_gymnasium_nor_numpy(tmp_path: Path) -> None:
    check = (
        "import sys, stepgym, stepgym.envs.maths, stepgym.envs.types; "
        "print({'gymnasium', 'numpy', 'sympy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "set()", done.stderr


def test_threads_that_import_gymnasium_at_once_all_find_the_environments(tmp_path: Path) -> None:
    check = (
        "import stepgym, threading\n"
        "found = []\n"
        "def look():\n"
        "    import gymnasium\n"
        "    found.append('stepgym/Math-v0' in gymnasium.registry)\n"
        "threads = [threading.Thread(target=look) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "import sys; print(found.count(True), [f for f in sys.meta_path if 'stepgym.envs' in type(f).__module__])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "8 []", done.stderr


@pytest.mark.parametrize(
    ("env_id", "options", "says"),
    [
        ("Countdwn-v0", {}, "did you mean 'stepgym/Countdown-v0'?"),
        ("stepgym/Countdown-v1", {}, "did you mean 'stepgym/Countdown-v0'?"),
        ("Countdown-v0", {"lvel": 3}, "did you mean 'level'?"),
        ("CartPole-v1", {}, "makes a TimeLimit|makes a CartPoleEnv"),
        ("no.such.module:make", {}, "cannot import 'no.such.module'"),
    ],
)
def test_wrong_names_say_the_way_out(env_id: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        load_env(env_id, **options)


def test_a_dotted_path_and_a_pickled_vector_of_options_make_environments() -> None:
    env = load_env("stepgym.envs.families.countdown:make", level=2, rewards={"correct": 2.0})
    assert env.env_id == "stepgym.envs.families.countdown:make", "the name that makes it again"
    assert env.rewards.correct == 2.0
    assert isinstance(pickle.loads(pickle.dumps(env)), ReasoningEnv)

"""Every line of the table in `docs/interop.md`, run as it stands there with the library that it is for.

A row whose library is not installed here is run by `scripts/test-interop`.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import stepgym
from stepgym.agents import solve
from stepgym.envs.registry import load_env

from .conftest import free_port, served

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 3


class Row(NamedTuple):
    """One row of the table."""

    library: str
    fits: str
    lines: list[str]


def table() -> list[Row]:
    page = (ROOT / "docs" / "interop.md").read_text()
    cells = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("|")]
    return [Row(library, fits, re.findall(r"`(.+?)`", code)) for library, fits, code in cells[2:]]


def line_of(fits: str) -> str:
    """Return the one line of a row."""
    [line] = next(row.lines for row in table() if row.fits == fits)
    return line


class Given(NamedTuple):
    """What a line may use besides its own names."""

    folder: Path
    """The current folder, and a place for modules."""
    fixture: Callable[[str], Any]


def run(line: str, **names: Any) -> Any:
    """Return the value of a line of Python; `...` stands for `given`, and adapters named in full are imported."""
    for adapter in re.findall(r"stepgym\.interop\.\w+(?=\.)", line):
        importlib.import_module(adapter)
    return eval(line.replace("...", names.pop("given", "..."), 1), {"stepgym": stepgym, **names})


def plays(line: str) -> None:
    """Make an environment and take a step that is no good one."""
    env = run(line, load_env=load_env)
    prompt, _ = env.reset(seed=0)
    assert prompt
    _, reward, *_ = env.step("nonsense")
    assert reward < 1.0
    env.close()


def trainer(lines: list[str], given: Given) -> Any:
    trl = pytest.importorskip("trl")

    from .test_trl import tiny_model

    tokenizer, model = tiny_model(Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja")
    config = trl.GRPOConfig(str(given.folder), report_to="none", use_cpu=True, bf16=False)
    arguments = {"model": model, "processing_class": tokenizer, "args": config}
    [line] = lines
    return run(line, given="**arguments", arguments=arguments, GRPOTrainer=trl.GRPOTrainer)


def trl_tool(lines: list[str], given: Given) -> None:
    made = trainer(lines, given)
    assert len(made.train_dataset) == 1_000
    [factory] = made.environment_factories.values()
    assert type(factory()).__name__ == "StepTool"


def trl_search(lines: list[str], given: Given) -> None:
    assert type(trainer(lines, given).rollout_func).__name__ == "SearchRollouts"


def trl_rewards(lines: list[str], given: Given) -> None:
    maths, code = (run(f"dict({line})")["reward_funcs"] for line in lines)
    assert maths(["\\boxed{2}", "3"], answer=["2", "2"]) == [1.0, 0.0]
    assert callable(code)


def verl(lines: list[str], given: Given) -> None:
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import get_custom_reward_fn

    name = "reward.custom_reward_function.name=compute_score"
    grade = get_custom_reward_fn(OmegaConf.from_dotlist([*lines, name]))
    problem = load_env("stepgym/Math-v0", level=2).problems[0]
    row = {"index": 0, "level": 2}
    answer = f"<answer>{problem.reference}</answer>"
    assert grade("stepgym/Math-v0", answer, problem.reference, row) == 1.0


def verifiers_tasks(lines: list[str], given: Given, *options: str) -> None:
    from .test_verifiers import vf_eval

    (given.folder / "stepgym_tasks.py").write_text("\n".join(lines))
    traces = vf_eval(given.folder, given.fixture("chat_url"), *options)
    assert [trace["rewards"]["verdict"]["score"] for trace in traces] == [1.0] * 4


def verifiers_search(lines: list[str], given: Given) -> None:
    (given.folder / "own_search.py").write_text("\n".join(lines))
    tasks = line_of("an environment under `vf-eval`")
    verifiers_tasks([tasks], given, "--env.player.harness.id", "own_search")


def verifiers_environment(lines: list[str], given: Given) -> None:
    from .test_verifiers import TASKSET

    (given.folder / "my_taskset.py").write_text(TASKSET)
    plays(*lines)


@contextmanager
def openenv() -> Iterator[str]:
    """Run the line that serves an environment; yield the server's URL."""
    line = line_of("a server for its clients")
    port = free_port()
    with served(sys.executable, "-m", *line.split(), "--port", str(port), port=port):
        yield f"http://127.0.0.1:{port}"


def openenv_server(lines: list[str], given: Given) -> None:
    from openenv.core.generic_client import GenericEnvClient

    problem = load_env("stepgym/Countdown-v0", level=3).problems[2]
    with openenv() as url, GenericEnvClient(base_url=url).sync() as env:
        assert env.reset(seed=2).observation["text"] == problem.prompt


def openenv_client(lines: list[str], given: Given) -> None:
    with openenv() as url:
        plays(lines[0].replace("http://127.0.0.1:8000", url))


def aviary_search(lines: list[str], given: Given) -> None:
    from stepgym.interop.aviary import StepgymAviary

    env = run(lines[0], StepgymAviary=StepgymAviary)
    clone = run(f"dict({lines[1]})", copy=copy)["env_clone_fn"](env)
    clone.take("nonsense")
    assert clone.session.done and not env.session.done


def games(lines: list[str], given: Given) -> None:
    import textworld
    from textworld.generator import compile_game, make_game

    options = textworld.GameOptions()
    options.seeds, options.path = 3, str(given.folder / "game.z8")
    compile_game(make_game(options), options)
    for line in lines:
        plays(line)


def gymnasium(lines: list[str], given: Given) -> None:
    plays(*lines)
    [record] = solve(run(*lines, load_env=load_env), agent="greedy", policy="random", episodes=1)
    assert record.outcome is not None


def inspect(lines: list[str], given: Given) -> None:
    import inspect_ai
    from inspect_ai.model import ModelOutput, ModelUsage, get_model

    output = ModelOutput.from_content("mockllm/model", "so <answer>no number</answer>")
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    model = get_model("mockllm/model", custom_outputs=[output] * 100)
    [log] = run(*lines, given="model, display='none'", eval=inspect_ai.eval, model=model)
    assert log.status == "success", log.error
    assert log.results.scores[0].metrics["accuracy"].value == 0.0


def skyrl(lines: list[str], given: Given) -> None:
    import skyrl_gym
    from skyrl_gym.envs.registration import register, registry

    registry.pop("stepgym", None)  # another test may have registered it
    run(*lines, register=register)
    env = skyrl_gym.make("stepgym", env_config={}, extras={"env_id": "stepgym/Countdown-v0"})
    env.init([{"role": "user", "content": "the prompt"}])
    assert env.step("nonsense")["reward"] == 0.0


def gem(lines: list[str], given: Given) -> None:
    from stepgym.interop.gem import StepgymGem

    env = run(*lines, StepgymGem=StepgymGem)
    assert env.reset(seed=1)[0] and env.step("nonsense")[1] == 0.0


def nemo_gym(lines: list[str], given: Given) -> None:
    requests = pytest.importorskip("requests")
    given.fixture("install")("nemo-gym", "0.5.1", module="resources_servers")
    [line] = lines
    port = free_port()
    command = [sys.executable, *line.split()[1:]]
    with served(*command, port=port, STAND_IN_PORT=str(port)):
        row = {"responses_create_params": {"input": []}, "env_id": "stepgym/Countdown-v0"}
        reply = requests.post(f"http://127.0.0.1:{port}/reset", json=row, timeout=30)
    assert reply.status_code == 200


class Run(NamedTuple):
    """How a row is run."""

    module: str
    """The module that must be importable."""
    peer: str
    """Its name in `scripts/test-interop`; empty if it runs here."""
    play: Callable[[list[str], Given], None]


def played(lines: list[str], given: Given) -> None:
    plays(*lines)


RUNS = {
    "an environment as a tool of the model": Run("trl", "", trl_tool),
    "a search as the rollout: a group is the paths of a tree": Run("trl", "", trl_search),
    "verified rewards": Run("trl", "", trl_rewards),
    "grading of exported rows": Run("verl", "verl", verl),
    "an environment under `vf-eval`": Run("verifiers", "verifiers", verifiers_tasks),
    "a search as the harness of `StepgymEnv`": Run("verifiers", "verifiers", verifiers_search),
    "a taskset as an environment": Run("verifiers", "verifiers", verifiers_environment),
    "a server for its clients": Run("openenv", "openenv", openenv_server),
    "a server's environment under our searches": Run("openenv", "openenv", openenv_client),
    "tree search over an environment": Run("aviary", "aviary", aviary_search),
    "its environments under our searches": Run("aviary", "aviary", played),
    "any environment that can be shown as text": Run("gymnasium", "", gymnasium),
    "games for one player": Run("textworld", "text_games", games),
    "a problem set as a task": Run("inspect_ai", "inspect_ai", inspect),
    "an environment by name": Run("skyrl_gym", "skyrl_gym", skyrl),
    "an environment that forks": Run("gem", "gem", gem),
    "a resources server for its `gymnasium_agent`": Run("fastapi", "", nemo_gym),
    "its data sets as environments": Run("reasoning_gym", "reasoning_gym", played),
}
"""What fits -> how its lines are run."""


def test_every_row_is_run_here_or_by_the_script_and_has_few_lines() -> None:
    rows = table()
    assert [row.fits for row in rows] == list(RUNS)
    script = (ROOT / "scripts" / "test-interop").read_text()
    [peers] = re.findall(r"^rows=\((.*)\)$", script, re.MULTILINE)
    for row in rows:
        assert 1 <= len(row.lines) <= MAX_LINES, row
        peer = RUNS[row.fits].peer
        assert peer in peers.split() if peer else True, row
    here = {run.module for run in RUNS.values() if not run.peer}
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(f'"{module}>=' in pyproject for module in here)


@pytest.mark.slow
@pytest.mark.parametrize("row", table(), ids=lambda row: row.fits)
def test_the_lines_run(
    row: Row, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = RUNS[row.fits]
    if importlib.util.find_spec(found.module) is None:
        pytest.skip("run by `make test-interop`")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    found.play(row.lines, Given(tmp_path, request.getfixturevalue))

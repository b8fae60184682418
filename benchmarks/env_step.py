"""Cost of `env.step`, compared with an environment that does nothing.

    python benchmarks/env_step.py [--rounds 7] [--json]

Each row plays the same episode over and over. Its figures are microseconds of CPU time per step, without the resets:

- `bare`: `step` of a class that returns a constant text and a new `info` dict of the same size;
- `empty`: the same class made by `gymnasium.make`, which adds Gymnasium's own wrappers;
- `made`: ours, made by `gymnasium.make`;
- `unwrapped`: ours without the wrappers;
- `own`: the domain's `advance` and, at the end of the episode, the verifier, called directly.

`ratio` is made / (empty + own), and `strict` is made / (1.5 empty + own).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.spaces import AnyText
from stepgym.envs.types import Step, verify_states

FIGURES = ("bare", "empty", "made", "unwrapped", "own")
EPISODES = 300
"""Episodes per measurement."""
PLAIN = "Then I look at it again."
Play = Callable[[], object]


class Empty(gymnasium.Env[str, str]):
    """An environment that does nothing."""

    def __init__(self) -> None:
        self.observation_space = AnyText()
        self.action_space = AnyText()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        return "text", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        info = {
            "problem_id": "stepgym/Empty-v0/0",
            "index": 0,
            "num_steps": 1,
            "reply": "",
            "tool_tokens": 0,
            "level": 1,
        }
        return "text", 0.0, False, False, info


def episodes() -> dict[str, tuple[str, dict[str, Any], list[str]]]:
    """Return for each row the environment's id, its options and the steps of one episode of problem 0."""

    def worked(env_id: str, **options: Any) -> list[str]:
        return list(load_env(env_id, **options).problems[0].solution)

    fractions = "stepgym/Fractions-v0"
    return {
        "Countdown, 5 steps": (
            "stepgym/Countdown-v0",
            {"level": 10},
            worked("Countdown-v0", level=10),
        ),
        "Hanoi": ("stepgym/Hanoi-v0", {"level": 5}, worked("Hanoi-v0", level=5)),
        "Fractions": (fractions, {"level": 5}, worked("Fractions-v0", level=5)),
        "Math, 10 steps": ("stepgym/Math-v0", {}, 9 * ["3 + 4 = 7"] + ["<answer>7</answer>"]),
        "Math, 100 steps": ("stepgym/Math-v0", {"max_steps": 200}, [PLAIN] * 100),
        "Math, 1,000 steps": ("stepgym/Math-v0", {"max_steps": 2000}, [PLAIN] * 1000),
    }


def stepping(env: Any, options: dict[str, Any], texts: Sequence[str]) -> tuple[Play, Play]:
    """Return functions that reset an environment, and that reset it and play the steps."""

    def reset() -> None:
        env.reset(options=options)

    def play() -> None:
        env.reset(options=options)
        step = env.step
        for text in texts:
            step(text)

    return reset, play


def own_work(env: ReasoningEnv, texts: Sequence[str]) -> tuple[Play, Play]:
    """Return functions that make the first state, and that also play the steps and verify the end."""
    problem = env.problems[0]
    domain, verifier = env.domain, env.verifier

    def reset() -> None:
        domain.initial(problem)

    def play() -> None:
        state = domain.initial(problem)
        for text in texts:
            [state] = domain.advance([state], [Step(text)])
        if state.has_result:
            verify_states(verifier, [problem], [state])

    return reset, play


def cpu_s(run: Play, count: int) -> float:
    started = time.process_time()
    for _ in range(count):
        run()
    return time.process_time() - started


def measure(
    env_id: str, options: dict[str, Any], texts: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Return the median of each figure over interleaved rounds, and the range of `ratio`."""
    made = gymnasium.make(env_id, **options)
    ours: ReasoningEnv = made.unwrapped  # type: ignore[assignment]
    at = {"problem": ours.problems[0]}
    runs = {
        "bare": stepping(Empty(), {}, texts),
        "empty": stepping(gymnasium.make("Empty-v0"), {}, texts),
        "made": stepping(made, at, texts),
        "unwrapped": stepping(ours, at, texts),
        "own": own_work(ours, texts),
    }
    count = max(5, EPISODES * 10 // len(texts))
    found: dict[str, list[float]] = {name: [] for name in FIGURES}
    for _ in range(rounds):
        for name, (reset, play) in runs.items():
            seconds = cpu_s(play, count) - cpu_s(reset, count)
            found[name].append(seconds / count / len(texts) * 1e6)
    parts = list(zip(found["made"], found["empty"], found["own"]))
    found["ratio"] = [m / (e + o) for m, e, o in parts]
    found["strict"] = [m / (1.5 * e + o) for m, e, o in parts]
    row = {name: statistics.median(times) for name, times in found.items()}
    return row | {"ratio_least": min(found["ratio"]), "ratio_most": max(found["ratio"])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    gymnasium.register("Empty-v0", entry_point=Empty)
    rows = {name: measure(*episode, given.rounds) for name, episode in episodes().items()}
    if given.json:
        print(json.dumps(rows))
        return
    columns = (*FIGURES, "ratio", "strict")
    print(f"{'us per step':20}" + "".join(f"{name:>11}" for name in columns))
    for name, row in rows.items():
        print(f"{name:20}" + "".join(f"{row[column]:11.2f}" for column in columns))


if __name__ == "__main__":
    main()

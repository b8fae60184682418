"""A problem set, a domain and a verifier as one Gymnasium environment.

The action is the text of one step; the observation is the transcript so far, which is all that the agent may see.
`step` calls `domain.advance`, and `verifier.verify` once the episode has an answer.
"""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import gymnasium
from gymnasium.error import ResetNeeded

from stepgym.envs.illegal_steps import MAX_RETRIES, IllegalSteps, OnIllegal, num_illegal, read_rule
from stepgym.envs.left_out import without
from stepgym.envs.rewards import Rewards
from stepgym.envs.spaces import AnyText
from stepgym.envs.step_limit import StepLimit
from stepgym.envs.tokens import STEP_END, render, render_step
from stepgym.envs.types import (
    Closeable,
    Domain,
    End,
    Problem,
    ProblemSet,
    RefusesSteps,
    State,
    Status,
    Step,
    StepVerifier,
    Verdict,
    Verifier,
    WithLevel,
    WithSeed,
    verify_states,
)
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import SettingError, check_settings

MAX_SHUFFLED = 1_000_000
"""Sets up to this size are shuffled by a seed; from larger ones it draws with replacement."""
RESET_OPTIONS = ("index", "level", "problem")


class CommonOptions(TypedDict, total=False):
    """The options that every environment takes besides its own."""

    rewards: Rewards | Mapping[str, float]
    """Reward of each outcome."""
    max_steps: int | None
    """Steps until the episode is truncated; `None` is no limit."""
    render_mode: str | None
    """`ansi` or `human`; `None` draws nothing."""
    show_reasoning: bool
    """Whether `render` shows the text between `<think>` tags."""
    leave_out: str | Path | Sequence[str] | None
    """Ids of problems to leave out, or a report of `stepgym validate --json`."""
    on_illegal: OnIllegal | None
    """`end` or `retry`: what an illegal step does; `None` is the environment's default."""
    max_retries: int | None
    """With `retry`: illegal steps that an episode may have; `None` is no limit."""


class ReasoningEnv(gymnasium.Env[str, str]):
    """Problems solved step by step, with verified rewards.

    Searches use `problems`, `domain`, `verifier` and `step_verifier` directly. `reset(seed=s)` fixes the order of
    problems, and each further `reset()` moves to the next one; `reset(options={"index": i})`, `{"problem": problem}`
    and `{"level": l}` choose. Reading `state` saves an episode and setting it restores it. `verdict` is the verifier's
    full verdict on the last answer. It may quote the reference, so `info` carries only its status and score.
    """

    metadata = {"render_modes": ["ansi", "human"], "render_fps": 4}  # noqa: RUF012 (Gymnasium reads a plain dict)

    def __init__(
        self,
        problems: ProblemSet,
        *,
        domain: Domain,
        verifier: Verifier,
        step_verifier: StepVerifier | None = None,
        rewards: Rewards | Mapping[str, float] | None = None,
        max_steps: int | None = None,
        render_mode: str | None = None,
        show_reasoning: bool = False,
        leave_out: str | Path | Sequence[str] | None = None,
        on_illegal: OnIllegal | None = None,
        max_retries: int | None = MAX_RETRIES,
    ) -> None:
        """`leave_out` lists problems by id, or is the path of a report of `stepgym validate --json` that does.

        `on_illegal` says what an illegal step does (`stepgym.envs.illegal_steps`), `max_retries` how many an episode
        may have with `on_illegal="retry"`. With `None` the environment's own rule holds: an illegal move ends a game, and
        in free text every text is a step.
        """
        if leave_out is not None:
            problems = without(problems, leave_out)
        if len(problems) == 0:
            raise UserError(f"{problems.name} holds no problem")
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise SettingError(f"unknown render_mode {render_mode!r}; known: ansi, human, None")
        self.problems = problems
        self.domain = domain if max_steps is None else StepLimit(domain, max_steps)
        if on_illegal is not None:
            self.refuse_by(read_rule(on_illegal, max_retries))
        self.verifier = verifier
        self.step_verifier = step_verifier
        self.rewards = rewards if isinstance(rewards, Rewards) else _read_rewards(rewards or {})
        self._pays_steps = self.rewards.pays_steps
        if self._pays_steps and step_verifier is None:
            raise SettingError(
                f"{problems.name} has no step verifier, so single steps cannot be rewarded: {self.rewards}"
            )
        self.render_mode = render_mode
        self.show_reasoning = show_reasoning
        self.observation_space = AnyText()
        self.action_space = AnyText()
        self.verdict: Verdict | None = None
        self._order_seed: int | None = None
        self._order: list[int] | None = None
        self._position = 0
        self._problem: Problem | None = None
        self._state: State | None = None
        self._observed: State | None = None
        """The state whose transcript is kept, so that the next one only adds its last step."""
        self._transcript = ""
        self._tool_tokens = 0
        self._num_illegal = 0

    @property
    def env_id(self) -> str:
        """The id of the environment, such as `stepgym/Countdown-v0`."""
        return self.spec.id if self.spec is not None else self.problems.name

    @property
    def env_options(self) -> Mapping[str, Any]:
        """The options with which `load_env` made this environment.

        Empty for one that was made directly.
        """
        return {} if self.spec is None else self.spec.kwargs

    @property
    def problem(self) -> Problem:
        """The problem of the episode, with its reference; raises `ResetNeeded` before `reset`."""
        if self._problem is None:
            raise ResetNeeded("no problem yet: call reset() first")
        return self._problem

    @property
    def state(self) -> State:
        """The prompt and the steps so far; set it to restore an earlier state of the problem.

        Raises `ResetNeeded` before `reset`.
        """
        if self._state is None:
            raise ResetNeeded("no state yet: call reset() first")
        return self._state

    @state.setter
    def state(self, state: State) -> None:
        if not isinstance(state, State):
            raise TypeError(f"a state is a stepgym State, as read from env.state, not {state!r}")
        if state.prompt != self.domain.initial(self.problem).prompt:
            raise ValueError(
                f"this state belongs to another problem ({state.prompt[:60]!r}, here {self.problem.prompt[:60]!r}); "
                'go there first: reset(options={"problem": problem})'
            )
        self._state = state
        self.verdict = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[str, dict[str, Any]]:
        """Start an episode and return the prompt and `info`.

        `seed` fixes the order of problems. `options` may have `index`, `problem` or `level`; without them, the next
        problem is taken.
        """
        super().reset(seed=seed)
        options = options or {}
        for name in options:
            if name not in RESET_OPTIONS:
                raise unknown_name("reset option", str(name), RESET_OPTIONS, dotted=False)
        if seed is not None:
            self._seed_problems(seed)
        if "level" in options:
            self._set_level(options["level"])
        problem = options["problem"] if "problem" in options else self._pick(options.get("index"))
        if not isinstance(problem, Problem):
            raise TypeError(f"a problem is a stepgym Problem, not {problem!r}")
        self._problem = problem
        self._state = self.domain.initial(self._problem)
        self.verdict = None
        if self.render_mode == "human":
            print(self._drawn())
        return self._observation(), self.info

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Take one step: return observation, reward, terminated, truncated and `info`.

        `action` is the text of the step. `truncated` is true at the limit of steps (`max_steps`).
        """
        before = self.state
        if before.end is not None:
            raise ResetNeeded(
                f"the episode is over ({before.end}): call reset(), or set state to an earlier one"
            )
        if not isinstance(action, str):
            raise TypeError(f"an action is the text of one step, a str, not {action!r}")
        if action.endswith(STEP_END):
            action = action.removesuffix(STEP_END)
        [state] = self.domain.advance([before], [Step(str(action))])
        self._state = state
        reward = self._step_reward(state) if self._pays_steps else 0.0
        end = state.end
        if end is not None:
            self.verdict = self._verify(state)
            reward += self.rewards.outcome(self.verdict)
        if self.render_mode == "human":
            print(self._drawn(since=len(before.steps)))
        truncated = end is End.STEP_LIMIT
        terminated = end is not None and not truncated
        return self._observation(before), reward, terminated, truncated, self._info(state)

    def render(self) -> str | None:
        """Return the transcript in mode `ansi`; mode `human` prints as the episode goes."""
        return self._drawn() if self.render_mode == "ansi" else None

    def refuse_by(self, rule: IllegalSteps) -> None:
        """Use another rule for illegal steps.

        Raises `SettingError` if the environment has no illegal steps.
        """
        if not isinstance(self.domain, RefusesSteps):
            raise SettingError(
                f"{self.problems.name} takes no on_illegal: its domain has no method `refusing(rule)`"
            )
        self.domain = self.domain.refusing(rule)

    def close(self) -> None:
        """Release what domain and verifier hold: sandboxes and worker processes."""
        for part in (self.domain, self.verifier):
            if isinstance(part, Closeable):
                part.close()

    def _observation(self, before: State | None = None) -> str:
        """Return the transcript, and keep it: after a step from the state `before`, only that step is rendered."""
        state = self.state
        if state is self._observed:
            return self._transcript
        steps = state.steps
        if before is not None and before is self._observed and len(steps) == len(before.steps) + 1:
            self._transcript += render_step(steps[-1])
            self._tool_tokens += steps[-1].num_reply_tokens
            self._num_illegal += steps[-1].refused
        else:
            self._transcript = render(state)
            self._tool_tokens = sum(step.num_reply_tokens for step in steps)
            self._num_illegal = num_illegal(state)
        self._observed = state
        return self._transcript

    def _drawn(self, since: int = 0) -> str:
        state = self.state
        if since:
            state = State("", state.steps[since:], state.answer, state.end)
        text = render(state, reasoning=self.show_reasoning).strip("\n")
        if state.answer is not None:
            verdict = self.verdict.status.value if self.verdict else "not verified"
            return f"{text}\n= {state.answer}  [{verdict}]"
        if state.outcome is not None:
            return f"{text}\n= outcome {state.outcome:g}"
        return f"{text}\n[{state.end.value}]" if state.end else text

    def _verify(self, state: State) -> Verdict | None:
        if not state.has_result:
            return None
        [verdict] = verify_states(self.verifier, [self.problem], [state])
        return verdict

    def _step_reward(self, state: State) -> float:
        assert self.step_verifier is not None
        [verdicts] = self.step_verifier.verify_steps([self.problem], [state])
        return self.rewards.step(verdicts[-1])

    @property
    def info(self) -> dict[str, Any]:
        """What `reset` and `step` return beside the observation; a new dict at each call."""
        self._observation()
        return self._info(self.state)

    def _info(self, state: State) -> dict[str, Any]:
        problem, steps = self.problem, state.steps
        info: dict[str, Any] = {
            "problem_id": problem.id,
            "index": problem.index,
            "num_steps": len(steps),
            "reply": steps[-1].reply if steps else "",
            "num_illegal": self._num_illegal,
            "tool_tokens": self._tool_tokens,
        }
        if problem.level is not None:
            info["level"] = problem.level
        if state.end is not None:
            info["end"] = state.end.value
            info["verdict"] = self.verdict.status.value if self.verdict else "no_answer"
            info["score"] = self.verdict.score if self.verdict else 0.0
            info["undecided"] = self.verdict is not None and self.verdict.status is Status.UNDECIDED
        if state.answer is not None:
            info["answer"] = state.answer
        if state.outcome is not None:
            info["outcome"] = state.outcome
        return info

    def _seed_problems(self, seed: int) -> None:
        self._position = 0
        self._order_seed, self._order = None, None
        if isinstance(self.problems, WithSeed):
            self.problems = self.problems.with_seed(seed)
        else:
            self._order_seed = seed

    def _set_level(self, level: int) -> None:
        if not isinstance(self.problems, WithLevel):
            raise UserError(
                f"{self.problems.name} has no levels, so it cannot go to level {level!r}"
            )
        self.problems = self.problems.with_level(level)

    def _pick(self, index: int | None) -> Problem:
        if index is None:
            index = self._ordered(self._position)
            self._position += 1
        return self.problems[operator.index(index)]

    def _ordered(self, position: int) -> int:
        """Return the index at a position of the order: that of the set, or shuffled by `reset(seed=...)`."""
        size = len(self.problems)
        if self._order_seed is None:
            return position % size
        if size > MAX_SHUFFLED:
            return random.Random(f"{self._order_seed}/{position}").randrange(size)
        if self._order is None:
            self._order = list(range(size))
            random.Random(self._order_seed).shuffle(self._order)
        return self._order[position % size]


def _read_rewards(given: Mapping[str, float]) -> Rewards:
    check_settings("rewards", Rewards, given)
    return Rewards(**given)

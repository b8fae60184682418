"""`Episode`: what an agent holds while it works on one problem by itself.

Every step goes into the episode's tree, which becomes the record. A fork is another path in the same tree. An agent sees
the reward and the status of a verdict, never its reason, which may quote the reference. If it must not use verdicts, it
sees only the one that ends the episode.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.chat_backends import num_reasoning_tokens
from stepgym.agents.costs import charge_sandbox, uses_sandbox
from stepgym.agents.expansion import add_child
from stepgym.agents.rounds import verify_nodes
from stepgym.agents.types import NO_LIMIT, ROOT, Budget, NodeStatus, RunStopped, SearchTree
from stepgym.envs.rewards import Rewards
from stepgym.envs.tokens import ANSWER, ANSWER_END
from stepgym.envs.types import End, Environment, Problem, State, Step
from stepgym.sandbox.types import SandboxError

MAX_STEPS = 10_000
"""Steps of one episode, forks included; more are an agent that does not end."""


@runtime_checkable
class Agent(Protocol):
    """Works on a problem by itself: a loop of tool calls, somebody's framework, a program."""

    def act(self, episode: Episode) -> str | Awaitable[str | None] | None:
        """Return a last answer, or `None` if the episode is over. May be a coroutine function."""
        ...


@runtime_checkable
class HasRewards(Protocol):
    """An environment with rewards of its own."""

    rewards: Rewards
    """What an episode pays for each verdict; an environment without it has the default `Rewards()`."""


class StepResult(NamedTuple):
    """The result of a step."""

    text: str
    """The environment's reply; at the end of an episode without one, the verdict's status."""
    reward: float
    """The environment's reward, in its own unit."""
    done: bool
    """Whether the episode is over."""


class EpisodeOverError(RuntimeError):
    """A step or a model call after the end of the episode.

    The episode is done, was stopped, or has reached a limit; the message says which.
    """


@dataclass(frozen=True, kw_only=True)
class ModelCall:
    """One call of the model through an episode's endpoint, as it was recorded."""

    node: int
    """The episode's state and its place in the tree at that time."""
    request: Mapping[str, Any]
    """The body of the request: messages, tools and options. Tool results in it are foreign text."""
    response: Mapping[str, Any]
    """The body of the response: a chat completion or an error."""
    status: int
    """The HTTP status."""
    seconds: float
    """Elapsed time of the call."""
    token_ids: tuple[int, ...] | None = None
    """The first choice's tokens, if the model gives them."""
    token_log_probs: tuple[float | None, ...] | None = None
    """One per token; `None` if the model gives none."""

    def as_json(self) -> dict[str, Any]:
        """Return the call as records keep it."""
        return asdict(self)

    @property
    def context_ids(self) -> tuple[int, ...] | None:
        """The tokens of the prompt, if the model gives them."""
        ids = self.response.get("prompt_token_ids")
        return tuple(ids) if isinstance(ids, list) and ids and boundary.are_counts(ids) else None

    @property
    def text(self) -> str:
        """The first choice's visible text; empty for an error."""
        for choice in self.response.get("choices") or ():
            content = (choice.get("message") or {}).get("content")
            return content if isinstance(content, str) else ""
        return ""


def _raise(error: Exception) -> None:
    raise error


@dataclass(slots=True)
class EpisodeTree:
    """All paths and model calls of one episode; shared by its forks, which may run in threads."""

    env: Environment
    """The environment."""
    problem: Problem
    """What is asked."""
    tree: SearchTree
    """The states of all paths."""
    budget: Budget = NO_LIMIT
    """What the episode may spend."""
    see_verdicts: bool = True
    """Whether the ends of forks show their verdict. If not, the episode is over once its own path has ended."""
    serve: Callable[[Episode], tuple[str, str]] | None = None
    """Returns the URL of an endpoint for an episode, and the model's name; `None` if the run has no policy."""
    is_run_spent: Callable[[], bool] = bool
    """Whether the budget of all episodes together is spent."""
    stop_run: Callable[[SandboxError | RunStopped], None] = _raise
    """Stops the run that the episode belongs to."""
    calls: list[ModelCall] = field(default_factory=list)
    """The recorded model calls, in order."""
    calls_in_flight: int = 0
    """Calls that have begun and have not ended."""
    num_steps: int = 0
    """Steps so far, repeated ones included."""
    started: float = field(default_factory=time.perf_counter)
    """`time.perf_counter()` at the start."""
    stopped: str = ""
    """Why the episode was stopped from outside; empty while it runs."""
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while a path changes what all share."""

    def charge(self, usd: float) -> None:
        """Add the US dollars that a model call cost."""
        with self.lock:
            self.tree.usage.usd += usd

    def why_no_call(self) -> str:
        """Return why the model may not be called any more; empty if it may."""
        if self.stopped:
            return self.stopped
        self.tree.usage.wall_s = time.perf_counter() - self.started
        if self.budget.is_spent(self.tree.usage):
            return "the budget is spent"
        return "the budget of the run is spent" if self.is_run_spent() else ""

    def why_no_step(self) -> str:
        """Return why no further step may be taken; empty if it may.

        A budget of tokens does not forbid steps.
        """
        if self.stopped:
            return self.stopped
        self.tree.usage.wall_s = time.perf_counter() - self.started
        limits = Budget(sandbox_s=self.budget.sandbox_s, wall_s=self.budget.wall_s)
        if limits.is_spent(self.tree.usage):
            return "the budget is spent"
        return f"more than {MAX_STEPS} steps" if self.num_steps >= MAX_STEPS else ""


class Episode:
    """One problem, played by an agent.

    Safe to use from several threads if each has a fork of its own.
    """

    def __init__(self, shared: EpisodeTree, node: int = ROOT, *, is_fork: bool = False) -> None:
        self._shared = shared
        self._node = node
        self._is_fork = is_fork
        self._endpoint: tuple[str, str] | None = None

    @property
    def prompt(self) -> str:
        """The problem as the agent sees it."""
        return self.state.prompt

    @property
    def state(self) -> State:
        """The prompt and the steps so far."""
        return self._shared.tree.states[self._node]

    @property
    def done(self) -> bool:
        """Whether the episode is over."""
        return self.state.done

    @property
    def node(self) -> int:
        """The episode's present node in its tree."""
        return self._node

    @property
    def model(self) -> str:
        """The name to give as `model` to the endpoint."""
        return self._served()[1]

    @property
    def endpoint(self) -> str:
        """The base URL of an OpenAI-compatible server that records every call on this episode.

        Raises `RuntimeError` if the run has no policy to serve.
        """
        return self._served()[0]

    def _served(self) -> tuple[str, str]:
        with self._shared.lock:  # threads of one agent get one URL
            if self._endpoint is None:
                if self._shared.serve is None:
                    raise RuntimeError(
                        "this run has no policy to serve: give solve(..., policy=...)"
                    )
                self._endpoint = self._shared.serve(self)
            return self._endpoint

    @property
    def calls(self) -> list[ModelCall]:
        """The model calls so far, of all forks."""
        return list(self._shared.calls)

    def fork(self) -> Episode:
        """Return another episode in the same state.

        Both continue separately, in the same tree.
        """
        return Episode(self._shared, self._node, is_fork=True)

    def restart(self, start: Episode) -> None:
        """Return to the state of another episode of the same tree."""
        self._node = start._node

    def step(self, text: str) -> StepResult:
        """Take one step. Raises `EpisodeOverError` after the end."""
        if not isinstance(text, str):
            raise TypeError(f"a step is text, a str, not {text!r:.80}")
        shared = self._shared
        if self.done:
            raise EpisodeOverError(f"the episode is over: {self.state.end.value}")  # type: ignore[union-attr]
        if why := shared.why_no_step():
            raise EpisodeOverError(f"the episode was stopped: {why}")
        after = self._advance(self._written(text))
        if isinstance(after, Failure):
            self._fail(after)
            raise EpisodeOverError(f"the environment failed: {after.reason}")
        return self._move(after)

    def answer(self, text: str) -> StepResult:
        """End the episode with an answer, whatever the environment's form of answers is."""
        if self.done:
            raise EpisodeOverError(f"the episode is over: {self.state.end.value}")  # type: ignore[union-attr]
        step = self._written(f"{ANSWER}{text}{ANSWER_END}")
        after = self._advance(step)
        if isinstance(after, Failure) or after.end is not End.ANSWERED:
            state = self.state
            after = State(
                state.prompt,
                (*state.steps, step),
                text,
                End.ANSWERED,
                state.public,
                system=state.system,
            )
        return self._move(after)

    def _written(self, text: str) -> Step:
        """Return the step, with the model's tokens if its text is the model's last output."""
        mine = [call for call in self._shared.calls if call.node == self._node and call.text]
        if not mine or mine[-1].text.strip() != text.strip():
            return Step(text)
        call = mine[-1]
        usage = call.response.get("usage") or {}
        return replace(
            Step(text),
            num_tokens=_count(usage.get("completion_tokens")),
            num_reasoning_tokens=num_reasoning_tokens(call.response),
            token_ids=call.token_ids,
            token_log_probs=call.token_log_probs,
            context_ids=call.context_ids if call.token_ids else None,
        )

    def _advance(self, step: Step) -> State | Failure:
        shared, started = self._shared, time.perf_counter()
        domain = shared.env.domain
        (after,) = boundary.advance(domain, [self.state], [step], owners=[0])
        if isinstance(after, State) and after.steps[-1].reply:
            with shared.lock:
                shared.tree.usage.tool_tokens += after.steps[-1].num_reply_tokens
                if uses_sandbox(domain):
                    charge_sandbox([shared.tree], [0], time.perf_counter() - started)
        return after

    def _move(self, after: State) -> StepResult:
        """Go to the node of a state, verify its answer, and pay the reward."""
        shared, tree = self._shared, self._shared.tree
        with shared.lock:
            if shared.stopped:
                raise EpisodeOverError(f"the episode was stopped: {shared.stopped}")
            shared.num_steps += 1
            tree.visits[ROOT] += self._node == ROOT
            self._node = child = add_child(tree, self._node, after)
            tree.visits[child] += 1
        if after.has_result and child not in tree.verdicts:
            verify_nodes(shared.env.verifier, [shared.problem], [tree], nodes=[(0, child)])
        if after.done and not shared.see_verdicts:
            if self._is_fork:
                return StepResult(after.steps[-1].reply, 0.0, True)
            shared.stopped = shared.stopped or "the episode is over"
        return StepResult(self._reply(after), self._reward(after), after.done)

    def _reply(self, state: State) -> str:
        reply = state.steps[-1].reply
        if reply or not state.done:
            return reply
        verdict = self._shared.tree.verdicts.get(self._node)
        return "no answer" if verdict is None else verdict.status.value

    def _reward(self, state: State) -> float:
        env = self._shared.env
        rewards = env.rewards if isinstance(env, HasRewards) else Rewards()
        reward = 0.0
        if rewards.pays_steps and env.step_verifier is not None:
            (verdicts,) = boundary.verify_steps(
                env.step_verifier, [self._shared.problem], [state], owners=[0]
            )
            if not isinstance(verdicts, Failure):
                reward = rewards.step(verdicts[-1])
        if state.done:
            reward += rewards.outcome(self._shared.tree.verdicts.get(self._node))
        return reward

    def _fail(self, failure: Failure) -> None:
        with self._shared.lock:
            self._shared.tree.status[self._node] = NodeStatus.FAILED
            boundary.note(self._shared.tree, self._node, failure.reason)


def _count(number: object) -> int:
    return int(number) if boundary.is_count(number) else 0  # type: ignore[call-overload]

"""Runs agents that drive themselves: one thread per episode, and whatever an agent does is a record.

An agent that raises, hangs or does not end has failed on its problem, with a note; the others go on. A thread cannot
be ended from outside: one that hangs is abandoned, and its episode refuses further steps and model calls. A sandbox
or a server that is gone, and a budget in US dollars that is spent, stop the run: finished episodes
are yielded, and unfinished ones leave no record.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.chat_backends import backend_of
from stepgym.agents.endpoint import RecordingServer
from stepgym.agents.episode import Agent, Episode, EpisodeTree, ModelCall
from stepgym.agents.episode_env import EpisodeEnv
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    NodeStatus,
    Policy,
    RunStopped,
    SearchTree,
    Usage,
)
from stepgym.envs.types import Environment, Problem, State
from stepgym.sandbox.types import SandboxError

TIMEOUT_S = 600.0
"""For an episode without a time limit of its own."""
AHEAD = 4
"""Episodes that may be finished or running before the first is done, in multiples of those that run at once."""

AgentLike = Agent | Callable[[Any], Any]
"""An agent, or a function: of the episode if its parameter is named `episode`, else of a Gymnasium environment."""


@dataclass(slots=True)
class AgentEpisode:
    """One problem's episode: running, or finished."""

    shared: EpisodeTree
    episode: Episode
    deadline: float
    slots: threading.Semaphore
    """Released once the episode is finished."""
    finished: threading.Event = field(default_factory=threading.Event)
    lost: SandboxError | RunStopped | None = None
    """Why the run was stopped before the episode was finished."""

    @property
    def problem(self) -> Problem:
        return self.shared.problem

    @property
    def tree(self) -> SearchTree:
        return self.shared.tree

    @property
    def calls(self) -> list[ModelCall]:
        return self.shared.calls

    @property
    def best(self) -> int:
        """The node that the agent ended at; if it is not an end, the last end that has a result."""
        tree, node = self.tree, self.episode.node
        if tree.states[node].done or tree.status[ROOT] is NodeStatus.FAILED:
            return node
        answered = [at for at, state in enumerate(tree.states) if state.has_result]
        return answered[-1] if answered else node


def run_agent(
    agent: AgentLike,
    problems: Iterator[Problem],
    *,
    env: Environment,
    policy: Callable[[], Policy] | None = None,
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    see_verdicts: bool = True,
    num_parallel: int = 64,
) -> Iterator[AgentEpisode]:
    """Let an agent play problems, `num_parallel` at a time, and yield the finished episodes in order.

    `policy` returns what the episodes' endpoints serve, and is called if an agent asks for its endpoint. `budget.wall_s`
    is also the time after which an agent counts as hanging (`TIMEOUT_S` without it). `run_budget` limits the model
    calls of all episodes together. Raises `SandboxError` if the environment's sandbox is lost and `RunStopped` if the
    model's server is, or its money is spent, after yielding the episodes that were finished before.
    """
    run = _AgentRun(
        agent,
        env,
        policy,
        budget or NO_LIMIT,
        run_budget or NO_LIMIT,
        see_verdicts,
        threading.Semaphore(num_parallel),
    )
    running: deque[AgentEpisode] = deque()
    try:
        while True:
            num_new = 0 if run.lost else AHEAD * num_parallel - len(running)
            for problem in islice(problems, num_new):
                _wait_for_slot(run.slots, running)
                running.append(run.start(problem))
                if running[0].finished.is_set():
                    break
            if not running:
                break
            first = running.popleft()
            _wait(first)
            run.retire(first)
            if first.lost is None:
                yield first
        if run.lost is not None:
            raise run.lost
    finally:
        for one in running:
            one.shared.stopped = "the run has ended"
        run.close()


@dataclass
class _AgentRun:
    """What the episodes of a run share. The server starts when the first agent asks for its endpoint."""

    agent: AgentLike
    env: Environment
    policy: Callable[[], Policy] | None
    budget: Budget
    run_budget: Budget
    see_verdicts: bool
    slots: threading.Semaphore
    started: float = field(default_factory=time.perf_counter)
    retired: Usage = field(default_factory=Usage)
    running: dict[int, AgentEpisode] = field(default_factory=dict)
    lost: SandboxError | RunStopped | None = None
    """What stopped the run."""
    server: RecordingServer | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, problem: Problem) -> AgentEpisode:
        """Start an agent's thread on a problem; a problem that the domain cannot start has failed at once."""
        state = boundary.attempt(lambda: self.env.domain.initial(problem), "domain")
        first = state if isinstance(state, State) else State(problem.prompt)
        shared = EpisodeTree(
            self.env,
            problem,
            SearchTree(problem.id, [first]),
            self.budget,
            self.see_verdicts,
            is_run_spent=self.is_spent,
            stop_run=self.stop,
        )
        if self.policy is not None:
            shared.serve = partial(self.serve, shared)
        timeout_s = TIMEOUT_S if self.budget.wall_s is None else self.budget.wall_s
        deadline = time.perf_counter() + timeout_s
        one = AgentEpisode(shared, Episode(shared), deadline, self.slots)
        with self.lock:
            self.running[id(shared)] = one
        if self.lost is not None:
            _finish(one, lost=self.lost)
        elif isinstance(state, State):
            threading.Thread(target=_play, args=(self.agent, one), daemon=True).start()
        else:
            wrong = f"domain: initial returned {state!r:.80} instead of a State"
            _finish(one, state if isinstance(state, Failure) else Failure(wrong))
        return one

    def serve(self, shared: EpisodeTree, episode: Episode) -> tuple[str, str]:
        """Return an episode's URL and the name of the model there."""
        assert self.policy is not None
        with self.lock:
            if self.server is None:
                self.server = RecordingServer(backend_of(self.policy()))
        return self.server.url(episode, shared), self.server.backend.model

    def is_spent(self) -> bool:
        """Return whether all episodes together have reached a limit."""
        if self.run_budget is NO_LIMIT:
            return False
        with self.lock:
            total = sum((one.tree.usage for one in self.running.values()), self.retired)
        return self.run_budget.is_spent(replace(total, wall_s=time.perf_counter() - self.started))

    def stop(self, error: SandboxError | RunStopped) -> None:
        """Stop all episodes that run, and start no further ones."""
        with self.lock:
            self.lost = self.lost or error
            running = list(self.running.values())
        for one in running:
            _finish(one, lost=self.lost)

    def retire(self, one: AgentEpisode) -> None:
        """Drop a finished episode and keep its usage."""
        with self.lock:
            del self.running[id(one.shared)]
            self.retired += one.tree.usage
            server = self.server
        if server is not None:
            server.forget(one.shared)

    def close(self) -> None:
        with self.lock:
            if self.server is not None:
                self.server.close()


def _play(agent: AgentLike, one: AgentEpisode) -> None:
    """Play one episode to its end, in a thread of its own."""
    failure = None
    try:
        result = boundary.attempt(lambda: _act(agent, one.episode), "agent")
        if isinstance(result, Failure):
            failure = result
        elif result is not None and not one.episode.done:
            one.episode.answer(result)
    except (SandboxError, RunStopped) as error:
        one.shared.stop_run(error)
    except BaseException as error:  # noqa: BLE001 - `sys.exit` in an agent ends its episode, not the run
        failure = Failure(f"agent: {type(error).__name__}: {error}"[: boundary.MAX_REASON_CHARS])
    _finish(one, failure)


def _act(agent: AgentLike, episode: Episode) -> str | None:
    """Call the agent, wherever it takes an episode or an environment and whether it is a coroutine or not."""
    if isinstance(agent, Agent):
        result: Any = agent.act(episode)
    else:
        result = agent(episode if takes_episode(agent) else EpisodeEnv(episode))
    if inspect.isawaitable(result):
        result = asyncio.run(_awaited(result))
    if result is not None and not isinstance(result, str | int | float):
        return None  # an agent may return whatever it wants; only text and numbers are answers
    return None if result is None or isinstance(result, bool) else str(result)


async def _awaited(result: Any) -> Any:
    return await result


def takes_episode(function: Callable[..., Any]) -> bool:
    """Return whether the first parameter of a function is named `episode`."""
    parameters = list(inspect.signature(function).parameters)
    return bool(parameters) and parameters[0] == "episode"


def _finish(
    one: AgentEpisode,
    failure: Failure | None = None,
    *,
    lost: SandboxError | RunStopped | None = None,
) -> None:
    """Close an episode, once; an agent that fails after the end of its episode is only noted."""
    shared = one.shared
    with shared.lock:
        if one.finished.is_set():
            return
        shared.tree.usage.wall_s = time.perf_counter() - shared.started
        one.lost = lost
        why = "the agent has ended" if lost is None else f"the run was stopped: {lost}"
        shared.stopped = shared.stopped or why
        if failure is not None:
            boundary.note(shared.tree, one.episode.node, failure.reason)
            if not one.episode.done:
                shared.tree.status[one.episode.node] = NodeStatus.FAILED
        one.finished.set()
    one.slots.release()


def _wait(one: AgentEpisode) -> None:
    """Wait until an episode is finished, at most to its deadline."""
    if not one.finished.wait(max(0.0, one.deadline - time.perf_counter())):
        _time_out(one)


def _wait_for_slot(slots: threading.Semaphore, running: deque[AgentEpisode]) -> None:
    """Wait until an episode may start; those whose time is over make room."""
    while not slots.acquire(timeout=0.05):
        for one in running:
            if time.perf_counter() > one.deadline:
                _time_out(one)


def _time_out(one: AgentEpisode) -> None:
    seconds = time.perf_counter() - one.shared.started
    _finish(one, Failure(f"agent: no end after {seconds:.1f} s"))

"""Answers to one conversation by search: users see the chosen solution only.

Everything else is internal reasoning.

Many conversations may think at once, each in its own thread; their calls of the policy and the reward model are merged into
batches. Not covered: a verifier. Answers are chosen by votes and by the reward model.
"""

from __future__ import annotations

import copy
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from stepgym.agents.record import make_record
from stepgym.agents.registry import load_search
from stepgym.agents.searching import bind_domain, run_search
from stepgym.agents.types import (
    Budget,
    EpisodeRecord,
    Policy,
    Request,
    RewardModel,
    Search,
    SearchTree,
    Seeded,
    ServesConcurrently,
)
from stepgym.envs.text_domain import INSTRUCTIONS, TextDomain
from stepgym.envs.tokens import visible_text
from stepgym.envs.types import Domain, Problem, State, Step

ENV_ID = "chat"
EFFORTS = {"low": 1_000, "medium": 4_000, "high": 16_000}
"""`reasoning_effort` -> new tokens that a search may spend."""

T = TypeVar("T")


class Message(NamedTuple):
    """One message of a conversation."""

    role: str
    """`system`, `developer`, `user`, `assistant` or `tool`."""
    content: str
    """The message's text."""


class Thought(NamedTuple):
    """The result of a search."""

    content: str
    """The chosen solution as the user sees it; empty if the policy gave none."""
    summary: str
    """One line about the hidden reasoning."""
    finish_reason: str
    """`stop` if the solution has an answer, else `length`."""
    prompt_tokens: int
    """Tokens that the model read, over all calls of the search; what a cache held is not counted."""
    visible_tokens: int
    """Tokens of the chosen solution that the user sees."""
    reasoning_tokens: int
    """All other tokens that were generated."""
    record: EpisodeRecord
    """The whole tree, for the operator."""


class ThinkingError(RuntimeError):
    """The policy, the reward model or the search failed before there was an answer."""


@dataclass
class Thinker:
    """Answers conversations with one agent, policy and reward model."""

    policy: Policy
    """Proposes the steps."""
    reward_model: RewardModel | None = None
    """Scores them; `None` for a search without one."""
    agent: str = "mcts"
    """Name of the search."""
    agent_settings: Mapping[str, Any] = field(default_factory=dict)
    """The search's settings."""
    efforts: Mapping[str, int] = field(default_factory=lambda: dict(EFFORTS))
    """`reasoning_effort` -> new tokens that a search may spend."""
    domain: Domain = field(default_factory=lambda: TextDomain(sandbox=None))
    """How steps change states."""

    def __post_init__(self) -> None:
        """Raises `UserError` for an unknown agent or setting."""
        load_search(self.agent, **self.agent_settings)
        self.policy = bind_domain(self.policy, self.domain)
        self.reward_model = bind_domain(self.reward_model, self.domain)
        self._propose = MergedCalls(self._propose_all)
        self._score = MergedCalls(self._score_all)

    def think(
        self,
        messages: Sequence[Message],
        *,
        effort: str = "medium",
        max_tokens: int | None = None,
        seed: int | None = None,
        cancelled: threading.Event | None = None,
    ) -> Thought:
        """Search for an answer to a conversation.

        `effort` is one of `efforts`; `max_tokens` limits all new tokens; setting `cancelled` ends the search after
        its round.

        The same seed, messages and effort give the same answer if the policy is deterministic. Raises `ThinkingError`.
        """
        problem = Problem(f"{ENV_ID}/{uuid.uuid4()}", prompt_of(messages), "")
        limit = min(self.efforts[effort], max_tokens or self.efforts[effort])
        search = load_search(self.agent, seed=seed or 0, **self.agent_settings)
        [tree] = run_search(
            [problem],
            domain=self.domain,
            policy=self._shared_policy(seed),
            reward_model=None if self.reward_model is None else _MergedScores(self._score),
            search=Cancellable(search, cancelled or threading.Event()),
            budget=Budget(new_tokens=limit),
        )
        return _thought(problem, tree, search.best(tree), {"agent": self.agent, "effort": effort})

    def _shared_policy(self, seed: int | None) -> Policy:
        """Return the policy as one search calls it: merged with others, alone with a seed, or directly to its server."""
        is_served = isinstance(self.policy, ServesConcurrently)
        if seed is None:
            return self.policy if is_served else _Merged(self._propose)
        policy = copy.copy(self.policy)
        if isinstance(policy, Seeded):
            policy.seed = seed
        return policy if is_served else _Locked(policy, self._propose.lock)

    def _propose_all(self, items: Sequence[tuple[State, int]]) -> list[list[Step]]:
        states, counts = zip(*items)
        return self.policy.propose(states, counts)

    def _score_all(self, states: Sequence[State]) -> list[list[float]]:
        assert self.reward_model is not None
        return self.reward_model.score(states)


def prompt_of(messages: Sequence[Message]) -> str:
    """Return a conversation as one prompt.

    A single user message is returned as it is; otherwise each message has its role before it.
    """
    if len(messages) == 1 and messages[0].role == "user":
        text = messages[0].content
    else:
        text = "\n\n".join(f"{m.role.capitalize()}: {m.content}" for m in messages)
    return f"{text}\n\n{INSTRUCTIONS}"


@dataclass(frozen=True)
class Cancellable:
    """A search that stops selecting once an event is set."""

    search: Search
    """The search that selects."""
    cancelled: threading.Event
    """Set by another thread to end the search after its present round."""

    def select(self, tree: SearchTree) -> list[Request]:
        return [] if self.cancelled.is_set() else list(self.search.select(tree))

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        self.search.backup(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return self.search.best(tree)


class MergedCalls:
    """Merges calls from many threads into batches.

    While one batch runs, further calls wait and form the next batch.
    """

    def __init__(self, call: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._call = call
        self._waiting: list[tuple[Sequence[Any], Future[list[Any]]]] = []
        self._state = threading.Lock()
        self.lock = threading.Lock()
        """Held while a batch runs."""

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        """Return one result per item; an exception of the batch is raised in every caller."""
        mine: Future[list[Any]] = Future()
        with self._state:
            self._waiting.append((items, mine))
        with self.lock:
            if not mine.done():
                self._run()
        return mine.result()

    def _run(self) -> None:
        with self._state:
            batch, self._waiting = self._waiting, []
        try:
            results = list(self._call([item for items, _ in batch for item in items]))
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        at = 0
        for items, future in batch:
            future.set_result(results[at : at + len(items)])
            at += len(items)


@dataclass(frozen=True)
class _Merged:
    calls: MergedCalls

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return self.calls(list(zip(states, counts)))


@dataclass(frozen=True)
class _MergedScores:
    calls: MergedCalls

    def score(self, states: Sequence[State]) -> list[list[float]]:
        return self.calls(list(states))


@dataclass(frozen=True)
class _Locked:
    policy: Policy
    lock: threading.Lock

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        with self.lock:
            return self.policy.propose(states, counts)


def _thought(problem: Problem, tree: SearchTree, best: int, agent: Mapping[str, Any]) -> Thought:
    state = tree.states[best]
    words = [visible_text(step.text) for step in state.steps]
    visible = sum(step.num_tokens - step.num_reasoning_tokens for step in state.steps)
    visible = min(visible, tree.usage.new_tokens)
    answers = Counter(s.answer for s in tree.states if s.answer is not None)
    agreeing = answers[state.answer] if state.answer is not None else 0
    record = make_record(tree, problem, best=best, verdict=None, env_id=ENV_ID, agent=agent)
    if record.verdict == "failed":
        raise ThinkingError(record.note)
    return Thought(
        content="\n\n".join(filter(None, words)),
        summary=(
            f"Searched {len(tree) - 1} steps and found {answers.total()} solutions,"
            f" {agreeing} of them with this answer."
        ),
        finish_reason="length" if state.answer is None else "stop",
        prompt_tokens=tree.usage.prompt_tokens,
        visible_tokens=visible,
        reasoning_tokens=tree.usage.new_tokens - visible,
        record=record,
    )

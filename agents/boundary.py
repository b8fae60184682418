"""Calls to plug-ins (policy, reward model, domain, verifier, search), with their failures as data.

One call serves all problems. If it raises or returns a wrong shape, each problem is asked again alone, so that only
the problem at fault fails. `KeyboardInterrupt`, `SystemExit`, `SandboxError` and `RunStopped` are not caught: a sandbox
or a server that is gone says nothing about an answer.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from operator import gt
from types import NoneType
from typing import Any, NamedTuple, SupportsIndex, TypeVar

from stepgym.agents.types import (
    ROOT,
    NodeStatus,
    Policy,
    PolicyError,
    Request,
    RewardModel,
    RunStopped,
    Search,
    SearchTree,
    SharesBudget,
)
from stepgym.envs.types import (
    Domain,
    Problem,
    State,
    Status,
    Step,
    StepVerifier,
    Verdict,
    Verifier,
    verify_states,
)
from stepgym.sandbox.types import SandboxError

MAX_STEP_CHARS = 200_000
MAX_REASON_CHARS = 2000
MAX_LOG_PROB = 1e-6
"""Rounding may lift a probability a little above 1."""
COUNTS = ("num_tokens", "num_prompt_tokens", "num_reasoning_tokens")
OPEN = NodeStatus.OPEN
T = TypeVar("T")


class Failure(NamedTuple):
    """What went wrong in place of a result."""

    reason: str


class Proposal(NamedTuple):
    """The usable steps that a policy gave for one state, and the faults of the others."""

    steps: list[Step]
    fault: str = ""


class ShapeError(ValueError):
    """A plug-in returned a value that its protocol does not allow."""


def attempt(call: Callable[[], T], plug_in: str) -> T | Failure:
    """Return `call()`; if it raises, return a `Failure` of the named plug-in."""
    try:
        return call()
    except (SandboxError, RunStopped):
        raise
    except Exception as error:  # noqa: BLE001 - a plug-in's failure is recorded, not raised
        return Failure(f"{plug_in}: {type(error).__name__}: {error}"[:MAX_REASON_CHARS])


def call_isolated(
    call: Callable[..., list[T]],
    owners: Sequence[int],
    plug_in: str,
    *,
    items: Sequence[Sequence[Any]] = (),
    again: list[int] | None = None,
) -> list[T] | list[T | Failure]:
    """Return `call(*items)`; if it fails, call it once per owner.

    The result and every sequence in `items` have one entry per entry of `owners`. Owners that were called a second
    time are appended to `again`.
    """
    first = attempt(lambda: call(*[list(own) for own in items]), plug_in)
    if not isinstance(first, Failure):
        return list(first)
    results: list[T | Failure] = [first] * len(owners)
    if len(set(owners)) > 1:
        for owner in dict.fromkeys(owners):
            places = [place for place, other in enumerate(owners) if other == owner]
            own_items = [[sequence[place] for place in places] for sequence in items]
            alone = attempt(lambda: call(*own_items), plug_in)  # noqa: B023 (called at once)
            if again is not None:
                again.append(owner)
            for i, place in enumerate(places):
                results[place] = alone if isinstance(alone, Failure) else alone[i]
    return results


def propose(
    policy: Policy,
    states: Sequence[State],
    counts: Sequence[int],
    *,
    owners: Sequence[int],
    again: list[int] | None = None,
) -> tuple[list[list[Step]], dict[int, str]]:
    """Ask the policy for steps; return each state's usable steps, and faults by position.

    A state whose problem failed gets no step and a fault.
    """

    def call(states: Sequence[State], counts: Sequence[int]) -> list[Any]:
        faults: Mapping[int, str] = {}
        try:
            answers = policy.propose(states, counts)
        except PolicyError as error:
            if error.steps is None:
                raise
            answers, faults = error.steps, error.failures
        _check_length(answers, states, "lists of steps for", "states")
        if not faults and all_usable(answers, counts):
            return answers
        return [
            usable(answer, count, fault=faults.get(i, ""))
            for i, (answer, count) in enumerate(zip(answers, counts))
        ]

    given: Sequence[Any] = call_isolated(
        call, owners, "policy", items=(states, counts), again=again
    )
    if set(map(type, given)) <= {list}:
        return list(given), {}
    steps: list[list[Step]] = []
    faults = {}
    for i, own in enumerate(given):
        if isinstance(own, Failure):
            own = Proposal([], own.reason)
        elif not isinstance(own, Proposal):
            own = Proposal(own)
        steps.append(own.steps)
        if own.fault:
            faults[i] = own.fault
    return steps, faults


def all_usable(answers: Sequence[Sequence[Step]], counts: Sequence[int]) -> bool:
    """Return whether a whole batch of proposals can be used as it is; `usable` finds out what cannot."""
    if not set(map(type, answers)) <= {list} or any(map(gt, map(len, answers), counts)):
        return False
    # One pass without calls, because collecting each field and the set of its types takes longer.
    return not [
        step
        for steps in answers
        for step in steps
        if type(step) is not Step
        or type(step.text) is not str
        or not 0 < len(step.text) <= MAX_STEP_CHARS
        or type(step.num_tokens) is not int
        or type(step.num_reasoning_tokens) is not int
        or type(step.num_prompt_tokens) is not int
        or not 0 <= step.num_reasoning_tokens <= step.num_tokens
        or step.num_prompt_tokens < 0
        or step.token_ids  # looked at one by one: no model takes less time
        or step.usd
        or not (
            (log_prob := step.log_prob) is None
            or (type(log_prob) is float and -math.inf < log_prob <= MAX_LOG_PROB)
        )
    ]


def usable(answer: object, count: int, *, fault: str = "") -> Proposal:
    """Keep what can be used of one state's proposal; the fault names the first thing that cannot."""
    if not isinstance(answer, list | tuple):
        return Proposal(
            [], fault or f"policy returned {type(answer).__name__} instead of a list of steps"
        )
    steps = []
    for step in answer[:count]:
        repaired, wrong = _repair(step)
        fault = fault or wrong
        if repaired is not None:
            steps.append(repaired)
    if len(answer) > count:
        fault = fault or f"policy returned {len(answer)} steps, but {count} were asked for"
    return Proposal(steps, fault)


def _repair(step: object) -> tuple[Step | None, str]:
    """Return the step with impossible numbers replaced (`None` if it is unusable) and its faults."""
    if not isinstance(step, Step):
        return None, f"policy returned {type(step).__name__} instead of a Step"
    if not isinstance(step.text, str):
        return None, f"policy returned a Step whose text is {type(step.text).__name__}"
    if not step.text and not step.final:
        return None, "policy returned an empty step"
    if len(step.text) > MAX_STEP_CHARS:
        return (
            None,
            f"policy returned a step of {len(step.text)} characters; the limit is {MAX_STEP_CHARS}",
        )
    wrong = ""
    counts: dict[str, Any] = {name: getattr(step, name) for name in COUNTS}
    for name, number in counts.items():
        if not is_count(number):
            wrong = wrong or f"policy returned {name} {number!r:.80}; taken as 0"
        counts[name] = int(number) if is_count(number) else 0
    step = replace(step, **counts)
    if step.num_reasoning_tokens > step.num_tokens:
        wrong = wrong or (
            f"policy returned {step.num_reasoning_tokens} reasoning tokens of {step.num_tokens} tokens; "
            "taken as all of them"
        )
        step = replace(step, num_reasoning_tokens=step.num_tokens)
    if not (isinstance(step.usd, float | int) and 0.0 <= step.usd < math.inf):
        wrong = wrong or f"policy returned usd {step.usd!r:.80}; taken as 0"
        step = replace(step, usd=0.0)
    if not _are_tokens(step):
        wrong = wrong or "policy returned unusable token ids or log-probabilities; taken as unknown"
        step = replace(step, token_ids=None, token_log_probs=None)
    log_prob = step.log_prob
    if log_prob is not None and not (
        isinstance(log_prob, float | int) and -math.inf < log_prob <= MAX_LOG_PROB
    ):
        wrong = f"policy returned log-probability {log_prob!r}; taken as unknown"
        step = replace(step, log_prob=None)
    return step, wrong


def _are_tokens(step: Step) -> bool:
    """Return whether a step's token ids and their log-probabilities are such, and as many."""
    ids, log_probs = step.token_ids, step.token_log_probs
    if ids is None:
        return log_probs is None
    if not isinstance(ids, tuple) or not are_counts(ids):
        return False
    if log_probs is None:
        return True
    return (
        isinstance(log_probs, tuple)
        and len(log_probs) == len(ids)
        and all(
            value is None or (isinstance(value, float | int) and value <= MAX_LOG_PROB)
            for value in log_probs
        )
    )


def are_counts(numbers: Sequence[object]) -> bool:
    """Return whether all are whole numbers of 0 or more; plain integers are checked fast."""
    if set(map(type, numbers)) == {int}:
        return min(numbers) >= 0  # type: ignore[type-var, operator]
    return all(map(is_count, numbers))


def is_count(number: object) -> bool:
    """Return whether a number of tokens is a whole number of 0 or more."""
    return isinstance(number, Integral) and not isinstance(number, bool) and int(number) >= 0


def advance(
    domain: Domain, states: Sequence[State], steps: Sequence[Step], *, owners: Sequence[int]
) -> Sequence[State | Failure]:
    """Take one step from each state."""

    def call(states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        after = domain.advance(states, steps)
        _check_length(after, states, "states for", "steps")
        if [state for state in after if type(state) is not State or not state.steps]:
            for state in after:
                if not (isinstance(state, State) and state.steps):
                    raise ShapeError(
                        f"domain.advance returned {state!r:.80} instead of a state with steps"
                    )
        if [state for state in after if state.steps[-1].reply]:
            for state in after:
                if not is_count(number := state.steps[-1].num_reply_tokens):
                    raise ShapeError(f"domain.advance returned num_reply_tokens={number!r:.80}")
        return after

    return call_isolated(call, owners, "domain", items=(states, steps))


def score(
    reward_model: RewardModel,
    states: Sequence[State],
    *,
    owners: Sequence[int],
    again: list[int] | None = None,
) -> Sequence[float | Failure]:
    """Return the reward model's score of the last step of each state."""

    def call(states: Sequence[State]) -> list[float]:
        scores = reward_model.score(states)
        _check_length(scores, states, "lists of scores for", "states")
        if [own for own in scores if type(own) is not list or len(own) != 1]:
            for own in scores:
                if not hasattr(own, "__len__"):
                    raise ShapeError(
                        f"returned {own!r:.80} instead of a list of scores for a state"
                    )
            for own, state in zip(scores, states):
                if not 0 < len(own) <= len(state.steps):
                    raise _score_error(own, state)
        lasts = [own[-1] for own in scores]
        if not [last for last in lasts if type(last) is not float or not 0.0 <= last <= 1.0]:
            return lasts
        for own, state in zip(scores, states):
            if isinstance(own[-1], str | NoneType) or not 0.0 <= own[-1] <= 1.0:
                raise _score_error(own, state)
        return list(map(float, lasts))

    return call_isolated(call, owners, "reward model", items=(states,), again=again)


def _score_error(scores: Sequence[float], state: State) -> ShapeError:
    if not 0 < len(scores) <= len(state.steps):
        return ShapeError(f"returned {len(scores)} scores for {len(state.steps)} steps")
    return ShapeError(f"returned score {scores[-1]!r}; scores are in [0, 1]")


def verify(
    verifier: Verifier,
    problems: Sequence[Problem],
    states: Sequence[State],
    *,
    owners: Sequence[int],
) -> Sequence[Verdict | Failure]:
    """Return the verifier's verdict on the answer or the outcome of each state."""

    def call(problems: Sequence[Problem], states: Sequence[State]) -> list[Verdict]:
        verdicts = verify_states(verifier, problems, states)
        _check_verdicts(verdicts)
        return verdicts

    return call_isolated(call, owners, "verifier", items=(problems, states))


def verify_steps(
    verifier: StepVerifier,
    problems: Sequence[Problem],
    states: Sequence[State],
    *,
    owners: Sequence[int],
) -> Sequence[list[Verdict] | Failure]:
    """Return the step verifier's verdict on each step of each state."""

    def call(problems: Sequence[Problem], states: Sequence[State]) -> list[list[Verdict]]:
        verdicts = verifier.verify_steps(problems, states)
        _check_length(verdicts, states, "lists of verdicts for", "states")
        for own, state in zip(verdicts, states):
            _check_length(own, state.steps, "verdicts for", "steps")
            _check_verdicts(own)
        return verdicts

    return call_isolated(call, owners, "step verifier", items=(problems, states))


def answer_keys(
    answer_key: Callable[[str], Hashable], answers: Sequence[str], *, owners: Sequence[int]
) -> Sequence[Hashable | Failure]:
    """Return each answer's key; see `stepgym.envs.types.AnswerKeys`."""

    def call(answers: Sequence[str]) -> list[Hashable]:
        keys = [answer_key(answer) for answer in answers]
        set(keys)  # raises `TypeError` unless all are hashable
        return keys

    return call_isolated(call, owners, "verifier", items=(answers,))


def same_answers(
    same_pairs: Callable[[Sequence[tuple[str, str]]], list[bool]],
    pairs: Sequence[tuple[str, str]],
    *,
    owners: Sequence[int],
) -> Sequence[bool | Failure]:
    """Return for each pair of answers whether they are the same."""

    def call(pairs: Sequence[tuple[str, str]]) -> list[bool]:
        found = same_pairs(pairs)
        _check_length(found, pairs, "comparisons for", "pairs of answers")
        return list(map(bool, found))

    return call_isolated(call, owners, "verifier", items=(pairs,))


def select(search: Search, tree: SearchTree) -> list[Request] | Failure:
    """Return the search's requests: open nodes, with one step or more for each."""
    return attempt(lambda: _requests(search, tree), "search")


def _requests(search: Search, tree: SearchTree) -> list[Request]:
    requests = search.select(tree)
    if not isinstance(requests, Sequence):
        raise ShapeError(f"select returned {requests!r:.80} instead of a list of Requests")
    status, size = tree.status, len(tree.states)
    for request in requests:
        try:
            node, n, view = request
        except (TypeError, ValueError):
            raise ShapeError(f"select returned {request!r:.80} instead of a Request") from None
        if not (
            type(node) is int
            and type(n) is int
            and 0 <= node < size
            and n > 0
            and status[node] is OPEN
            and (view is None or isinstance(view, State))
        ):
            return [_checked(tree, request) for request in requests]
    return requests if type(requests) is list else list(requests)


def _checked(tree: SearchTree, request: Request) -> Request:
    """Return a request with plain integers; raises `ShapeError` for one that cannot be served."""
    node, n = operator.index(request[0]), operator.index(request[1])
    if not 0 <= node < len(tree):
        raise ShapeError(f"select asked for node {node} of a tree of {len(tree)} nodes")
    if n < 1 or tree.status[node] is not OPEN:
        raise ShapeError(
            f"{n} steps asked for at node {node}, which is {tree.status[node].value}; a search asks open nodes "
            "for one step or more, and returns an empty list when it is finished"
        )
    if not isinstance(request[2], State | None):
        raise ShapeError(f"select returned view={request[2]!r:.80} instead of a State or None")
    return Request(node, n, request[2])


def backup(search: Search, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> Failure | None:
    """Let the search update the tree after growth."""
    return attempt(lambda: search.backup(tree, grown), "search")


def best(search: Search, tree: SearchTree) -> int | Failure:
    """Return the node whose answer the search chooses."""

    def call() -> int:
        found = search.best(tree)
        if not isinstance(found, SupportsIndex):
            raise ShapeError(f"best returned {found!r:.80} instead of the number of a node")
        node = operator.index(found)
        if not 0 <= node < len(tree):
            raise ShapeError(f"best returned node {node} of a tree of {len(tree)} nodes")
        return node

    return attempt(call, "search")


def allocate(search: SharesBudget, trees: Sequence[SearchTree]) -> bool | Failure:
    """Return whether the search has planned another stage for trees that share a budget."""
    return attempt(lambda: bool(search.allocate(trees)), "search")


def note(tree: SearchTree, node: int, reason: str) -> None:
    """Add a reason to what went wrong at a node."""
    before = tree.notes.get(node)
    if before is None:
        tree.notes[node] = reason
    elif reason not in before:
        tree.notes[node] = f"{before}; {reason}"[: 2 * MAX_REASON_CHARS]


def fail_tree(tree: SearchTree, failure: Failure) -> None:
    """Mark a whole search as failed."""
    tree.status[ROOT] = NodeStatus.FAILED
    note(tree, ROOT, failure.reason)


def _check_verdicts(verdicts: Sequence[object]) -> None:
    for verdict in verdicts:
        if not (isinstance(verdict, Verdict) and isinstance(verdict.status, Status)):
            raise ShapeError(f"returned {verdict!r:.80} instead of a Verdict")
        if not 0.0 <= verdict.score <= 1.0:
            raise ShapeError(f"returned score {verdict.score!r}; scores are in [0, 1]")


def _check_length(results: object, asked: Sequence[object], got: str, given: str) -> None:
    if not hasattr(results, "__len__"):
        raise ShapeError(
            f"returned {results!r:.80} instead of {len(asked)} {got} {len(asked)} {given}"
        )
    if len(results) != len(asked):
        raise ShapeError(f"returned {len(results)} {got} {len(asked)} {given}")

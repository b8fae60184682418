"""The contracts of policies, reward models and searches as named sentences, to hold your own thing to.

    from stepgym.agents.conformance import check_search
    for sentence, fault in check_search(MySearch()):
        print("ok " if fault is None else "NOT", sentence, fault or "")

Policies and reward models are tried on an environment's states (Countdown's by default), searches on a game of
spelling words. What is not checked: that a policy is any good.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from stepgym.agents.lockstep import bound, run_search
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel, ScriptedPolicy
from stepgym.agents.types import (
    ROOT,
    Budget,
    NodeStatus,
    Policy,
    PolicyError,
    Request,
    RewardModel,
    Search,
    SearchTree,
)
from stepgym.agents.words import WordEnv, WordSet
from stepgym.envs.types import State, Step
from stepgym.plugins.contract import Clause, Finding, check_clauses

MAX_ROUNDS = 5000
COUNTS = (1, 3, 2, 4)


def check_policy(policy: Any, *, env: Any = None) -> list[Finding]:
    """Hold a policy to its contract on states of `env` (an environment or its id)."""
    where = _environment(env)
    tried = bound(policy, where.domain)
    states = _states(where)
    return check_clauses(
        tried, [Clause(sentence, partial(check, states)) for sentence, check in POLICY_CLAUSES]
    )


def check_reward_model(reward_model: Any, *, env: Any = None) -> list[Finding]:
    """Hold a reward model to its contract on states of `env` (an environment or its id)."""
    where = _environment(env)
    tried = bound(reward_model, where.domain)
    states = [state for state in _states(where) if state.steps]
    return check_clauses(
        tried, [Clause(sentence, partial(check, states)) for sentence, check in REWARD_CLAUSES]
    )


def check_search(search: Any) -> list[Finding]:
    """Hold a search to its contract on a game of spelling words."""
    return check_clauses(search, [Clause(sentence, check) for sentence, check in SEARCH_CLAUSES])


def _environment(env: Any) -> Any:
    from stepgym.envs.registry import load_env

    if env is None:
        env = "stepgym/Countdown-v0"
    return load_env(env, seed=0) if isinstance(env, str) else getattr(env, "unwrapped", env)


def _states(env: Any) -> list[State]:
    """Return first states of four problems, and states one step on where legal steps are known."""
    states = [env.domain.initial(env.problems[i]) for i in range(4)]
    legal = getattr(env.domain, "legal_steps", None)
    for state in states[:2]:
        steps = legal(state) if legal is not None else ["Let me think."]
        states += env.domain.advance([state], [Step(steps[0])])
    return [state for state in states if not state.done]


def _propose(policy: Policy, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
    try:
        return policy.propose(states, counts)
    except PolicyError as error:
        assert error.steps is not None, f"it failed on the whole batch: {error}"
        return error.steps


def _some(states: Sequence[State]) -> tuple[list[State], list[int]]:
    return list(states), [COUNTS[i % len(COUNTS)] for i in range(len(states))]


def _one_list_a_state(states: Sequence[State], policy: Policy) -> None:
    given = _propose(policy, *_some(states))
    assert len(given) == len(states), f"{len(given)} lists for {len(states)} states"
    assert _propose(policy, [], []) == [], "an empty batch has an empty answer"


def _no_more_than_asked(states: Sequence[State], policy: Policy) -> None:
    asked, counts = _some(states)
    for steps, count in zip(_propose(policy, asked, counts), counts):
        assert len(steps) <= count, f"{len(steps)} steps where {count} were asked for"


def _good_steps(states: Sequence[State], policy: Policy) -> None:
    for steps in _propose(policy, *_some(states)):
        for step in steps:
            assert isinstance(step, Step) and isinstance(step.text, str), (
                f"{step!r} is not a Step with text"
            )
            assert step.text or step.final, "an empty step that is not the end"
            assert step.log_prob is None or -math.inf < step.log_prob <= 1e-6, (
                f"log_prob={step.log_prob!r}"
            )
            numbers = (step.num_tokens, step.num_reasoning_tokens, step.num_prompt_tokens)
            assert all(isinstance(n, int) and n >= 0 for n in numbers), f"token counts {numbers}"
            assert step.num_reasoning_tokens <= step.num_tokens, "more reasoning tokens than tokens"


def _same_again(states: Sequence[State], policy: Policy) -> None:
    assert _propose(policy, *_some(states)) == _propose(policy, *_some(states)), (
        "two calls, two answers"
    )


def _alone_as_in_a_batch(states: Sequence[State], policy: Policy) -> None:
    asked, counts = _some(states)
    together = _propose(policy, asked, counts)
    for at in reversed(range(len(asked))):
        assert _propose(policy, [asked[at]], [counts[at]]) == [together[at]], (
            f"state {at} alone gets other steps"
        )


def _one_likeliest_step(states: Sequence[State], policy: Policy) -> None:
    for state in states[:2]:
        view = replace(state, draw=None)
        first, second = _propose(policy, [view], [1]), _propose(policy, [view], [1])
        assert first == second, "asked for the likeliest step twice, it gave two"


POLICY_CLAUSES: tuple[tuple[str, Callable[[Sequence[State], Any], None]], ...] = (
    ("There is one list of steps per state, in order.", _one_list_a_state),
    ("A state never gets more steps than were asked for.", _no_more_than_asked),
    (
        "Every step has text, a log-probability of 0 or less (or none), and token counts.",
        _good_steps,
    ),
    ("The same states get the same steps again.", _same_again),
    ("A state gets the same steps alone as in a batch.", _alone_as_in_a_batch),
    ("A state whose draw is None gets its one likeliest step.", _one_likeliest_step),
)


def _scores_per_step(states: Sequence[State], model: RewardModel) -> None:
    given = model.score(states)
    assert len(given) == len(states), f"{len(given)} lists for {len(states)} states"
    for scores, state in zip(given, states):
        assert 0 < len(scores) <= len(state.steps), (
            f"{len(scores)} scores for {len(state.steps)} steps"
        )
    assert model.score([]) == [], "an empty batch has an empty answer"


def _scores_in_range(states: Sequence[State], model: RewardModel) -> None:
    for scores in model.score(states):
        assert all(0.0 <= score <= 1.0 for score in scores), f"{scores} is not in [0, 1]"


def _scores_same_again(states: Sequence[State], model: RewardModel) -> None:
    together = model.score(states)
    for at, state in enumerate(states):
        (alone,) = model.score([state])
        assert all(abs(a - b) < 1e-4 for a, b in zip(alone, together[at], strict=True)), (
            f"state {at} alone scores otherwise"
        )


REWARD_CLAUSES: tuple[tuple[str, Callable[[Sequence[State], Any], None]], ...] = (
    ("There is one list per state, with one score per step or one for the last.", _scores_per_step),
    ("Scores are in [0, 1].", _scores_in_range),
    ("A state scores the same again, and alone as in a batch.", _scores_same_again),
)

ENV = WordEnv()


@dataclass(frozen=True)
class _Watched:
    """A search whose requests are checked on their way."""

    search: Search

    def select(self, tree: SearchTree) -> list[Request]:
        requests = self.search.select(tree)
        rounds = tree.memory["rounds watched"] = tree.memory.get("rounds watched", 0) + 1
        assert rounds < MAX_ROUNDS, f"not finished after {MAX_ROUNDS} rounds of a small game"
        for node, n, _ in requests:
            assert 0 <= node < len(tree), f"node {node} of {len(tree)}"
            assert n >= 1, f"{n} steps asked for at node {node}"
            assert tree.status[node] is NodeStatus.OPEN, f"node {node} is {tree.status[node].value}"
        return requests

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        self.search.backup(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return self.search.best(tree)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.search, name)


def _grow(
    search: Search, count: int = 2, *, policy: Policy | None = None, budget: Budget | None = None
) -> list[SearchTree]:
    problems = WordSet(count=count)
    return run_search(
        [problems[i] for i in range(count)],
        domain=ENV.domain,
        policy=policy or RandomLegalPolicy(),
        reward_model=RandomRewardModel(),
        search=_Watched(search),
        verifier=ENV.verifier,
        budget=budget,
    )


def _asks_well(search: Search) -> None:
    _grow(search)


def _deterministic(search: Search) -> None:
    assert _grow(search) == _grow(search), "two runs, two trees"


def _survives_pickling(search: Search) -> None:
    assert _grow(pickle.loads(pickle.dumps(search))) == _grow(search), (
        "after pickling it grows another tree"
    )


def _answers(search: Search) -> None:
    for tree in _grow(search):
        best = search.best(tree)
        assert 0 <= best < len(tree), f"node {best} of {len(tree)}"
        assert tree.states[best].answer is not None or not tree.groups, (
            "there are answers, and it stands by none"
        )


def _answers_at_any_time(search: Search) -> None:
    for calls in (1, 2, 3, 5, 8):
        for tree in _grow(search, budget=Budget(model_calls=calls)):
            assert 0 <= search.best(tree) < len(tree), f"no best node after {calls} model calls"


def _survives_a_barren_policy(search: Search) -> None:
    scripts: tuple[dict[tuple[str, ...], list[str]], ...] = (
        {},
        {(): ["a"]},
        {(): ["x", "x"]},
        {(): ["a", "b"], ("a",): ["c"]},
    )
    for script in scripts:
        for tree in _grow(search, policy=ScriptedPolicy(script)):
            search.best(tree)


def _leaves_the_tree_whole(search: Search) -> None:
    for tree in _grow(search):
        assert tree.parent[ROOT] == -1 and all(
            0 <= tree.parent[n] < n for n in range(1, len(tree))
        ), "parents changed"
        assert all(
            len(a) == len(tree) for a in (tree.visits, tree.value, tree.prior, tree.status)
        ), "arrays changed"


SEARCH_CLAUSES: tuple[tuple[str, Callable[[Any], None]], ...] = (
    ("It asks open nodes for one step or more, and finishes by itself.", _asks_well),
    ("The same problems grow the same trees.", _deterministic),
    ("It is data: pickled and back, it grows the same trees.", _survives_pickling),
    ("It stands by an answer once there is one.", _answers),
    ("It has a best node whenever it is stopped.", _answers_at_any_time),
    (
        "It finishes when the policy gives nothing, repeats itself or gets stuck.",
        _survives_a_barren_policy,
    ),
    ("It leaves the tree's shape to the driver.", _leaves_the_tree_whole),
)

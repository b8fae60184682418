"""The contracts of policies, reward models, searches and agents, to check your own against.

    from stepgym.agents.conformance import check_search
    for sentence, fault in check_search(MySearch()):
        print("ok " if fault is None else "NOT", sentence, fault or "")

Policies and reward models are checked on states of an environment (Countdown by default), searches on
`stepgym/Words-v0`. Whether a policy is any good is not checked.
"""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.agent_runs import AgentEpisode, run_agent
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel, ScriptedPolicy
from stepgym.agents.run_setup import unwrapped
from stepgym.agents.searching import bind_domain, run_search
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
    SharesBudget,
)
from stepgym.envs.families.words import SameWord, WordsDomain, WordsVerifier
from stepgym.envs.registry import load_env
from stepgym.envs.types import LegalSteps, State, Step
from stepgym.plugins.contract import Clause, Finding, assert_callable, check_clauses, has_method

MAX_ROUNDS = 5000
COUNTS = (1, 3, 2, 4)


def check_policy(policy: Any, *, env: Any = None) -> list[Finding]:
    """Check a policy against its contract on states of `env` (an environment or its id)."""
    where = _environment(env)
    tried = bind_domain(policy, where.domain)
    states = _states(where)
    clauses = [Clause(sentence, partial(check, states)) for sentence, check in POLICY_CLAUSES]
    return check_clauses(tried, [has_method("propose", "states", "counts"), *clauses])


def check_reward_model(reward_model: Any, *, env: Any = None) -> list[Finding]:
    """Check a reward model against its contract on states of `env` (an environment or its id)."""
    where = _environment(env)
    tried = bind_domain(reward_model, where.domain)
    states = [state for state in _states(where) if state.steps]
    clauses = [Clause(sentence, partial(check, states)) for sentence, check in REWARD_CLAUSES]
    return check_clauses(tried, [has_method("score", "states"), *clauses])


def check_agent(agent: Any, *, env: Any = None) -> list[Finding]:
    """Check an agent that drives itself against its contract on problems of `env`.

    `env` is an environment or its id; by default `stepgym/Words-v0`.
    """
    where = _environment("stepgym/Words-v0" if env is None else env)
    clauses = [Clause(sentence, partial(check, where)) for sentence, check in AGENT_CLAUSES]
    return check_clauses(agent, [AGENT_CALL, *clauses])


def check_search(search: Any) -> list[Finding]:
    """Check a search against its contract on `stepgym/Words-v0`."""
    clauses = [Clause(sentence, check) for sentence, check in SEARCH_CLAUSES]
    return check_clauses(search, [*SEARCH_METHODS, *clauses])


def _environment(env: Any) -> Any:
    if env is None:
        env = "stepgym/Countdown-v0"
    return load_env(env, seed=0) if isinstance(env, str) else unwrapped(env)


def _states(env: Any) -> list[State]:
    """Return first states of four problems, and for two of them a state after a legal step (or any text)."""
    states = [env.domain.initial(env.problems[i]) for i in range(4)]
    for state in states[:2]:
        domain = env.domain
        steps = domain.legal_steps(state) if isinstance(domain, LegalSteps) else ["Let me think."]
        states += domain.advance([state], [Step(steps[0])])
    return [state for state in states if not state.done]


def _checked_list(given: Any, called: str) -> list[Any]:
    assert isinstance(given, list | tuple), f"{called} returned {given!r:.80} instead of a list"
    return list(given)


def _propose(policy: Policy, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
    try:
        given = policy.propose(states, counts)
    except PolicyError as error:
        assert error.steps is not None, f"it failed on the whole batch: {error}"
        given = error.steps
    return [
        _checked_list(steps, "propose, for one state,") for steps in _checked_list(given, "propose")
    ]


def _some(states: Sequence[State]) -> tuple[list[State], list[int]]:
    return list(states), [COUNTS[i % len(COUNTS)] for i in range(len(states))]


def _one_list_a_state(states: Sequence[State], policy: Policy) -> None:
    given = _propose(policy, *_some(states))
    assert len(given) == len(states), f"{len(given)} lists for {len(states)} states"
    assert _propose(policy, [], []) == [], "an empty batch must return an empty list"


def _no_more_than_asked(states: Sequence[State], policy: Policy) -> None:
    asked, counts = _some(states)
    for steps, count in zip(_propose(policy, asked, counts), counts):
        assert len(steps) <= count, f"{len(steps)} steps where {count} were asked for"


def _good_steps(states: Sequence[State], policy: Policy) -> None:
    for steps in _propose(policy, *_some(states)):
        for step in steps:
            assert isinstance(step, Step) and isinstance(step.text, str), (
                f"{step!r} is no Step with text"
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
        "two calls gave different steps"
    )


def _alone_as_in_a_batch(states: Sequence[State], policy: Policy) -> None:
    asked, counts = _some(states)
    together = _propose(policy, asked, counts)
    for at in reversed(range(len(asked))):
        assert _propose(policy, [asked[at]], [counts[at]]) == [together[at]], (
            f"state {at} alone gets other steps than in a batch"
        )


def _one_likeliest_step(states: Sequence[State], policy: Policy) -> None:
    for state in states[:2]:
        view = replace(state, draw=None)
        first, second = _propose(policy, [view], [1]), _propose(policy, [view], [1])
        assert first == second, "two calls for the likeliest step gave different steps"


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


def _score(model: RewardModel, states: Sequence[State]) -> list[list[float]]:
    given = [
        _checked_list(scores, "score, for one state,")
        for scores in _checked_list(model.score(states), "score")
    ]
    for number in itertools.chain.from_iterable(given):
        assert isinstance(number, Real), f"score returned {number!r:.80} instead of a number"
    return given


def _scores_per_step(states: Sequence[State], model: RewardModel) -> None:
    given = _score(model, states)
    assert len(given) == len(states), f"{len(given)} lists for {len(states)} states"
    for scores, state in zip(given, states):
        assert 0 < len(scores) <= len(state.steps), (
            f"{len(scores)} scores for {len(state.steps)} steps"
        )
    assert _score(model, []) == [], "an empty batch must return an empty list"


def _scores_in_range(states: Sequence[State], model: RewardModel) -> None:
    for scores in _score(model, states):
        assert all(0.0 <= score <= 1.0 for score in scores), f"{scores} is not in [0, 1]"


def _scores_same_again(states: Sequence[State], model: RewardModel) -> None:
    together = _score(model, states)
    for at, state in enumerate(states):
        (alone,) = _score(model, [state])
        assert all(abs(a - b) < 1e-4 for a, b in zip(alone, together[at], strict=True)), (
            f"state {at} alone scores differently than in a batch"
        )


REWARD_CLAUSES: tuple[tuple[str, Callable[[Sequence[State], Any], None]], ...] = (
    ("There is one list per state, with one score per step or one for the last.", _scores_per_step),
    ("Scores are in [0, 1].", _scores_in_range),
    ("A state scores the same again, and alone as in a batch.", _scores_same_again),
)

DOMAIN, VERIFIER = WordsDomain(), WordsVerifier()


@dataclass(slots=True)
class _RoundCount:
    rounds: int = 0


@dataclass(frozen=True)
class _LimitedSearch:
    """A search that fails after `MAX_ROUNDS`."""

    search: Search

    def select(self, tree: SearchTree) -> list[Request]:
        count = tree.recall(_RoundCount)
        count.rounds += 1
        assert count.rounds < MAX_ROUNDS, (
            f"not finished after {MAX_ROUNDS} rounds on a small problem"
        )
        return self.search.select(tree)

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        self.search.backup(tree, grown)

    def best(self, tree: SearchTree) -> int:
        return self.search.best(tree)


@dataclass(frozen=True)
class _LimitedSharedSearch(_LimitedSearch):
    """The same for a search that shares a budget among problems."""

    search: Any

    def allocate(self, trees: Sequence[SearchTree]) -> bool:
        more: bool = self.search.allocate(trees)
        return more


def _grow(
    search: Search, count: int = 2, *, policy: Policy | None = None, budget: Budget | None = None
) -> list[SearchTree]:
    """Grow trees; raises `AssertionError` if the search failed."""
    problems = SameWord(count=count)
    limited = _LimitedSharedSearch if isinstance(search, SharesBudget) else _LimitedSearch
    trees = run_search(
        [problems[i] for i in range(count)],
        domain=DOMAIN,
        policy=policy or RandomLegalPolicy(),
        reward_model=RandomRewardModel(),
        search=limited(search),
        verifier=VERIFIER,
        budget=budget,
    )
    for tree in trees:
        assert tree.status[ROOT] is not NodeStatus.FAILED, tree.notes[ROOT]
    return trees


def _asks_well(search: Search) -> None:
    _grow(search)


def _deterministic(search: Search) -> None:
    assert _grow(search) == _grow(search), "two runs grew different trees"


def _survives_pickling(search: Search) -> None:
    assert _grow(pickle.loads(pickle.dumps(search))) == _grow(search), (
        "after pickling it grows another tree"
    )


def _best(search: Search, tree: SearchTree) -> int:
    best = boundary.best(search, tree)
    assert isinstance(best, int), best.reason
    return best


def _answers(search: Search) -> None:
    for tree in _grow(search):
        best = _best(search, tree)
        assert tree.states[best].answer is not None or not tree.groups, (
            "the tree has answers, but the best node has none"
        )


def _answers_at_any_time(search: Search) -> None:
    for calls in (1, 2, 3, 5, 8):
        for tree in _grow(search, budget=Budget(model_calls=calls)):
            _best(search, tree)


def _survives_a_barren_policy(search: Search) -> None:
    scripts: tuple[dict[tuple[str, ...], list[str]], ...] = (
        {},
        {(): ["a"]},
        {(): ["x", "x"]},
        {(): ["a", "b"], ("a",): ["c"]},
    )
    for script in scripts:
        for tree in _grow(search, policy=ScriptedPolicy(script)):
            _best(search, tree)


def _leaves_the_tree_whole(search: Search) -> None:
    for tree in _grow(search):
        assert tree.parent[ROOT] == -1 and all(
            0 <= tree.parent[n] < n for n in range(1, len(tree))
        ), "parents changed"
        assert all(
            len(a) == len(tree) for a in (tree.visits, tree.value, tree.prior, tree.status)
        ), "arrays changed"


SEARCH_METHODS = (
    has_method("select", "tree"),
    has_method("backup", "tree", "grown"),
    has_method("best", "tree"),
)
SEARCH_CLAUSES: tuple[tuple[str, Callable[[Any], None]], ...] = (
    ("It asks open nodes for one step or more, and finishes without a budget.", _asks_well),
    ("The same problems grow the same trees.", _deterministic),
    ("It grows the same trees after pickling.", _survives_pickling),
    ("It chooses an answer if there is one.", _answers),
    ("It has a best node whenever a budget stops it.", _answers_at_any_time),
    (
        "It finishes when the policy gives nothing, repeats itself or gets stuck.",
        _survives_a_barren_policy,
    ),
    ("It does not change the shape of the tree.", _leaves_the_tree_whole),
)


def _called_with_one_argument(agent: Any) -> None:
    name = f"{type(agent).__name__}.act" if hasattr(agent, "act") else "the agent"
    assert_callable(getattr(agent, "act", agent), name, "episode")


AGENT_CALL = Clause(
    "It has a method act(episode), or is a function of one argument.", _called_with_one_argument
)
NUM_AGENT_PROBLEMS = 3
AGENT_TIMEOUT_S = 60.0


def _play(env: Any, agent: Any, problems: Sequence[int]) -> list[AgentEpisode]:
    return list(
        run_agent(
            agent,
            iter([env.problems[i] for i in problems]),
            env=env,
            policy=lambda: _policy_for(env),
            budget=Budget(wall_s=AGENT_TIMEOUT_S),
        )
    )


def _policy_for(env: Any) -> Policy:
    """Return the policy behind the endpoint: random legal steps if the domain lists them, else one fixed text."""
    lists_steps = isinstance(env.domain, LegalSteps)
    if not lists_steps:
        return ScriptedPolicy(lambda state: ["I do not know."])
    policy: Policy = bind_domain(RandomLegalPolicy(), env.domain)
    return policy


def _ends(env: Any, agent: Any) -> None:
    for one in _play(env, agent, range(NUM_AGENT_PROBLEMS)):
        assert not one.tree.notes, "; ".join(one.tree.notes.values())


def _takes_a_step_or_answers(env: Any, agent: Any) -> None:
    for one in _play(env, agent, range(NUM_AGENT_PROBLEMS)):
        assert len(one.tree) > 1, f"no step and no answer on {one.problem.id}"


def _side_by_side(env: Any, agent: Any) -> None:
    for one in _play(env, agent, [0] * NUM_AGENT_PROBLEMS):
        assert not one.tree.notes, "; ".join(one.tree.notes.values())


AGENT_CLAUSES: tuple[tuple[str, Callable[[Any, Any], None]], ...] = (
    (f"It ends by itself, without an error, within {AGENT_TIMEOUT_S:.0f} s.", _ends),
    ("It takes a step or gives an answer.", _takes_a_step_or_answers),
    ("It plays several episodes at the same time.", _side_by_side),
)

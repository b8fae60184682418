"""One round of search for several trees: select, propose, advance, score, expand, verify, backup.

This is the inner loop of every search. What runs once per step is written flat for speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby, islice
from operator import is_, itemgetter

from stepgym.agents import boundary
from stepgym.agents.answer_groups import AnswerComparison, AnswerGroups, group_answers
from stepgym.agents.boundary import Failure
from stepgym.agents.costs import (
    charge_sandbox,
    charge_steps,
    num_parameters,
    tokens_read,
    uses_sandbox,
)
from stepgym.agents.expansion import Expansion, expand, split_new_steps
from stepgym.agents.tree_collections import rare_full_collections
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    NodeStatus,
    Policy,
    Request,
    RewardModel,
    Search,
    SearchTree,
    Usage,
    WritesTokens,
)
from stepgym.envs.types import Domain, Problem, State, Step, Verifier

ENDED, OPEN = (
    NodeStatus.ENDED,
    NodeStatus.OPEN,
)  # bound once: looking a member up costs seven times the comparison


@dataclass(frozen=True)
class SearchComponents:
    """The plug-ins and limits of a run, the same in every round."""

    domain: Domain
    policy: Policy
    reward_model: RewardModel | None
    search: Search
    verifier: Verifier | None = None
    see_verdicts: bool = False
    """Whether the search may see verdicts while it runs."""
    budget: Budget = NO_LIMIT
    """For each problem."""
    run_budget: Budget = NO_LIMIT
    """For all problems together."""

    # Looked up once per run, because `isinstance` of a protocol is slow.

    @cached_property
    def policy_parameters(self) -> int:
        return num_parameters(self.policy)

    @cached_property
    def reward_model_parameters(self) -> int:
        return num_parameters(self.reward_model)

    @cached_property
    def reward_model_writes(self) -> bool:
        return isinstance(self.reward_model, WritesTokens)

    @cached_property
    def domain_uses_sandbox(self) -> bool:
        return uses_sandbox(self.domain)

    @cached_property
    def comparison(self) -> AnswerComparison:
        """How votes compare answers."""
        return AnswerComparison.of(self.verifier)


@dataclass(slots=True)
class ProblemSearch:
    """The search for one problem while it runs."""

    problem: Problem
    tree: SearchTree
    groups: AnswerGroups = field(default_factory=AnswerGroups)
    requests: list[Request] = field(default_factory=list)
    """What the search asks for in the next round."""
    started: float = field(default_factory=time.perf_counter)


@dataclass(slots=True)
class RunProgress:
    """The searches of a run and its usage."""

    searches: Sequence[ProblemSearch] = ()
    """Searches that have been started and are not retired."""
    model_calls: int = 0
    """Real calls, however many searches shared each."""
    started: float = field(default_factory=time.perf_counter)
    retired: Usage = field(default_factory=Usage)
    """What retired searches have spent."""

    def retire(self, done: Sequence[ProblemSearch]) -> None:
        """Drop finished searches and keep their usage."""
        gone = {id(one) for one in done}
        for one in done:
            self.retired += one.tree.usage
        self.searches = [one for one in self.searches if id(one) not in gone]

    def exhausts(self, budget: Budget) -> bool:
        """Return whether all searches together have reached a limit."""
        if budget is NO_LIMIT:
            return False
        total = sum((one.tree.usage for one in self.searches), self.retired)
        wall_s = time.perf_counter() - self.started
        return budget.is_spent(replace(total, model_calls=self.model_calls, wall_s=wall_s))


def select_next(components: SearchComponents, one: ProblemSearch, progress: RunProgress) -> bool:
    """Let the search select the next round's requests; False if it is finished or a budget is spent."""
    tree = one.tree
    tree.usage.wall_s = time.perf_counter() - one.started
    one.requests = []
    if components.budget.is_spent(tree.usage) or progress.exhausts(components.run_budget):
        return False
    requests = boundary.select(components.search, tree)
    if isinstance(requests, Failure):
        boundary.fail_tree(tree, requests)
        return False
    one.requests = requests
    return bool(requests)


def play_lockstep(components: SearchComponents, progress: RunProgress) -> None:
    """Play rounds with all searches of a run until each is finished or a budget is spent."""

    def select(one: ProblemSearch) -> bool:
        return select_next(components, one, progress)

    with rare_full_collections():
        live = list(filter(select, progress.searches))
        while live:
            live = play_round(components, live, progress, select=select)


def play_round(
    components: SearchComponents,
    searches: Sequence[ProblemSearch],
    progress: RunProgress,
    *,
    select: Callable[[ProblemSearch], bool],
) -> list[ProblemSearch]:
    """Serve all requests with one call to each plug-in, back up, select again, and return the searches that go on.

    A tree is backed up as soon as it is expanded, while it is in the processor's cache; if there is something to
    verify or compare, after that.
    """
    again: list[int] = []
    expansions, counts, faults = _propose(components, searches, again)
    progress.model_calls += 1
    after, owners, is_plain = _advance(components, searches, expansions)
    scores = _score(components, searches, after, owners=owners, again=again)
    progress.model_calls += (components.reward_model is not None and bool(after)) + len(again)
    for owner in again:
        searches[owner].tree.usage.model_calls += 1
    live: list[ProblemSearch] = []
    answered: list[tuple[ProblemSearch, list[int], Mapping[int, Sequence[int]]]] = []
    at = first = 0
    for one, count in zip(searches, counts):
        last = first + count
        own = expansions[first:last]
        end = at + sum([len(new) for _, new, _ in own])
        tree = one.tree
        first_new = len(tree.states)
        wrong = [faults.get(i, "") for i in range(first, last)] if faults else ()
        grown = expand(
            tree, own, after[at:end], scores=scores[at:end], faults=wrong, is_plain=is_plain
        )
        first, at = last, end
        new_status = tree.status[first_new:]
        if new_status.count(OPEN) < len(new_status):  # faster than `ENDED in new_status`
            nodes = [
                node
                for node, status in enumerate(new_status, start=first_new)
                if status is ENDED and tree.states[node].has_result
            ]
            if nodes:
                answered.append((one, nodes, grown))
                continue
        if _backup(components, one, grown) and select(one):
            live.append(one)
    if answered:
        _group_and_verify(components, answered)
        for one, _, grown_there in answered:
            if _backup(components, one, grown_there) and select(one):
                live.append(one)
    return live


def _backup(
    components: SearchComponents, one: ProblemSearch, grown: Mapping[int, Sequence[int]]
) -> bool:
    """Let the search back up; False if it failed."""
    failure = boundary.backup(components.search, one.tree, grown)
    if failure is None:
        return True
    boundary.fail_tree(one.tree, failure)
    return False


def _propose(
    components: SearchComponents, searches: Sequence[ProblemSearch], again: list[int]
) -> tuple[list[Expansion], list[int], dict[int, str]]:
    """Ask the policy once for all requests.

    Return the expansions search after search, how many each search has, and by position what was wrong with a
    proposal. Searches that had to be asked again alone are appended to `again`.
    """
    views: list[State] = []
    wanted: list[int] = []
    owners: list[int] = []
    for owner, one in enumerate(searches):
        states, asked = one.tree.states, one.tree.asked
        for node, n, view in one.requests:
            seen = states[node] if view is None else view
            if before := asked[node]:
                seen = _with_draw(seen, before) if seen.draw == 0 else seen
            views.append(seen)
            wanted.append(n)
            asked[node] = before + n
        owners += [owner] * len(one.requests)
    offers, faults = boundary.propose(components.policy, views, wanted, owners=owners, again=again)
    size = components.policy_parameters
    expansions: list[Expansion] = []
    counts = []
    at = 0
    for one in searches:
        usage, count = one.tree.usage, len(one.requests)
        own = offers[at : at + count]
        at += count
        usage.model_calls += 1
        charge_steps(usage, [step for steps in own for step in steps], size)
        expansions += split_new_steps(one.tree, one.requests, own)
        counts.append(count)
    return expansions, counts, faults


def _with_draw(state: State, draw: int) -> State:
    """Return the state for a policy that was asked for `draw` of its steps before."""
    if type(state) is not State:
        return replace(state, draw=draw)
    return State(
        state.prompt,
        state.steps,
        state.answer,
        state.end,
        state.public,
        draw,
        state.outcome,
        state.system,
    )


def _advance(
    components: SearchComponents, searches: Sequence[ProblemSearch], expansions: Sequence[Expansion]
) -> tuple[Sequence[State | Failure], list[int], bool]:
    """Take every new step with one call.

    Return the states, the search of each, and whether the domain took all steps as they were proposed.
    """
    states: list[State] = []
    steps: list[Step] = []
    owners: list[int] = []
    at = iter(expansions)
    for owner, one in enumerate(searches):
        before = one.tree.states
        for node, new, _ in islice(at, len(one.requests)):
            states += [before[node]] * len(new)
            steps += new
        owners += [owner] * (len(steps) - len(owners))
    started = time.perf_counter()
    after = boundary.advance(components.domain, states, steps, owners=owners) if states else []
    last = [state.steps[-1] for state in after if type(state) is State]
    if len(last) == len(steps) and all(map(is_, last, steps)):
        return after, owners, True
    replied = [
        (owner, state.steps[-1])
        for owner, state in zip(owners, after)
        if isinstance(state, State) and state.steps[-1].reply
    ]
    if replied and components.domain_uses_sandbox:
        seconds = time.perf_counter() - started
        charge_sandbox([one.tree for one in searches], [owner for owner, _ in replied], seconds)
    for owner, step in replied:
        searches[owner].tree.usage.tool_tokens += step.num_reply_tokens
    return after, owners, False


def _score(
    components: SearchComponents,
    searches: Sequence[ProblemSearch],
    after: Sequence[State | Failure],
    *,
    owners: Sequence[int],
    again: list[int],
) -> Sequence[float | Failure | None]:
    """Score every new state with one call; `None` where there is nothing to score."""
    if components.reward_model is None or not after:
        return [None] * len(after)
    good = [i for i, state in enumerate(after) if isinstance(state, State)]
    states: Sequence[State] = after  # type: ignore[assignment]
    own = owners
    if len(good) < len(after):
        states, own = [states[i] for i in good], [owners[i] for i in good]
    given = boundary.score(components.reward_model, states, owners=own, again=again) if good else []
    for owner in set(own):
        searches[owner].tree.usage.model_calls += 1
    if components.reward_model_parameters:
        _charge_reading(components, searches, states, own)
    if components.reward_model_writes:
        _charge_writing(components, searches, states, own)
    if len(good) == len(after):
        return given
    scores: list[float | Failure | None] = [None] * len(after)
    for i, score in zip(good, given):
        scores[i] = score
    return scores


def _charge_reading(
    components: SearchComponents,
    searches: Sequence[ProblemSearch],
    states: Sequence[State],
    owners: Sequence[int],
) -> None:
    """Charge each search the FLOPs of scoring its states; `owners` is in order."""
    model, size = components.reward_model, components.reward_model_parameters
    for owner, items in groupby(zip(owners, states), key=itemgetter(0)):
        tree, own = searches[owner].tree, [state for _, state in items]
        read = boundary.attempt(lambda: tokens_read(model, tree, own), "reward model")  # noqa: B023 (called at once)
        if isinstance(read, Failure):
            boundary.note(tree, ROOT, read.reason)
            read = tokens_read(None, tree, own)
        tree.usage.flops += 2.0 * size * read


def _charge_writing(
    components: SearchComponents,
    searches: Sequence[ProblemSearch],
    states: Sequence[State],
    owners: Sequence[int],
) -> None:
    """Charge each search what a reward model wrote to score its states."""
    model = components.reward_model
    assert isinstance(model, WritesTokens)
    for owner, usage in zip(owners, model.take_usage(states)):
        tree = searches[owner].tree
        tree.usage += usage


def _group_and_verify(
    components: SearchComponents,
    answered: Sequence[tuple[ProblemSearch, list[int], Mapping[int, Sequence[int]]]],
) -> None:
    """Group the new answers of each search by equality, and verify them if the search sees verdicts."""
    searches = [one for one, _, _ in answered]
    trees = [one.tree for one in searches]
    group_answers(
        trees,
        [one.groups for one in searches],
        [[n for n in nodes if one.tree.states[n].answer is not None] for one, nodes, _ in answered],
        comparison=components.comparison,
    )
    if components.verifier is not None and components.see_verdicts:
        verify_nodes(
            components.verifier,
            [one.problem for one in searches],
            trees,
            nodes=[(owner, node) for owner, (_, nodes, _) in enumerate(answered) for node in nodes],
        )


def verify_nodes(
    verifier: Verifier,
    problems: Sequence[Problem],
    trees: Sequence[SearchTree],
    *,
    nodes: Sequence[tuple[int, int]],
) -> None:
    """Verify results with one call, each given as the position of its tree and a node; verdicts go into the trees."""
    if not nodes:
        return
    owners = [owner for owner, _ in nodes]
    states = [trees[owner].states[node] for owner, node in nodes]
    started = time.perf_counter()
    verdicts = boundary.verify(
        verifier, [problems[owner] for owner in owners], states, owners=owners
    )
    if uses_sandbox(verifier):
        charge_sandbox(trees, owners, time.perf_counter() - started)
    for (owner, node), verdict in zip(nodes, verdicts):
        if isinstance(verdict, Failure):
            boundary.note(trees[owner], node, verdict.reason)
        else:
            trees[owner].verdicts[node] = verdict

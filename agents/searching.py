"""`run_search`: a search grows one tree per problem, in lock-step or continuously.

In lock-step, one `propose` serves all trees and all pending leaves of a round. The continuous driver
(`stepgym.agents.continuous`) plays the same rounds for each tree in a thread of its own and merges the calls. Both
give the same trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.answer_groups import known_groups
from stepgym.agents.boundary import Failure
from stepgym.agents.continuous import play_continuous
from stepgym.agents.rounds import ProblemSearch, RunProgress, SearchComponents, play_lockstep
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    NeedsDomain,
    NodeStatus,
    Policy,
    RewardModel,
    Search,
    SearchTree,
    ServesConcurrently,
    SharesBudget,
    Usage,
)
from stepgym.envs.types import Domain, Problem, State, Verifier


def run_search(
    problems: Sequence[Problem],
    *,
    domain: Domain,
    policy: Policy,
    reward_model: RewardModel | None = None,
    search: Search,
    budget: Budget | None = None,
    verifier: Verifier | None = None,
    see_verdicts: bool = False,
    run_budget: Budget | None = None,
    trees: Sequence[SearchTree] | None = None,
    continuous: bool | None = None,
) -> list[SearchTree]:
    """Grow one tree per problem and return them in order; a low-level form of `solve`.

    `budget` limits each problem, `run_budget` all of them together; a round that starts within the limits is
    finished. The verifier groups equal answers; with `see_verdicts` the search also sees its verdicts while it runs.
    `trees` are trees of an earlier run, or subtrees of them (`stepgym.agents.tree_reuse.subtree`), to continue from.
    With `continuous`, trees do not wait for each other between rounds (`None`: if the policy is in front of a server).
    """
    components = SearchComponents(
        domain,
        bind_domain(policy, domain),
        bind_domain(reward_model, domain),
        search,
        verifier,
        see_verdicts,
        budget or NO_LIMIT,
        run_budget or NO_LIMIT,
    )
    progress = RunProgress(start_searches(components, problems, trees=trees))
    grow_trees(components, progress, continuous=continuous)
    return [one.tree for one in progress.searches]


def grow_trees(
    components: SearchComponents, progress: RunProgress, *, continuous: bool | None = None
) -> None:
    """Play all searches of a run to their end, stage by stage if the search shares a budget among problems."""
    if continuous is None:
        continuous = isinstance(components.policy, ServesConcurrently)
    play = play_continuous if continuous else play_lockstep
    play(components, progress)
    search = components.search
    if not isinstance(search, SharesBudget):
        return
    trees = [one.tree for one in progress.searches]
    while (more := boundary.allocate(search, trees)) is True:
        play(components, progress)
    if isinstance(more, Failure):
        for tree in trees:
            boundary.fail_tree(tree, more)


def bind_domain(plug_in: Any, domain: Domain) -> Any:
    """Return a policy or reward model, bound to the domain if it needs one."""
    return plug_in.bind(domain) if isinstance(plug_in, NeedsDomain) else plug_in


def start_searches(
    components: SearchComponents,
    problems: Sequence[Problem],
    *,
    trees: Sequence[SearchTree] | None = None,
) -> list[ProblemSearch]:
    """Start one search per problem, with a new tree or the one given."""
    if trees is None:
        trees = [_new_tree(components.domain, problem) for problem in problems]
    for tree in trees:
        tree.usage = Usage()
        tree.sees_verdicts = components.see_verdicts and components.verifier is not None
        if tree.states[ROOT].end is not None:
            tree.status[ROOT] = NodeStatus.ENDED
    return [
        ProblemSearch(problem, tree, known_groups(tree, components.comparison))
        for problem, tree in zip(problems, trees, strict=True)
    ]


def _new_tree(domain: Domain, problem: Problem) -> SearchTree:
    """Return a tree of one node; it has failed if the domain cannot start the problem."""
    state = boundary.attempt(lambda: domain.initial(problem), "domain")
    if isinstance(state, State):
        return SearchTree(problem.id, [state])
    if not isinstance(state, Failure):
        state = Failure(f"domain: initial returned {state!r:.80} instead of a State")
    tree = SearchTree(problem.id, [State(problem.prompt)])
    boundary.fail_tree(tree, state)
    return tree

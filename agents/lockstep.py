"""`run_search`, and the lock-step driver: one `propose` serves all trees and all pending leaves of a round.

`stepgym.agents.continuous` plays the same rounds for each tree in a thread of its own and merges the calls; both
give the same trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.rounds import Job, Parts, Run, play_round, take_in_alone, wants_more
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    NodeStatus,
    Policy,
    RewardModel,
    Search,
    SearchTree,
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
    continuous: bool = False,
) -> list[SearchTree]:
    """Grow one tree per problem and return them in order.

    `budget` limits each problem, `run_budget` all together; a round that starts inside them is finished. The
    verifier groups equal answers; with `see_verdicts` the search also sees its verdicts while it runs. `trees`
    continues from trees of an earlier run, or from `stepgym.agents.grow.subtree` of one. `continuous` lets trees run
    ahead of each other.
    """
    policy, reward_model = bound(policy, domain), bound(reward_model, domain)
    limits = (budget or NO_LIMIT, run_budget or NO_LIMIT)
    parts = Parts(domain, policy, reward_model, search, verifier, see_verdicts, *limits)
    jobs = start_jobs(parts, problems, trees)
    grow_trees(parts, Run(jobs), continuous=continuous)
    return [job.tree for job in jobs]


def grow_trees(parts: Parts, run: Run, *, continuous: bool = False) -> None:
    """Play all jobs of a run to their end; a search that shares out its budget plans with all of them in view."""
    play = play_lockstep
    if continuous:
        from stepgym.agents.continuous import play_continuous

        play = play_continuous
    play(parts, run)
    allocate = getattr(parts.search, "allocate", None)
    while allocate is not None and allocate([job.tree for job in run.jobs]):
        play(parts, run)


def bound(plug_in: Any, domain: Domain) -> Any:
    """Bind a policy or reward model that needs the domain to it; see `stepgym.agents.types.Bindable`."""
    bind = getattr(plug_in, "bind", None)
    return plug_in if bind is None else bind(domain)


def start_jobs(
    parts: Parts, problems: Sequence[Problem], trees: Sequence[SearchTree] | None
) -> list[Job]:
    """Make one job per problem, with a new tree or the one given."""
    if trees is None:
        trees = [_plant(parts.domain, problem) for problem in problems]
    for tree in trees:
        tree.sees_verdicts = parts.see_verdicts and parts.verifier is not None
        if tree.states[ROOT].end is not None:
            tree.status[ROOT] = NodeStatus.ENDED
    return [Job(problem, tree) for problem, tree in zip(problems, trees, strict=True)]


def _plant(domain: Domain, problem: Problem) -> SearchTree:
    """Make a tree of one node; a problem that the domain cannot start has failed there."""
    (state,) = boundary.call_isolated(lambda: [domain.initial(problem)], [0], "domain")
    if isinstance(state, State):
        return SearchTree(problem.id, [state])
    tree = SearchTree(problem.id, [State(problem.prompt)], status=[NodeStatus.FAILED])
    tree.notes[ROOT] = state.reason
    return tree


def play_lockstep(parts: Parts, run: Run) -> None:
    """Play rounds with all jobs until each is finished or a budget is spent."""

    def more(job: Job) -> bool:
        return wants_more(parts, job, run)

    live = list(filter(more, run.jobs))
    take_in = take_in_alone(parts, more)
    while live:
        live = play_round(parts, live, run, take_in)

"""The lock-step driver: one `propose` serves all trees and all pending leaves of a round.

A round is select, propose, advance, score, verify, grow, backup. `stepgym.agents.continuous` runs the same round
for each tree in a thread of its own and merges the calls; both give the same trees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.grow import Growth, grow, plan
from stepgym.agents.meter import Meter, parameters_of, tokens_of
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
)
from stepgym.envs.types import Domain, Problem, State, Verifier


@dataclass(frozen=True)
class Parts:
    """Who takes part in every round of a run."""

    domain: Domain
    policy: Policy
    reward_model: RewardModel | None
    search: Search
    verifier: Verifier | None = None
    see_verdicts: bool = False
    budget: Budget = NO_LIMIT
    run_budget: Budget = NO_LIMIT


@dataclass(slots=True)
class Job:
    """One problem's tree while it grows."""

    problem: Problem
    tree: SearchTree
    meter: Meter = field(default_factory=Meter)
    requests: list[Request] = field(default_factory=list)
    grown: dict[int, list[int]] = field(default_factory=dict)
    first_new: int = 0


Growths = list[tuple[int, Growth]]
"""A round's growths in order of jobs and requests, each with the position of its job."""


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
    continues from trees of an earlier run, or from `stepgym.agents.grow.subtree` of one. `continuous` lets trees run ahead of each
    other.
    """
    policy, reward_model = bound(policy, domain), bound(reward_model, domain)
    parts = Parts(
        domain,
        policy,
        reward_model,
        search,
        verifier,
        see_verdicts,
        budget or NO_LIMIT,
        run_budget or NO_LIMIT,
    )
    jobs = start_jobs(parts, problems, trees)
    play = play_lockstep
    if continuous:
        from stepgym.agents.continuous import play_continuous

        play = play_continuous
    total = Meter()
    play(parts, jobs, total)
    allocate = getattr(search, "allocate", None)
    while allocate is not None and allocate([job.tree for job in jobs]):
        play(parts, jobs, total)
    return [job.tree for job in jobs]


def bound(plug_in: Any, domain: Domain) -> Any:
    """Bind a policy or reward model that needs the domain to it; see `stepgym.agents.types.Bindable`."""
    bind = getattr(plug_in, "bind", None)
    return plug_in if bind is None else bind(domain)


def start_jobs(parts: Parts, problems: Sequence[Problem], trees: Sequence[SearchTree] | None) -> list[Job]:
    """Make one job per problem, with a new tree or the one given."""
    if trees is None:
        trees = [SearchTree(problem.id, [parts.domain.initial(problem)]) for problem in problems]
    for tree in trees:
        tree.sees_verdicts = parts.see_verdicts and parts.verifier is not None
        if tree.states[ROOT].end is not None:
            tree.status[ROOT] = NodeStatus.ENDED
    return [Job(problem, tree) for problem, tree in zip(problems, trees, strict=True)]


def play_lockstep(parts: Parts, jobs: Sequence[Job], total: Meter) -> None:
    """Play rounds with all jobs until each is finished or a budget is spent."""
    live = list(jobs)
    while live := [job for job in live if wants_more(parts, job, total)]:
        play_round(parts, live, total)


def wants_more(parts: Parts, job: Job, total: Meter) -> bool:
    """Let the search select the next round's requests, unless a budget is spent."""
    if job.meter.exhausts(parts.budget) or total.exhausts(parts.run_budget):
        job.requests = []
    else:
        job.requests = parts.search.select(job.tree)
    job.tree.usage = job.meter.usage()
    return bool(job.requests)


def play_round(parts: Parts, jobs: Sequence[Job], total: Meter) -> None:
    """Serve all requests of all jobs with one call to each plug-in, then let every search take in what grew."""
    growths = propose_round(parts, jobs, total)
    states = advance_round(parts, jobs, growths, total)
    scores = score_round(parts, jobs, growths, states, total)
    for job in jobs:
        job.first_new = len(job.tree)
        job.grown = {request.node: [] for request in job.requests}
    for (owner, growth), after, scored in zip(growths, states, scores):
        jobs[owner].grown[growth.node].extend(grow(jobs[owner].tree, growth, after, scored))
    judge_round(parts, jobs, total)
    for job in jobs:
        parts.search.backup(job.tree, job.grown)


def propose_round(parts: Parts, jobs: Sequence[Job], total: Meter) -> Growths:
    """Ask the policy once for all requests of all jobs."""
    views, counts, owners = [], [], []
    for owner, job in enumerate(jobs):
        for request in job.requests:
            views.append(view_of(job.tree, request))
            counts.append(request.n)
            owners.append(owner)
            job.tree.asked[request.node] += request.n
    offers = iter(boundary.propose(parts.policy, views, counts, owners))
    total.model_calls += 1
    size = parameters_of(parts.policy)
    growths: Growths = []
    for owner, job in enumerate(jobs):
        job.meter.model_calls += 1
        for request in job.requests:
            offer = next(offers)
            job.meter.add_steps(offer.steps, size)
            total.add_steps(offer.steps, size)
            growths.append((owner, plan(job.tree, request.node, offer)))
    return growths


def view_of(tree: SearchTree, request: Request) -> State:
    """Return what the policy sees: the node's state or the request's view, and how often it was asked before."""
    view = tree.states[request.node] if request.view is None else request.view
    asked = tree.asked[request.node]
    return replace(view, draw=asked) if asked and view.draw == 0 else view


def advance_round(
    parts: Parts, jobs: Sequence[Job], growths: Growths, total: Meter
) -> list[list[State | Failure]]:
    """Take every new step with one call, and charge what tools cost."""
    states, steps, owners = [], [], []
    for owner, growth in growths:
        before = jobs[owner].tree.states[growth.node]
        for step in growth.fresh:
            states.append(before)
            steps.append(step)
            owners.append(owner)
    started = time.perf_counter()
    after = boundary.advance(parts.domain, states, steps, owners) if states else []
    replied = [
        owner for owner, state in zip(owners, after) if isinstance(state, State) and state.steps[-1].reply
    ]
    if replied and getattr(parts.domain, "sandbox", None) is not None:
        charge_sandbox(jobs, replied, time.perf_counter() - started, total)
    for owner, state in zip(owners, after):
        if isinstance(state, State) and (tokens := state.steps[-1].num_reply_tokens):
            jobs[owner].meter.tool_tokens += tokens
            total.tool_tokens += tokens
    rest = iter(after)
    return [[next(rest) for _ in growth.fresh] for _, growth in growths]


def charge_sandbox(jobs: Sequence[Job], owners: Sequence[int], seconds: float, total: Meter) -> None:
    """Split the seconds of one batched call evenly over its items."""
    for owner in owners:
        jobs[owner].meter.sandbox_s += seconds / len(owners)
    total.sandbox_s += seconds


def score_round(
    parts: Parts, jobs: Sequence[Job], growths: Growths, states: list[list[State | Failure]], total: Meter
) -> list[list[float | Failure | None]]:
    """Score every new state with one call; `None` where nothing is to be scored."""
    if parts.reward_model is None:
        return [[None] * len(own) for own in states]
    good, owners = [], []
    for (owner, _), own in zip(growths, states):
        for state in own:
            if isinstance(state, State):
                good.append(state)
                owners.append(owner)
    scores = boundary.score(parts.reward_model, good, owners) if good else []
    total.model_calls += bool(good)
    for owner in set(owners):
        jobs[owner].meter.model_calls += 1
    if size := parameters_of(parts.reward_model):
        for owner, state in zip(owners, good):
            flops = 2.0 * size * tokens_of(state)
            jobs[owner].meter.flops += flops
            total.flops += flops
    rest = iter(scores)
    return [[next(rest) if isinstance(state, State) else None for state in own] for own in states]


def judge_round(parts: Parts, jobs: Sequence[Job], total: Meter) -> None:
    """Group the new answers by the verifier's `same`, and note its verdicts where the search may see them."""
    ended = [
        (owner, node)
        for owner, job in enumerate(jobs)
        for node in range(job.first_new, len(job.tree))
        if job.tree.status[node] is NodeStatus.ENDED and job.tree.states[node].answer is not None
    ]
    if not ended:
        return
    same = getattr(parts.verifier, "same", None)
    for owner, node in ended:
        group_answer(jobs[owner].tree, node, same)
    if parts.verifier is None or not parts.see_verdicts:
        return
    owners = [owner for owner, _ in ended]
    answers = [jobs[owner].tree.states[node].answer or "" for owner, node in ended]
    started = time.perf_counter()
    verdicts = boundary.verify(parts.verifier, [jobs[owner].problem for owner in owners], answers, owners)
    if getattr(parts.verifier, "sandbox", None) is not None:
        charge_sandbox(jobs, owners, time.perf_counter() - started, total)
    for (owner, node), verdict in zip(ended, verdicts):
        if isinstance(verdict, Failure):
            jobs[owner].tree.notes[node] = verdict.reason
        else:
            jobs[owner].tree.verdicts[node] = verdict


def group_answer(tree: SearchTree, node: int, same: Callable[[str, str], bool] | None) -> None:
    """Put an answer beside the first one that is the same."""
    answer = tree.states[node].answer
    for first in dict.fromkeys(tree.groups.values()):
        other = tree.states[first].answer
        if answer == other or (same is not None and same(str(answer), str(other))):
            tree.groups[node] = first
            return
    tree.groups[node] = node

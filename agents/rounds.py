"""One round of search for several trees: select, propose, advance, score, grow, judge, backup.

This is the inner loop of everything: what runs once a step is written flat, and what is rare is in functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from operator import is_, itemgetter

from stepgym.agents import boundary
from stepgym.agents.boundary import Failure
from stepgym.agents.grow import Growth, grow_all, plan
from stepgym.agents.meter import Meter, parameters_of, tokens_read
from stepgym.agents.types import (
    NO_LIMIT,
    Budget,
    NodeStatus,
    Policy,
    Request,
    RewardModel,
    Search,
    SearchTree,
)
from stepgym.envs.types import Domain, Problem, State, Step, Verifier

ENDED, OPEN = (
    NodeStatus.ENDED,
    NodeStatus.OPEN,
)  # bound once: looking a member up costs seven times the comparison


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


@dataclass(slots=True)
class Run:
    """All jobs of a run; `model_calls` are real calls, however many jobs shared each."""

    jobs: Sequence[Job] = ()
    model_calls: int = 0
    started: float = field(default_factory=time.perf_counter)
    spent: Meter = field(default_factory=Meter)
    """What jobs have spent that are done and no longer among `jobs`."""

    def retire(self, done: Sequence[Job]) -> None:
        """Forget jobs that are done, but not what they have spent."""
        gone = {id(job) for job in done}
        self.jobs = [job for job in self.jobs if id(job) not in gone]
        for job in done:
            self.spent.add(job.meter)

    def exhausts(self, budget: Budget) -> bool:
        """Say whether all jobs together have reached a limit."""
        if budget is NO_LIMIT:
            return False
        total = Meter(started=self.started)
        total.add(self.spent)
        for job in self.jobs:
            total.add(job.meter)
        total.model_calls = self.model_calls
        return total.exhausts(budget)


def may_go_on(parts: Parts, job: Job, run: Run) -> bool:
    """Say whether no budget is spent."""
    return not (job.meter.exhausts(parts.budget) or run.exhausts(parts.run_budget))


def wants_more(parts: Parts, job: Job, run: Run) -> bool:
    """Let the search select the next round's requests, unless a budget is spent."""
    return go_on(job, parts.search.select(job.tree) if may_go_on(parts, job, run) else [])


def go_on(job: Job, requests: list[Request]) -> bool:
    """Note what a job asks for in the next round; without requests it is done."""
    job.requests = requests
    if not requests:
        job.tree.usage = job.meter.usage()
    return bool(requests)


def take_in_alone(parts: Parts, more: Callable[[Job], bool]) -> TakeIn:
    """Return what lets each tree take in its part by itself; `more` selects."""
    backup = parts.search.backup

    def take_in(jobs: Sequence[Job], growns: Sequence[Mapping[int, Sequence[int]]]) -> list[Job]:
        live = []
        for job, grown in zip(jobs, growns):
            backup(job.tree, grown)
            if more(job):
                live.append(job)
        return live

    return take_in


TakeIn = Callable[[Sequence[Job], Sequence[Mapping[int, Sequence[int]]]], list[Job]]
"""Lets searches take in what grew in their trees and select their next requests; returns the jobs that go on."""


def play_round(parts: Parts, jobs: Sequence[Job], run: Run, take_in: TakeIn) -> list[Job]:
    """Serve all requests of all jobs with one call to each plug-in, let `take_in` have what grew, and return the jobs
    that go on.

    Each tree backs up as soon as it has grown, while it is in the processor's cache; if the search sees verdicts, all
    trees wait for them.
    """
    again: list[int] = []
    growths, counts, faults = _propose(parts, jobs, again)
    run.model_calls += 1
    after, owners, is_plain = _advance(parts, jobs, growths)
    scores = _score(parts, jobs, after, owners, again)
    run.model_calls += (parts.reward_model is not None and bool(after)) + len(again)
    for owner in again:
        jobs[owner].meter.model_calls += 1
    same = getattr(parts.verifier, "same", None)
    waits = parts.verifier is not None and parts.see_verdicts
    live: list[Job] = []
    growns, ended = [], []
    at = first = 0
    for owner, (job, count) in enumerate(zip(jobs, counts)):
        last = first + count
        own = growths[first:last]
        end = at + sum([len(fresh) for _, fresh, _ in own])
        first_new = len(job.tree.states)
        wrong = [faults.get(i, "") for i in range(first, last)] if faults else ()
        grown = grow_all(job.tree, own, after[at:end], scores[at:end], wrong, is_plain)
        first, at = last, end
        answered = _group_answers(job.tree, first_new, same)
        if waits:
            ended += [(owner, node) for node in answered]
        if waits:
            growns.append(grown)
        else:
            live += take_in([job], [grown])
    if ended:
        _judge(parts, jobs, ended)
    return live + take_in(jobs, growns) if growns else live


def _propose(
    parts: Parts, jobs: Sequence[Job], again: list[int]
) -> tuple[list[Growth], list[int], dict[int, str]]:
    """Ask the policy once for all requests; return the growths job after job, how many each job has, and by position
    what was wrong with a proposal.

    Jobs that had to be asked again alone are appended to `again`.
    """
    views: list[State] = []
    wanted: list[int] = []
    owners: list[int] = []
    for owner, job in enumerate(jobs):
        states, asked, status = job.tree.states, job.tree.asked, job.tree.status
        for node, n, view in job.requests:
            if n < 1 or status[node] is not OPEN:
                raise ValueError(
                    f"{parts.search!r} asked for {n} steps at node {node}, which is {status[node].value}; a search "
                    "asks open nodes for one step or more, and nothing when it is finished"
                )
            seen = states[node] if view is None else view
            if before := asked[node]:
                seen = _redrawn(seen, before) if seen.draw == 0 else seen
            views.append(seen)
            wanted.append(n)
            asked[node] = before + n
        owners += [owner] * len(job.requests)
    offers, faults = boundary.propose(parts.policy, views, wanted, owners, again)
    size = parameters_of(parts.policy)
    growths: list[Growth] = []
    counts = []
    at = 0
    for job in jobs:
        requests, meter = job.requests, job.meter
        count = len(requests)
        own = offers[at : at + count]
        at += count
        meter.model_calls += 1
        meter.add_steps([step for steps in own for step in steps], size)
        growths += plan(job.tree, requests, own)
        counts.append(count)
    return growths, counts, faults


def _redrawn(state: State, draw: int) -> State:
    """Return what a policy sees of a state that it was asked for `draw` steps before."""
    if type(state) is not State:
        return replace(state, draw=draw)
    return State(state.prompt, state.steps, state.answer, state.end, state.public, draw)


def _advance(
    parts: Parts, jobs: Sequence[Job], growths: Sequence[Growth]
) -> tuple[Sequence[State | Failure], list[int], bool]:
    """Take every new step with one call; return the states, the job of each, and whether all steps went in as
    they were proposed."""
    states: list[State] = []
    steps: list[Step] = []
    owners: list[int] = []
    at = iter(growths)
    for owner, job in enumerate(jobs):
        before = job.tree.states
        for node, fresh, _ in islice(at, len(job.requests)):
            states += [before[node]] * len(fresh)
            steps += fresh
        owners += [owner] * (len(steps) - len(owners))
    started = time.perf_counter()
    after = boundary.advance(parts.domain, states, steps, owners) if states else []
    if set(map(type, after)) <= {State}:
        last = [state.steps[-1] for state in after]  # type: ignore[union-attr]
        if all(map(is_, last, steps)):
            return after, owners, True
    replied = [
        i for i, state in enumerate(after) if isinstance(state, State) and state.steps[-1].reply
    ]
    if replied and getattr(parts.domain, "sandbox", None) is not None:
        _charge_sandbox(jobs, [owners[i] for i in replied], time.perf_counter() - started)
    for i in replied:
        jobs[owners[i]].meter.tool_tokens += after[i].steps[-1].num_reply_tokens  # type: ignore[union-attr]
    return after, owners, False


def _charge_sandbox(jobs: Sequence[Job], owners: Sequence[int], seconds: float) -> None:
    """Split the seconds of one batched call evenly over its items."""
    for owner in owners:
        jobs[owner].meter.sandbox_s += seconds / len(owners)


def _score(
    parts: Parts,
    jobs: Sequence[Job],
    after: Sequence[State | Failure],
    owners: Sequence[int],
    again: list[int],
) -> Sequence[float | Failure | None]:
    """Score every new state with one call; `None` where nothing is to be scored."""
    if parts.reward_model is None or not after:
        return [None] * len(after)
    good = [i for i, state in enumerate(after) if isinstance(state, State)]
    states: Sequence[State] = after  # type: ignore[assignment]
    own = owners
    if len(good) < len(after):
        states, own = [states[i] for i in good], [owners[i] for i in good]
    given = boundary.score(parts.reward_model, states, own, again) if good else []
    for owner in set(own):
        jobs[owner].meter.model_calls += 1
    if size := parameters_of(parts.reward_model):
        for owner, item in groupby(zip(own, states), key=itemgetter(0)):
            job = jobs[owner]
            job.meter.flops += (
                2.0 * size * tokens_read(parts.reward_model, job.tree, [state for _, state in item])
            )
    if len(good) == len(after):
        return given
    scores: list[float | Failure | None] = [None] * len(after)
    for i, score in zip(good, given):
        scores[i] = score
    return scores


def _group_answers(
    tree: SearchTree, first_new: int, same: Callable[[str, str], bool] | None
) -> list[int]:
    """Group the answers among the new nodes by the verifier's `same` and return those nodes."""
    states = tree.states
    answered = [
        node
        for node, status in enumerate(tree.status[first_new:], start=first_new)
        if status is ENDED and states[node].answer is not None
    ]
    for node in answered:
        group_answer(tree, node, same)
    return answered


def _judge(parts: Parts, jobs: Sequence[Job], ended: Sequence[tuple[int, int]]) -> None:
    """Note the verdicts on new answers, each a job's position and a node, for the search to see."""
    assert parts.verifier is not None
    owners = [owner for owner, _ in ended]
    answers = [str(jobs[owner].tree.states[node].answer) for owner, node in ended]
    started = time.perf_counter()
    verdicts = boundary.verify(
        parts.verifier, [jobs[owner].problem for owner in owners], answers, owners
    )
    if getattr(parts.verifier, "sandbox", None) is not None:
        _charge_sandbox(jobs, owners, time.perf_counter() - started)
    for (owner, node), verdict in zip(ended, verdicts):
        if isinstance(verdict, Failure):
            jobs[owner].tree.notes[node] = verdict.reason
        else:
            jobs[owner].tree.verdicts[node] = verdict


def group_answer(tree: SearchTree, node: int, same: Callable[[str, str], bool] | None) -> None:
    """Put an answer beside the first one that is the same; equal strings are found without asking the verifier."""
    answer = str(tree.states[node].answer)
    firsts: dict[str, int] = tree.memory.setdefault("answers", {})
    first = firsts.get(answer)
    if first is None:
        first = node
        if same is not None:
            known = (
                at for other, at in firsts.items() if at == tree.groups[at] and same(answer, other)
            )
            first = next(known, node)
        firsts[answer] = first
    tree.groups[node] = first

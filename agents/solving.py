"""`solve`: any agent on any problems, one record each."""

from __future__ import annotations

import importlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Protocol

from stepgym.agents import boundary
from stepgym.agents.description import describe
from stepgym.agents.lockstep import bound, grow_trees, start_jobs
from stepgym.agents.meter import Meter
from stepgym.agents.players import make_search
from stepgym.agents.record import make_record
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.rounds import Job, Parts, Run
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    EpisodeRecord,
    Policy,
    RewardModel,
    Search,
    SearchTree,
)
from stepgym.envs.types import Domain, Problem, ProblemSet, Status, StepVerifier, Verdict, Verifier
from stepgym.plugins.errors import UserError


class Environment(Protocol):
    """What `solve` reads of an environment (`stepgym.envs.reasoning_env.ReasoningEnv` has it)."""

    problems: ProblemSet
    domain: Domain
    verifier: Verifier


def solve(
    problems: str | Any | Sequence[Problem],
    *,
    agent: str | Search = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    episodes: int | None = None,
    seed: int = 0,
    level: int | None = None,
    env: Any = None,
    agent_settings: Mapping[str, Any] | None = None,
    env_options: Mapping[str, Any] | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 64,
    continuous: bool = False,
) -> list[EpisodeRecord]:
    """Solve problems and return one record each, in order.

    `problems` is an environment's id, an environment, or a list of problems with `env` (an id or an environment)
    saying how they go on and who verifies them. `episodes` is how many of an environment's problems, from the
    first (all of a list; 1 of an endless set). `see_verdicts=None` lets the search see verdicts where the verifier
    needs no reference to give them.
    """
    chosen, where = choose_problems(
        problems, env, episodes, seed=seed, level=level, settings=env_options
    )
    try:
        return list(
            iter_solve(
                chosen,
                env=where,
                agent=agent,
                policy=policy,
                reward_model=reward_model,
                budget=budget,
                run_budget=run_budget,
                seed=seed,
                agent_settings=agent_settings,
                see_verdicts=see_verdicts,
                num_parallel=num_parallel,
                continuous=continuous,
            )
        )
    finally:
        if isinstance(problems, str) or isinstance(env, str):
            where.close()  # type: ignore[attr-defined] # made here, by its id


def iter_solve(
    problems: Iterable[Problem],
    *,
    env: Environment,
    agent: str | Search = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    seed: int = 0,
    agent_settings: Mapping[str, Any] | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 64,
    continuous: bool = False,
    verify_all: bool = False,
    attempt: int = 0,
) -> Iterator[EpisodeRecord]:
    """Solve problems `num_parallel` at a time and yield their records in order, each as soon as its turn has come.

    In lock-step a group of `num_parallel` is done before the next one starts; with `continuous` a problem that is
    done makes room for the next at once. A search that shares out its budget (`adaptive`) does so within each group,
    either way. `budget` limits each problem, `run_budget` all of them together, grading included. With `verify_all`
    every answer and step in a tree gets its verdict, not only the chosen answer. `attempt` numbers the records of
    repeated attempts; give each attempt a seed of its own.
    """
    search = make_search(agent, seed, agent_settings)
    policy = load_policy(policy, seed=seed) if isinstance(policy, str) else policy
    if isinstance(reward_model, str):
        reward_model = load_reward_model(reward_model, seed=seed)
    if see_verdicts is None:
        see_verdicts = not getattr(env.verifier, "needs_reference", True)
    about = {
        "agent": agent if isinstance(agent, str) else type(search).__name__,
        "search": describe(search),
        "policy": describe(policy),
        "reward_model": describe(reward_model),
        "budget": describe(budget),
        "run_budget": describe(run_budget),
        "seed": seed,
        "see_verdicts": see_verdicts,
        "continuous": continuous,
    }
    models = (bound(policy, env.domain), bound(reward_model, env.domain))
    limits = (budget or NO_LIMIT, run_budget or NO_LIMIT)
    parts = Parts(env.domain, *models, search, env.verifier, see_verdicts, *limits)
    run = Run()
    for done in _play(parts, run, iter(problems), num_parallel, continuous):
        run.retire(done)
        yield from records_of(
            [job.problem for job in done],
            [job.tree for job in done],
            search=search,
            env=env,
            agent=about,
            verify_all=verify_all,
            attempt=attempt,
            spent=run.spent,
        )


def _play(
    parts: Parts, run: Run, problems: Iterator[Problem], size: int, continuous: bool
) -> Iterator[list[Job]]:
    """Play problems and yield those that are done, in order; `run.jobs` holds those that are not yet retired."""
    if not continuous or hasattr(parts.search, "allocate"):
        while group := list(islice(problems, size)):
            run.jobs = start_jobs(parts, group, None)
            grow_trees(parts, run, continuous=continuous)
            yield list(run.jobs)
        return
    from stepgym.agents.continuous import stream_continuous

    def jobs() -> Iterator[Job]:
        for problem in problems:
            (job,) = start_jobs(parts, [problem], None)
            run.jobs = [*run.jobs, job]
            yield job

    yield from stream_continuous(parts, run, jobs(), size)


def records_of(
    problems: Sequence[Problem],
    trees: Sequence[SearchTree],
    *,
    search: Search,
    env: Environment,
    agent: Mapping[str, Any] | None = None,
    verify_all: bool = False,
    attempt: int = 0,
    spent: Meter | None = None,
) -> list[EpisodeRecord]:
    """Verify each tree's chosen answer in one call, and make the records.

    With `verify_all` every answer in the trees is verified, and every step if the environment has a step verifier.
    The sandbox's seconds go to the trees' usage, and to `spent`.
    """
    bests = [search.best(tree) for tree in trees]
    asked = [
        (at, node)
        for at, (tree, best) in enumerate(zip(trees, bests))
        for node in (range(len(tree)) if verify_all else [best])
        if node not in tree.verdicts and tree.states[node].answer is not None
    ]
    owners = [at for at, _ in asked]
    answers = [str(trees[at].states[node].answer) for at, node in asked]
    started = time.perf_counter()
    given = (
        boundary.verify(env.verifier, [problems[at] for at in owners], answers, owners)
        if asked
        else []
    )
    if asked and getattr(env.verifier, "sandbox", None) is not None:
        _charge_sandbox(trees, owners, time.perf_counter() - started, spent)
    for (at, node), verdict in zip(asked, given):
        if isinstance(verdict, Verdict):
            trees[at].verdicts[node] = verdict
        else:
            trees[at].notes[node] = verdict.reason
    env_id = str(getattr(env, "env_id", None) or "")
    options = getattr(getattr(env, "spec", None), "kwargs", {})
    step_verifier = getattr(env, "step_verifier", None) if verify_all else None
    step_verdicts = verified_steps(step_verifier, problems, trees)
    return [
        make_record(
            tree,
            problem,
            best=best,
            verdict=tree.verdicts.get(best),
            env_id=env_id,
            env_options=describe(options),
            attempt=attempt,
            step_verdicts=verdicts,
            agent=agent,
        )
        for tree, problem, best, verdicts in zip(trees, problems, bests, step_verdicts)
    ]


def verified_steps(
    step_verifier: StepVerifier | None, problems: Sequence[Problem], trees: Sequence[SearchTree]
) -> list[dict[int, Status]]:
    """Return for each tree the step verifier's status of every node's step, by node; empty without a step verifier.

    A step verifier that fails leaves its trees without step verdicts, and a note at their root.
    """
    found: list[dict[int, Status]] = [{} for _ in trees]
    if step_verifier is None:
        return found
    leaves = [
        (at, node)
        for at, tree in enumerate(trees)
        for node in range(len(tree))
        if not tree.children[node] and tree.states[node].steps
    ]
    if not leaves:
        return found
    owners = [at for at, _ in leaves]
    given = boundary.verify_steps(
        step_verifier,
        [problems[at] for at in owners],
        [trees[at].states[node] for at, node in leaves],
        owners,
    )
    for (at, leaf), verdicts in zip(leaves, given):
        tree = trees[at]
        if isinstance(verdicts, boundary.Failure):
            tree.notes.setdefault(ROOT, verdicts.reason)
            continue
        path = tree.path(leaf)
        # a tree that begins below the first state has fewer nodes than steps
        for node, verdict in zip(reversed(path[1:]), reversed(verdicts)):
            found[at][node] = verdict.status
    return found


def _charge_sandbox(
    trees: Sequence[SearchTree], owners: Sequence[int], seconds: float, spent: Meter | None
) -> None:
    """Split the seconds of one call evenly over its answers."""
    for at, answers in Counter(owners).items():
        usage = trees[at].usage
        trees[at].usage = replace(
            usage, sandbox_s=usage.sandbox_s + seconds * answers / len(owners)
        )
    if spent is not None:
        spent.sandbox_s += seconds


def choose_problems(
    problems: Any,
    env: Any,
    episodes: int | None,
    *,
    seed: int,
    level: int | None,
    settings: Mapping[str, Any] | None,
) -> tuple[Iterable[Problem], Environment]:
    """Return the problems to solve and the environment they belong to; raises `ValueError` on what is neither."""
    is_env = isinstance(problems, str) or hasattr(problems, "domain")
    where = _environment(problems if is_env else env, seed, level, settings)
    if not is_env:
        given = [problems] if isinstance(problems, Problem) else list(problems)
        return given[:episodes], where
    source = where.problems
    if episodes is None:
        episodes = len(source) if len(source) <= 1_000_000 else 1
    if episodes > len(source):
        raise UserError(f"episodes={episodes}, but {source.name} has {len(source)} problems")
    return (source[index] for index in range(episodes)), where


def _environment(
    env: Any, seed: int, level: int | None, settings: Mapping[str, Any] | None
) -> Environment:
    if env is None:
        raise UserError(
            "a list of problems needs env=: an environment or its id, which says how they go on"
        )
    if isinstance(env, str):
        load_env = importlib.import_module("stepgym.envs.registry").load_env
        options = {**({} if level is None else {"level": level}), **(settings or {})}
        loaded: Environment = load_env(env, **{"seed": seed, **options})
        return loaded
    unwrapped: Environment = getattr(env, "unwrapped", env)
    return unwrapped

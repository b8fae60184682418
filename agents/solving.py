"""`solve`: any agent on any problems, one record each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from stepgym.agents import boundary
from stepgym.agents.agent_runs import run_agent
from stepgym.agents.boundary import Failure
from stepgym.agents.continuous import stream_continuous
from stepgym.agents.description import describe
from stepgym.agents.episode import ModelCall
from stepgym.agents.jobs import Executor, Job
from stepgym.agents.policies.verified_steps import pruned
from stepgym.agents.record import make_record
from stepgym.agents.registry import load_policy, load_reward_model
from stepgym.agents.rounds import ProblemSearch, RunProgress, SearchComponents, verify_nodes
from stepgym.agents.run_setup import AnyAgent, choose_problems, make_agent
from stepgym.agents.run_setup import agent_name as name_of
from stepgym.agents.searching import bind_domain, grow_trees, start_searches
from stepgym.agents.types import (
    NO_LIMIT,
    ROOT,
    Budget,
    EpisodeRecord,
    NamesServedModels,
    NodeStatus,
    Policy,
    RewardModel,
    Search,
    SearchTree,
    ServesConcurrently,
    SharesBudget,
)
from stepgym.envs.types import (
    Closeable,
    Environment,
    Problem,
    Status,
    StepVerifier,
    needs_reference,
    options_of,
)
from stepgym.plugins.errors import UserError


def solve(
    problems: str | Any | Sequence[Problem],
    *,
    agent: str | AnyAgent | type = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    episodes: int | None = None,
    seed: int = 0,
    level: int | None = None,
    env: Any = None,
    agent_settings: Mapping[str, Any] | None = None,
    agent_name: str | None = None,
    env_options: Mapping[str, Any] | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 64,
    continuous: bool | None = None,
    executor: Executor | None = None,
) -> list[EpisodeRecord]:
    """Solve problems and return one record each, in order.

    `problems` is an environment's id, an environment, or a list of problems of `env` (an id or an environment).
    `level` and `env_options` go to an environment that is given by its id. `episodes` is how many problems are
    solved, from the first (default: all of a list or a data file, 1 of an endless set).

    `agent` is a name (`greedy`, `mcts`), a search, or an agent that drives itself; `agent_settings` are the settings
    of a name or class. `budget` limits each problem, `run_budget` all of them together; `num_parallel` problems are
    searched at once. With `see_verdicts=None` the search sees verdicts if they do not need the reference. With
    `continuous=None` problems do not wait for each other if the policy is in front of a server.

    An `executor` (`stepgym.agents.executors`) plays in other processes; everything is then given by name. Raises
    `UnknownNameError` and `SettingError` for names and settings, `SandboxError` for a sandbox that fails, and
    `RunStopped` for a server that is gone. A plug-in that fails gives a record with the verdict `failed`.
    """
    chosen, where = choose_problems(
        problems, env, episodes=episodes, seed=seed, level=level, env_options=env_options
    )
    try:
        if executor is not None:
            if run_budget is not None:
                raise UserError("a budget for the whole run needs one process; leave out executor=")
            job = Job(
                env_id=problems,  # type: ignore[arg-type]  # a job refuses objects with a message
                env_options={**({} if level is None else {"level": level}), **(env_options or {})},
                agent=agent,  # type: ignore[arg-type]
                agent_settings=agent_settings or {},
                policy=policy,  # type: ignore[arg-type]
                reward_model=reward_model,  # type: ignore[arg-type]
                budget=budget,
                seed=seed,
                see_verdicts=see_verdicts,
                num_parallel=num_parallel,
                continuous=continuous,
            )
            records = executor.play(job, range(len(list(chosen))))
            return sorted(records, key=lambda record: record.index)
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
                agent_name=agent_name,
                see_verdicts=see_verdicts,
                num_parallel=num_parallel,
                continuous=continuous,
            )
        )
    finally:
        was_made_here = isinstance(problems, str) or isinstance(env, str)
        if was_made_here and isinstance(where, Closeable):
            where.close()


def iter_solve(
    problems: Iterable[Problem],
    *,
    env: Environment,
    agent: str | AnyAgent | type = "greedy",
    policy: str | Policy = "embedded",
    reward_model: str | RewardModel | None = None,
    budget: Budget | None = None,
    run_budget: Budget | None = None,
    seed: int = 0,
    agent_settings: Mapping[str, Any] | None = None,
    agent_name: str | None = None,
    see_verdicts: bool | None = None,
    num_parallel: int = 64,
    continuous: bool | None = None,
    verify_all: bool = False,
    attempt: int = 0,
) -> Iterator[EpisodeRecord]:
    """Solve problems `num_parallel` at a time and yield their records in order.

    Each record comes as early as possible. In lock-step a group of `num_parallel` is done before the next one starts;
    with `continuous` a problem that is done makes room for the next at once (`None`: if the policy is in front of a
    server). A search that shares its budget among problems (`adaptive`) does so within each group, either way.
    `budget` limits each problem, `run_budget` all of them together, grading included.

    With `verify_all` every answer and step in a tree gets its verdict, not only the chosen answer. `attempt` numbers
    the records of repeated attempts; give each attempt a seed of its own. `agent_name` is what records call an agent
    that is given as an object. The agent setting `prune="verified"` keeps steps that the step verifier proves wrong
    out of the tree. An `agent` is a search, or drives itself (`stepgym.agents.episode.Agent`); the model that it
    calls through its episode's endpoint is `policy`.
    """
    policy = load_policy(policy, seed=seed) if isinstance(policy, str) else policy
    policy, settings = pruned(policy, env, dict(agent_settings or {}))
    made = make_agent(agent, seed=seed, settings=settings)
    if isinstance(reward_model, str):
        reward_model = load_reward_model(reward_model, seed=seed)
    if see_verdicts is None:
        see_verdicts = not needs_reference(env.verifier)
    if continuous is None:
        continuous = isinstance(policy, ServesConcurrently)
    about = {
        "agent": agent_name or name_of(agent),
        "search": describe(made),
        "policy": describe(policy),
        "reward_model": describe(reward_model),
        "budget": describe(budget),
        "run_budget": describe(run_budget),
        "seed": seed,
        "see_verdicts": see_verdicts,
        "continuous": continuous,
    }

    def make(
        problems: Sequence[Problem],
        trees: Sequence[SearchTree],
        *,
        bests: Sequence[int],
        calls: Sequence[Sequence[ModelCall]] | None = None,
    ) -> list[EpisodeRecord]:
        served = {"served": list(policy.served)} if isinstance(policy, NamesServedModels) else {}
        return make_records(
            problems,
            trees,
            bests=bests,
            env=env,
            agent={**about, **served},
            verify_all=verify_all,
            attempt=attempt,
            calls=calls,
        )

    if not isinstance(made, Search):
        for one in run_agent(
            made,
            iter(problems),
            env=env,
            policy=lambda: bind_domain(policy, env.domain),
            budget=budget,
            run_budget=run_budget,
            see_verdicts=see_verdicts,
            num_parallel=num_parallel,
        ):
            yield from make([one.problem], [one.tree], bests=[one.best], calls=[one.calls])
        return
    components = SearchComponents(
        env.domain,
        bind_domain(policy, env.domain),
        bind_domain(reward_model, env.domain),
        made,
        env.verifier,
        see_verdicts,
        budget or NO_LIMIT,
        run_budget or NO_LIMIT,
    )
    progress = RunProgress()
    for done in _play(
        components, progress, iter(problems), num_parallel=num_parallel, continuous=continuous
    ):
        trees = [one.tree for one in done]
        bests = [_best(made, tree) for tree in trees]
        records = make([one.problem for one in done], trees, bests=bests)
        progress.retire(done)
        yield from records


def _play(
    components: SearchComponents,
    progress: RunProgress,
    problems: Iterator[Problem],
    *,
    num_parallel: int,
    continuous: bool,
) -> Iterator[list[ProblemSearch]]:
    """Play problems and yield the searches that are done, in order; `progress.searches` are those not yet retired."""
    if not continuous or isinstance(components.search, SharesBudget):
        while group := list(islice(problems, num_parallel)):
            progress.searches = start_searches(components, group)
            grow_trees(components, progress, continuous=continuous)
            yield list(progress.searches)
        return

    def searches() -> Iterator[ProblemSearch]:
        for problem in problems:
            (one,) = start_searches(components, [problem])
            progress.searches = [*progress.searches, one]
            yield one

    yield from stream_continuous(
        components, progress, searches=searches(), num_parallel=num_parallel
    )


def make_records(
    problems: Sequence[Problem],
    trees: Sequence[SearchTree],
    *,
    bests: Sequence[int],
    env: Environment,
    agent: Mapping[str, Any] | None = None,
    verify_all: bool = False,
    attempt: int = 0,
    calls: Sequence[Sequence[ModelCall]] | None = None,
) -> list[EpisodeRecord]:
    """Verify each tree's chosen answer, at the node in `bests`, in one call, and make the records.

    With `verify_all` every answer in the trees is verified, and every step if the environment has a step verifier.
    Sandbox time is charged to the trees' usage.
    """
    nodes = [
        (at, node)
        for at, (tree, best) in enumerate(zip(trees, bests))
        for node in (range(len(tree)) if verify_all else [best])
        if node not in tree.verdicts and tree.states[node].has_result
    ]
    verify_nodes(env.verifier, problems, trees, nodes=nodes)
    step_verifier = env.step_verifier if verify_all else None
    step_verdicts = verified_steps(step_verifier, problems, trees)
    return [
        make_record(
            tree,
            problem,
            best=best,
            verdict=tree.verdicts.get(best),
            env_id=env.env_id,
            env_options=describe(options_of(env)),
            attempt=attempt,
            step_verdicts=verdicts,
            agent=agent,
            calls=[call.as_json() for call in own_calls],
        )
        for tree, problem, best, verdicts, own_calls in zip(
            trees, problems, bests, step_verdicts, calls or [()] * len(trees)
        )
    ]


def _best(search: Search, tree: SearchTree) -> int:
    """Return the node that the search chooses; the root if the search failed."""
    if tree.status[ROOT] is NodeStatus.FAILED:
        return ROOT
    best = boundary.best(search, tree)
    if isinstance(best, Failure):
        boundary.fail_tree(tree, best)
        return ROOT
    return best


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
        owners=owners,
    )
    for (at, leaf), verdicts in zip(leaves, given):
        tree = trees[at]
        if isinstance(verdicts, Failure):
            boundary.note(tree, ROOT, verdicts.reason)
            continue
        path = tree.path(leaf)
        # a tree that begins below the first state has fewer nodes than steps
        for node, verdict in zip(reversed(path[1:]), reversed(verdicts)):
            found[at][node] = verdict.status
    return found

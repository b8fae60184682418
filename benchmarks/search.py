"""Overhead of tree search without a model, in CPU microseconds per simulation, side by side with peers.

A scripted policy proposes four steps at every node down to depth 8. The time spent in policy, domain and reward model
is measured and subtracted from our times; the peers' plug-ins take almost none. All cases run interleaved, in several
rounds. Peers are searched in `--peers DIR`, a folder made by
`pip install --target DIR treequest && pip install --no-deps --target DIR llm-reasoners`; a peer that is not there is
reported as missing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from stepgym.agents import run_search
from stepgym.agents.search.mcts import MCTS
from stepgym.agents.search.puct import MCTSMemory
from stepgym.envs.types import End, Problem, State, Step

BRANCHING, DEPTH = 4, 8
LARGE_DEPTH = 12
"""For trees of 10,000 nodes and more: depth 8 has only 87,381 nodes."""
STEPS = [Step(str(i), log_prob=-0.5 - 0.3 * i, num_tokens=1) for i in range(BRANCHING)]
SCORES = [((i * 2654435761) % 1009) / 1009 for i in range(4096)]


class Timed:
    """Seconds spent inside the scripted plug-ins, to be subtracted."""

    seconds = 0.0


class Policy:
    """Proposes the same four steps at every node."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        started = time.process_time()
        steps = [STEPS[: counts[i]] for i in range(len(states))]
        Timed.seconds += time.process_time() - started
        return steps


class Domain:
    """Ends after `depth` steps. The public data is the path, so that merging looks at every state and merges none."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def initial(self, problem: Problem) -> State:
        return State(problem.prompt, public=1)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        started = time.process_time()
        after = []
        for state, step in zip(states, steps, strict=True):
            path = (*state.steps, step)
            done = len(path) == self.depth
            key = state.public * BRANCHING + int(step.text)  # type: ignore[operator]
            after.append(
                State("", path, str(key) if done else None, End.ANSWERED if done else None, key)
            )
        Timed.seconds += time.process_time() - started
        return after


class RewardModel:
    """Scores from a table."""

    def score(self, states: Sequence[State]) -> list[list[float]]:
        started = time.process_time()
        scores = [[SCORES[state.public * 7 % 4096]] for state in states]  # type: ignore[operator]
        Timed.seconds += time.process_time() - started
        return scores


class Measured(NamedTuple):
    """One run: seconds without the scripted plug-ins, simulations, nodes."""

    seconds: float
    simulations: int
    nodes: int

    @property
    def each(self) -> float:
        """Microseconds per simulation."""
        return 1e6 * self.seconds / self.simulations


def ours(search: MCTS, num_trees: int = 1, depth: int = DEPTH) -> Measured:
    """Run our MCTS on `num_trees` problems in lock-step."""
    problems = [Problem(f"p{i}", f"p{i}", "") for i in range(num_trees)]
    Timed.seconds = 0.0
    started = time.process_time()
    trees = run_search(
        problems, domain=Domain(depth), policy=Policy(), reward_model=RewardModel(), search=search
    )
    seconds = time.process_time() - started - Timed.seconds
    simulations = sum(tree.memory[MCTSMemory].started for tree in trees)
    return Measured(seconds, simulations, sum(map(len, trees)))


def floor(simulations: int, max_depth: int = DEPTH) -> Measured:
    """Run PUCT written by hand over bare lists, without steps, states, checks, budgets or records: the lower bound."""
    children: list[list[int]] = [[]]
    prior, total, score = [1.0], [0.0], [0.5]
    visits, depth = [0], [0]
    shares = [0.4, 0.3, 0.2, 0.1]
    started = time.process_time()
    for _ in range(simulations):
        node, path = 0, [0]
        while children[node]:
            weight, best, most = 1.25 * visits[node] ** 0.5, -1, -1e9
            for child in children[node]:
                n = visits[child]
                here = (total[child] / n if n else score[child]) + weight * prior[child] / (1 + n)
                if here > most:
                    best, most = child, here
            node = best
            path.append(node)
        if depth[node] < max_depth:
            for share in shares:
                children[node].append(len(visits))
                children.append([])
                prior.append(share)
                score.append(SCORES[len(visits) * 7 % 4096])
                visits.append(0)
                total.append(0.0)
                depth.append(depth[node] + 1)
        for on_path in path:
            visits[on_path] += 1
            total[on_path] += score[node]
    return Measured(time.process_time() - started, simulations, len(visits))


FULL = MCTS(
    simulations=4000, width=BRANCHING, leaves=8, widen=0.25, root_noise="dirichlet", until_end=False
)
"""With priors, virtual loss, transpositions, widening, root noise and closing of finished subtrees."""


def own_cases(quick: bool) -> dict[str, Callable[[], Measured]]:
    """Return the cases of this package."""
    scale = 8 if quick else 1
    return {
        "floor": lambda: floor(4000 // scale),
        "one_tree": lambda: ours(replace(FULL, simulations=4000 // scale)),
        "one_tree_until_end": lambda: ours(
            replace(FULL, simulations=4000 // scale, until_end=True)
        ),
        "lockstep_64": lambda: ours(replace(FULL, simulations=160 // scale), num_trees=64),
        "lockstep_256": lambda: ours(
            replace(FULL, simulations=160 // scale), num_trees=256 // scale
        ),
        "nodes_1000": lambda: ours(replace(FULL, simulations=250)),
        "nodes_10000": lambda: ours(replace(FULL, simulations=3600 // scale), depth=LARGE_DEPTH),
        "nodes_100000": lambda: ours(replace(FULL, simulations=36000 // scale), depth=LARGE_DEPTH),
        "floor_nodes_1000": lambda: floor(250),
        "floor_nodes_100000": lambda: floor(36000 // scale, LARGE_DEPTH),
    }


def llm_reasoners(simulations: int) -> Measured:
    """Run llm-reasoners' MCTS with its defaults."""
    from reasoners import SearchConfig, WorldModel  # type: ignore[import-not-found]
    from reasoners.algorithm import MCTS as Theirs  # type: ignore[import-not-found]

    class World(WorldModel):  # type: ignore[misc]
        def init_state(self) -> tuple[int, int]:
            return (1, 0)

        def step(
            self, state: tuple[int, int], action: int
        ) -> tuple[tuple[int, int], dict[str, Any]]:
            return (state[0] * BRANCHING + action, state[1] + 1), {}

        def is_terminal(self, state: tuple[int, int]) -> bool:
            return state[1] == DEPTH

    class Config(SearchConfig):  # type: ignore[misc]
        def get_actions(self, state: tuple[int, int]) -> list[int]:
            return list(range(BRANCHING))

        def fast_reward(self, state: tuple[int, int], action: int) -> tuple[float, dict[str, Any]]:
            return SCORES[(state[0] * BRANCHING + action) * 7 % 4096], {}

        def reward(
            self, state: tuple[int, int], action: int, **kwargs: Any
        ) -> tuple[float, dict[str, Any]]:
            return SCORES[(state[0] * BRANCHING + action) * 7 % 4096], {}

    algorithm = Theirs(n_iters=simulations, depth_limit=DEPTH)
    started = time.process_time()
    algorithm(World(), Config())
    return Measured(time.process_time() - started, simulations, 0)


def treequest(simulations: int, *, inplace: bool) -> Measured:
    """Run treequest's StandardMCTS. Its steps expand one child, our simulations four: four steps count as one."""
    from treequest.algos.standard_mcts import StandardMCTS  # type: ignore[import-not-found]

    algorithm = StandardMCTS(samples_per_action=BRANCHING)
    state = algorithm.init_tree()
    count = 0

    def generate(parent: int | None) -> tuple[int, float]:
        nonlocal count
        count += 1
        return count, SCORES[count * 7 % 4096]

    started = time.process_time()
    for _ in range(simulations * BRANCHING):
        state = algorithm.step(state, {"step": generate}, inplace=inplace)
    return Measured(time.process_time() - started, simulations, simulations * BRANCHING)


def peers(quick: bool) -> dict[str, tuple[Callable[[int], Measured], int]]:
    """Return each peer and its number of simulations; few for treequest's default, which copies its tree each step."""
    return {
        "llm_reasoners": (llm_reasoners, 200 if quick else 1000),
        "treequest": (partial(treequest, inplace=False), 25 if quick else 50),
        "treequest_inplace": (partial(treequest, inplace=True), 200 if quick else 500),
    }


def peer_cases(quick: bool) -> dict[str, Callable[[], Measured]]:
    """Return the peers' cases, each with a tree of ours with as many simulations."""
    cases: dict[str, Callable[[], Measured]] = {}
    for name, (run, simulations) in peers(quick).items():
        cases[name] = partial(run, simulations)
        cases[f"ours_beside_{name}"] = partial(ours, replace(FULL, simulations=simulations))
    return cases


def measure(rounds: int, quick: bool) -> dict[str, Any]:
    """Run all cases `rounds` times, interleaved, each between two runs of the lower bound; return medians and spreads.

    The speed of a shared machine varies by half and more, so that the ratio to the lower bound measured beside a case
    says more than its microseconds.
    """
    cases = {**own_cases(quick), **peer_cases(quick)}
    ours(replace(FULL, simulations=8), num_trees=64)  # loads all modules
    taken: dict[str, list[float]] = {name: [] for name in cases}
    relative: dict[str, list[float]] = {name: [] for name in cases}
    nodes: dict[str, int] = {}
    missing = {}
    for _ in range(rounds):
        for name, case in cases.items():
            if name in missing:
                continue
            beside = cases["floor"]().each
            try:
                run = case()
            except ImportError as error:
                missing[name] = f"{error}; see --peers"
                continue
            beside += cases["floor"]().each
            taken[name].append(run.each)
            relative[name].append(2 * run.each / beside)
            nodes[name] = run.nodes
    times = {name: statistics.median(values) for name, values in relative.items() if values}
    ratios = {
        f"{peer}_over_ours": times[peer] / times[f"ours_beside_{peer}"]
        for peer in peers(quick)
        if peer in times
    }
    ratios["nodes_100000_over_1000"] = times["nodes_100000"] / times["nodes_1000"]
    ratios["floor_nodes_100000_over_1000"] = times["floor_nodes_100000"] / times["floor_nodes_1000"]
    return {
        "benchmark": "search",
        "unit": "CPU microseconds per simulation, without the scripted plug-ins",
        "branching": BRANCHING,
        "depth": DEPTH,
        "rounds": rounds,
        "median": {name: statistics.median(values) for name, values in taken.items() if values},
        "spread": _spread(taken),
        "over_floor": times,
        "over_floor_spread": _spread(relative),
        "ratio": ratios,
        "nodes": nodes,
        "missing": missing,
        "machine": f"{os.cpu_count()}-core {platform.machine()}, {_cpu_model()}, Python {platform.python_version()}",
        "commit": _commit(),
    }


def _spread(values: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [min(own), max(own)] for name, own in values.items() if own}


def _cpu_model() -> str:
    """Return the processor's name, if the system knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown CPU"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        "unknown CPU",
    )


def _commit() -> str:
    """Return the measured commit, with `-dirty` if files differ from it; `unknown` without git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--quick", action="store_true", help="an eighth of the work")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", metavar="DIR", help="folder with treequest and llm-reasoners")
    given = parser.parse_args()
    if given.peers:
        sys.path.insert(
            0, given.peers
        )  # first: treequest's `ulid` is another package than the one of that name here
    result = measure(given.rounds, given.quick)
    if given.json:
        print(json.dumps(result))
        return
    for name, median in result["median"].items():
        low, high = result["spread"][name]
        times, (least, most) = result["over_floor"][name], result["over_floor_spread"][name]
        print(
            f"{name:<22}{median:>10.1f} us   [{low:.1f}, {high:.1f}] {times:>8.1f} floors   [{least:.1f}, {most:.1f}]"
        )
    for name, ratio in result["ratio"].items():
        print(f"{name:<32}{ratio:>8.1f}x")
    for name, reason in result["missing"].items():
        print(f"{name:<22}   missing: {reason}")


if __name__ == "__main__":
    main()

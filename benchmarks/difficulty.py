"""How the work that a problem needs grows with its level, for every family.

    python benchmarks/difficulty.py [--items 40] [--plays 200] [--families Sudoku,Limits] [--plot difficulty.png] [--json]

A family's work is counted by a plain solver without tricks, or read off the problem; `MEASURES` says which. Searches stop
at `MOST` nodes. Spearman's rank correlation is that of the level and the work over all problems drawn.

Two kinds of families are also played, and the environment's reward decides. In families with an answer in mathematics,
`paper_solver` calculates digit by digit, and each digit operation goes wrong with probability `SLIP`, the same in all
families. In games, one of `PLAYS` random legal plays has to be correct. Not covered: how hard a problem is for a language
model, which `stepgym eval` measures.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import random
import re
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from itertools import permutations
from typing import Any

from paper_arithmetic import Paper
from paper_solver import SOLVERS, is_solved, num_operations

from stepgym.agents.intervals import wilson
from stepgym.envs.families.countdown_solver import moves
from stepgym.envs.families.game import GameDomain
from stepgym.envs.families.hanoi import Hanoi
from stepgym.envs.families.mutation import mutants
from stepgym.envs.families.path_puzzle import PathPuzzle
from stepgym.envs.families.sliding_tiles import SlidingTiles
from stepgym.envs.registry import FAMILIES, load_env
from stepgym.envs.types import Problem, Step

LEVELS = range(1, 11)
MOST = 20_000
PLAYS = 8
SLIP = 0.02


def counted(nodes: Iterator[bool]) -> int:
    """Return how many nodes a search visits until it yields `True`, at most `MOST`."""
    for number, found in enumerate(nodes, start=1):
        if found or number == MOST:
            return number
    raise ValueError("the search found no solution")


def countdown(problem: Problem) -> int:
    """Depth-first search over legal steps."""
    numbers, target = _public(problem)

    def visit(left: tuple[int, ...]) -> Iterator[bool]:
        yield left == (target,)
        for move in moves(left):
            yield from visit(move.left)

    return counted(visit(numbers))


def twenty_four(problem: Problem) -> int:
    """Depth-first search over pairs of numbers and operations, with fractions."""

    def visit(left: tuple[Fraction, ...]) -> Iterator[bool]:
        yield left == (24,)
        for i, j in permutations(range(len(left)), 2):
            a, b = left[i], left[j]
            rest = tuple(left[k] for k in range(len(left)) if k not in (i, j))
            results = [a - b, *([a / b] if b else []), *([a + b, a * b] if i < j else [])]
            for result in results:
                yield from visit((*rest, result))

    return counted(visit(tuple(map(Fraction, _public(problem)[0]))))


def cells(problem: Problem) -> int:
    """Backtracking over the empty cells in reading order."""
    given = _public(problem)

    def visit(cell: int, assigned: tuple[int, ...]) -> Iterator[bool]:
        while cell < len(assigned) and assigned[cell] >= 0:
            cell += 1
        yield cell == len(assigned)
        if cell < len(assigned):
            taken = {assigned[other] for other in given.links[cell]}
            for value in range(len(given.values)):
                if value not in taken:
                    yield from visit(cell + 1, (*assigned[:cell], value, *assigned[cell + 1 :]))

    return counted(visit(0, given.assigned))


def path(puzzle: PathPuzzle) -> Callable[[Problem], int]:
    """Breadth-first search over arrangements."""

    def visit(problem: Problem) -> Iterator[bool]:
        start, goal, _ = _public(problem)
        seen, queue = {start}, [start]
        for arrangement in queue:
            yield arrangement == goal
            after = [a for a in puzzle.neighbours(arrangement).values() if a not in seen]
            seen.update(after)
            queue += after

    return lambda problem: counted(visit(problem))


def simple_paths(problem: Problem) -> int:
    """All paths from the start that visit no town twice, and end at the goal."""
    roads = re.findall(r"([A-Z])-([A-Z]) \d", problem.prompt)
    [(start, goal)] = re.findall(r"from ([A-Z]) to ([A-Z])\?", problem.prompt)
    near: dict[str, set[str]] = {}
    for a, b in roads:
        near.setdefault(a, set()).add(b)
        near.setdefault(b, set()).add(a)

    def visit(way: str) -> Iterator[bool]:
        yield False
        if way[-1] != goal:
            for town in sorted(near[way[-1]] - set(way)):
                yield from visit(way + town)

    return min(MOST, sum(1 for _ in visit(start)))


def assignments(problem: Problem) -> int:
    """Digits for letters: every assignment to try."""
    puzzle = re.findall(r"[A-Z]{2,}", re.findall(r"[A-Z]+ \+ .*? = [A-Z]+", problem.prompt)[0])
    return math.perm(10, len(set("".join(puzzle))))


def truth_table(problem: Problem) -> int:
    """Every literal of the formula in every case."""
    literals = re.findall(r"(?:[( ]|not )([A-F])(?= or|\))", problem.prompt)
    return int(2 ** len(set(literals)) * len(literals))


def choices(problem: Problem) -> int:
    """Every choice of things."""
    return int(2 ** len(re.findall(r"\(\d+, \d+\)", problem.prompt)))


def lines_run(problem: Problem) -> int:
    """Lines of the program that run, on the reference's input if it takes one."""
    source = re.findall(r"```\n(.*?)\n```", problem.prompt, re.DOTALL)[0]
    call = f"\nf({problem.reference})" if "def f(" in source else ""
    number = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal number
        number += event == "line" and frame.f_code.co_filename == "<program>"
        return trace

    code = compile(source + call, "<program>", "exec")
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        exec(code, {"print": lambda *_: None})
    finally:
        sys.settrace(before)
    return number


def size(problem: Problem) -> int:
    """Nodes of the reference's syntax tree."""
    return sum(1 for _ in ast.walk(ast.parse(problem.reference)))


def repairs(problem: Problem) -> int:
    """Edits to try: single mutations of the broken function, pairs of them where two were put in."""
    broken = re.findall(r"```\n(.*?)\n```", problem.prompt, re.DOTALL)[0]
    return int(len(mutants(broken)) ** (2 if (problem.level or 0) >= 8 else 1))


def asserts(problem: Problem) -> int:
    """Mutants to tell apart, times the size of the function that was mutated."""
    tree = ast.parse(problem.task["source"])
    return len(problem.task["mutants"]) * sum(1 for _ in ast.walk(tree))


def _public(problem: Problem) -> Any:
    return problem.public


MEASURES: dict[str, tuple[str, Callable[[Problem], int]]] = {
    "Countdown": ("nodes of a depth-first search", countdown),
    "TwentyFour": ("nodes of a depth-first search", twenty_four),
    "ModularSums": ("additions", lambda problem: len(problem.solution)),
    "Sudoku": ("nodes of backtracking", cells),
    "GraphColouring": ("nodes of backtracking", cells),
    "Hanoi": ("nodes of a breadth-first search", path(Hanoi())),
    "SlidingTiles": ("nodes of a breadth-first search", path(SlidingTiles())),
    "ShortestPaths": ("paths begun", simple_paths),
    "Cryptarithms": ("assignments", assignments),
    "Satisfiability": ("literals in all cases", truth_table),
    "Knapsack": ("choices", choices),
    "PredictOutput": ("lines that run", lines_run),
    "PredictInput": ("lines that run", lines_run),
    "WriteFunction": ("nodes of the syntax tree", size),
    "RepairCode": ("edits to try", repairs),
    "WriteTests": ("mutants times nodes of the syntax tree", asserts),
}
"""Family -> unit and measure; for the others, `paper_solver` counts digit operations."""


def measure(name: str) -> tuple[str, Callable[[Problem], int]]:
    if name in SOLVERS:
        return "digit operations", lambda problem: num_operations(name, problem.prompt)
    return MEASURES[name]


def work(name: str, level: int, count: int) -> list[int]:
    """Return the work of the first problems of a level, in order."""
    drawn = load_env(f"{name}-v0", level=level, seed=level).problems
    return [measure(name)[1](drawn[i]) for i in range(count)]


def num_solved(name: str, level: int, count: int) -> int | None:
    """Return how many of the first problems of a level are solved: by the solver with slips, or by random plays of a game.

    `None` for the other families.
    """
    env = load_env(f"{name}-v0", level=level, seed=level)
    rng = random.Random(level)
    if name in SOLVERS:
        return sum(is_solved(env, i, name, Paper(rng, slip=SLIP)) for i in range(count))
    if not isinstance(env.domain, GameDomain):
        return None
    return sum(
        any(_plays(env.domain, env.verifier, env.problems[i], rng) for _ in range(PLAYS))
        for i in range(count)
    )


def _plays(domain: GameDomain, verifier: Any, problem: Problem, rng: random.Random) -> bool:
    state = domain.initial(problem)
    while legal := domain.legal_steps(state):
        [state] = domain.advance([state], [Step(rng.choice(legal))])
    return bool(verifier.verify([problem], [state.answer or ""])[0].correct)


def spearman(pairs: Sequence[tuple[float, float]]) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks."""
    xs, ys = (_ranks(values) for values in zip(*pairs))
    return statistics.correlation(xs, ys)


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    first = {value: i for i, value in reversed(list(enumerate(ordered)))}
    return [first[value] + (ordered.count(value) - 1) / 2 for value in values]


def row(name: str, count: int, num_plays: int) -> dict[str, Any]:
    """Return a family's median work and share of solved problems by level."""
    by_level = {level: work(name, level, count) for level in LEVELS}
    pairs = [(level, value) for level, values in by_level.items() for value in values]
    solved = {level: num_solved(name, level, num_plays) for level in LEVELS}
    return {
        "family": name,
        "unit": measure(name)[0],
        "work": {level: statistics.median(values) for level, values in by_level.items()},
        "quartiles": {level: statistics.quantiles(v, n=4)[::2] for level, v in by_level.items()},
        "spearman": spearman(pairs),
        "plays": num_plays,
        "solved": None if None in solved.values() else solved,
    }


def shares(row: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Return the share of solved problems of each level, with its 95% Wilson interval; empty if nothing was played."""
    played = row["plays"]
    counts = (row["solved"] or {}).values()
    return [(count / played, *wilson(count, played)) for count in counts]


def plot(rows: Sequence[dict[str, Any]], file: str) -> None:
    """Draw a panel for each family: median work and quartiles by level, the share of solved problems in orange."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot, ticker

    columns = 8
    figure, axes = pyplot.subplots(
        -(-len(rows) // columns), columns, figsize=(17, 1.7 * -(-len(rows) // columns)), sharex=True
    )
    for axis in axes.flat[len(rows) :]:
        axis.axis("off")
    for axis, each in zip(axes.flat, rows):
        low, high = zip(*each["quartiles"].values())
        axis.fill_between(LEVELS, low, high, alpha=0.25, linewidth=0)
        axis.plot(LEVELS, list(each["work"].values()))
        axis.set_title(each["family"], fontsize=9)
        axis.set_yscale("log" if high[-1] > 30 * max(low[0], 1) else "linear")
        axis.yaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_xticks((1, 4, 7, 10))
        axis.tick_params(labelsize=7)
        if each["solved"] is not None:
            share, least, most = zip(*shares(each))
            other = axis.twinx()
            other.fill_between(LEVELS, least, most, alpha=0.25, linewidth=0, color="tab:orange")
            other.plot(LEVELS, share, color="tab:orange")
            other.set_ylim(0, 1.05)
            other.tick_params(labelsize=7)
    figure.tight_layout(pad=0.4, w_pad=1.2)
    figure.savefig(file, dpi=64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=40, help="problems of each level")
    parser.add_argument("--plays", type=int, default=200, help="problems of each level to play")
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--plot", metavar="PNG")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = [row(name, given.items, given.plays) for name in given.families.split(",")]
    if given.plot:
        plot(rows, given.plot)
    if given.json:
        print(json.dumps(rows))
        return
    print(f"| family | measure | {' | '.join(map(str, (1, 4, 7, 10)))} | Spearman | solved, % |")
    print("|---|---|---|---|---|---|---|---|")
    for each in rows:
        levels = " | ".join(f"{each['work'][level]:,.0f}" for level in (1, 4, 7, 10))
        solved = ", ".join(
            f"{100 * share:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
            for share, low, high in shares(each)[::3]
        )
        print(
            f"| {each['family']} | {each['unit']} | {levels} | {each['spearman']:.2f} | {solved} |"
        )


if __name__ == "__main__":
    main()

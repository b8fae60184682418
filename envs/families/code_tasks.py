"""Drawn programming tasks: what a function must do, in words, and a function that does it.

Kinds: pipelines over a list of numbers, strings, graphs, dynamic programming. Every loop runs over a range or an input
that the loop does not change, so that a mutant of a reference ends as well.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from stepgym.envs.families.mutation import outcomes
from stepgym.envs.families.text import scaled

NUM_INPUTS = 60
"""Inputs on which a reference and its mutants are compared."""

NODES = 7
"""Nodes of a graph are the numbers 0 to 6."""
NUMBERS = "(st.lists(st.integers(-20, 20), max_size=12),)"
TEXTS = "(st.text('abcd', max_size=12),)"
EDGES = "(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=12),)"
TOTALS = "(st.integers(0, 40),)"


class CodeTask(NamedTuple):
    """One function that is asked for."""

    kind: str
    entry_point: str
    statement: str
    """What the function returns, in words; it names the argument."""
    source: str
    """A function that does it."""
    strategies: str
    """Hypothesis strategies for the arguments, as source text."""
    draw: Callable[[random.Random], tuple[Any, ...]]
    """Draws arguments."""


def draw_task(rng: random.Random, level: int) -> CodeTask:
    """Draw a task of a level: short pipelines first, then strings, graphs and dynamic programming."""
    if level <= 3:
        return _pipeline(rng, level)
    kinds = ((_pipeline, _string), (_string, _graph), (_graph, _dynamic))
    task = rng.choice(kinds[(level >= 6) + (level >= 8)])(rng, level)
    return _prepared(rng, task, scaled(level, 0, 2)) if level >= 6 else task


PREPARATIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "text": (
        ("reverse `text`", "text = text[::-1]"),
        ("replace every `{x}` in `text` by `{y}`", "text = text.replace('{x}', '{y}')"),
        ("leave out the first {k} letters of `text`", "text = text[{k}:]"),
        ("write `text` twice, one behind the other", "text = text + text"),
    ),
    "edges": (
        (
            "leave out the pairs (a, b) for which {m} divides a + b",
            "edges = [(a, b) for a, b in edges if (a + b) % {m} != 0]",
        ),
        (
            "leave out the pairs with a > b + {k}",
            "edges = [(a, b) for a, b in edges if a <= b + {k}]",
        ),
        (
            "add to each pair (a, b) the pair of the remainders of a + {k} and b + {k} modulo 7",
            "edges = edges + [((a + {k}) % 7, (b + {k}) % 7) for a, b in edges]",
        ),
        ("leave out the last {k} pairs", "edges = edges[: max(0, len(edges) - {k})]"),
    ),
    "total": (
        ("add {k} to `total`", "total = total + {k}"),
        ("double `total`", "total = total * 2"),
        ("replace `total` by its remainder modulo {q}", "total = total % {q}"),
    ),
    "numbers": (
        ("add {k} to each number", "numbers = [n + {k} for n in numbers]"),
        ("reverse the order", "numbers = numbers[::-1]"),
        ("multiply each number by {k}", "numbers = [n * {k} for n in numbers]"),
        (
            "replace each number by its remainder modulo {q}, which is not negative",
            "numbers = [n % {q} for n in numbers]",
        ),
        ("keep only the numbers of at most {c}", "numbers = [n for n in numbers if n <= {c}]"),
    ),
}
"""For each argument, changes that come before the task, in words and as a line of Python."""


def _prepared(rng: random.Random, task: CodeTask, count: int) -> CodeTask:
    """Return the task with `count` changes of its argument before it."""
    head, _, body = task.source.partition("\n")
    argument = signature_argument(task)
    words, lines = [], []
    for sentence, line in rng.sample(PREPARATIONS[argument], count):
        x, y = rng.sample("abcd", 2)
        values = {
            "k": rng.randint(1, 4),
            "m": rng.randint(2, 5),
            "q": rng.randint(11, 31),
            "c": rng.randint(5, 15),
            "x": x,
            "y": y,
        }
        words.append(sentence.format(**values))
        lines.append(f"    {line.format(**values)}")
    statement = f"First, in this order: {'; '.join(words)}. Then: {task.statement}"
    source = "\n".join([head, *lines, body])
    return task._replace(statement=statement, source=source)


def signature_argument(task: CodeTask) -> str:
    """Return the name of the function's one argument."""
    return task.source.partition("(")[2].partition(")")[0]


def _function(name: str, argument: str, lines: list[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"def {name}({argument}):\n{body}\n"


def _numbers(rng: random.Random) -> tuple[Any, ...]:
    return ([rng.randint(-20, 20) for _ in range(rng.randint(0, 10))],)


def _text(rng: random.Random) -> tuple[Any, ...]:
    return ("".join(rng.choices("abcd", k=rng.randint(0, 12))),)


def _edges(rng: random.Random) -> tuple[Any, ...]:
    pairs = [(rng.randrange(NODES), rng.randrange(NODES)) for _ in range(rng.randint(2, 12))]
    return (pairs,)


def _total(rng: random.Random) -> tuple[Any, ...]:
    return (rng.randint(0, 40),)


STAGES: tuple[tuple[str, str], ...] = (
    ("keep only the numbers that {k} divides", "numbers = [n for n in numbers if n % {k} == 0]"),
    ("keep only the numbers above {c}", "numbers = [n for n in numbers if n > {c}]"),
    ("keep only the numbers of at most {c}", "numbers = [n for n in numbers if n <= {c}]"),
    ("add {k} to each number", "numbers = [n + {k} for n in numbers]"),
    ("multiply each number by {k}", "numbers = [n * {k} for n in numbers]"),
    (
        "replace each number by its remainder modulo {m}, which is not negative",
        "numbers = [n % {m} for n in numbers]",
    ),
    ("replace each number by its absolute value", "numbers = [abs(n) for n in numbers]"),
    ("leave out the first {k} numbers", "numbers = numbers[{k}:]"),
    ("keep every second number, beginning with the first", "numbers = numbers[::2]"),
    ("reverse the order", "numbers = numbers[::-1]"),
    (
        "replace each number by the sum of it and all numbers before it",
        "numbers = [sum(numbers[: i + 1]) for i in range(len(numbers))]",
    ),
    (
        "multiply each number by its position, where the first has position 1",
        "numbers = [n * i for i, n in enumerate(numbers, 1)]",
    ),
)
"""Stage in words, and as a line of Python; `k` is from 2 to 5, `c` from -5 to 9, `m` from 5 to 11."""
ENDINGS: tuple[tuple[str, str], ...] = (
    ("return their sum", "return sum(numbers)"),
    ("return the largest of them, or 0 if none is left", "return max(numbers, default=0)"),
    ("return how many different values are left", "return len(set(numbers))"),
    ("return the list", "return numbers"),
    (
        "return the sum of the first and the last of them, or -1 if fewer than 2 are left",
        "return numbers[0] + numbers[-1] if len(numbers) > 1 else -1",
    ),
)


def _pipeline(rng: random.Random, level: int) -> CodeTask:
    chosen = rng.sample(STAGES, min(level + 1, 6))
    words, lines = [], []
    for sentence, line in chosen:
        values = {"k": rng.randint(2, 5), "c": rng.randint(-5, 9), "m": rng.randint(5, 11)}
        words.append(sentence.format(**values))
        lines.append(line.format(**values))
    ending, last = rng.choice(ENDINGS)
    steps = "; ".join([*words, ending])
    statement = f"From the list `numbers` of integers, do this in order: {steps}."
    source = _function("process", "numbers", [*lines, last])
    return CodeTask("list", "process", statement, source, NUMBERS, _numbers)


def _string(rng: random.Random, level: int) -> CodeTask:
    k, letter = rng.randint(2, 4), rng.choice("abcd")
    others = "".join(sorted(rng.sample("abcd", 3)))
    statement, lines = rng.choice(
        (
            (
                f"Return the length of the longest run of equal letters in `text`, where only the letters {others} "
                f"count. A run of `{letter}` counts {k} more than its length. Without a run that counts, return 0.",
                [
                    "best = length = 0",
                    "for i, letter in enumerate(text):",
                    "    length = length + 1 if i > 0 and text[i - 1] == letter else 1",
                    f"    if letter in '{others}':",
                    f"        best = max(best, length + {k} * (letter == '{letter}'))",
                    "return best",
                ],
            ),
            (
                f"Return the number of pairs of positions in `text` that hold equal letters and are at most {k} apart. "
                f"Pairs of the letter `{letter}` count twice.",
                [
                    "count = 0",
                    "for i in range(len(text)):",
                    f"    for j in range(i + 1, min(len(text), i + {k} + 1)):",
                    "        if text[i] == text[j]:",
                    f"            count += 2 if text[i] == '{letter}' else 1",
                    "return count",
                ],
            ),
            (
                f"Shorten `text`: each run of {k} or more equal letters becomes the letter followed by the length of the "
                f"run; shorter runs stay as they are, but runs of `{letter}` are always shortened. Return the result.",
                [
                    "parts = []",
                    "for i, letter in enumerate(text):",
                    "    if i > 0 and text[i - 1] == letter:",
                    "        parts[-1] += letter",
                    "    else:",
                    "        parts.append(letter)",
                    f"short = lambda run: len(run) >= {k} or run[0] == '{letter}'",
                    "return ''.join(run[0] + str(len(run)) if short(run) else run for run in parts)",
                ],
            ),
        )
    )
    return CodeTask("string", "solve", statement, _function("solve", "text", lines), TEXTS, _text)


def _graph(rng: random.Random, level: int) -> CodeTask:
    start, goal = rng.sample(range(NODES), 2)
    rounds, least = rng.randint(2, 4), rng.randint(2, 3)
    directed = rng.random() < 0.5
    told = "from a to b" if directed else "in both directions"
    build = [
        "after = {node: set() for node in range(7)}",
        "for a, b in edges:",
        "    after[a].add(b)",
    ]
    if not directed:
        build.append("    after[b].add(a)")
    intro = f"A graph has the nodes 0 to 6; `edges` lists pairs (a, b), each of which can be walked {told}."
    kinds = [
        (
            f"Return how many nodes can be reached from node {start} in at most {rounds} steps, node {start} included.",
            [
                f"seen = {{{start}}}",
                f"for _ in range({rounds}):",
                "    seen = seen | {b for a in seen for b in after[a]}",
                "return len(seen)",
            ],
        ),
        (
            f"Return the smallest number of steps from node {start} to node {goal}, or -1 if there is no way.",
            [
                f"seen, frontier = {{{start}}}, {{{start}}}",
                "for distance in range(8):",
                f"    if {goal} in frontier:",
                "        return distance",
                "    frontier = {b for a in frontier for b in after[a]} - seen",
                "    seen = seen | frontier",
                "return -1",
            ],
        ),
        (
            f"Return the number of walks of exactly {rounds} steps from node {start} to node {goal}; an edge that is "
            "listed twice counts once.",
            [
                f"ways = {{node: int(node == {start}) for node in range(7)}}",
                f"for _ in range({rounds}):",
                "    ways = {b: sum(ways[a] for a in range(7) if b in after[a]) for b in range(7)}",
                f"return ways[{goal}]",
            ],
        ),
    ]
    if not directed:
        kinds.append(
            (
                f"Return the number of connected parts that have at least {least} nodes.",
                [
                    "part = list(range(7))",
                    "for _ in range(7):",
                    "    for a, b in edges:",
                    "        part[a] = part[b] = min(part[a], part[b])",
                    f"return sum(part.count(number) >= {least} for number in set(part))",
                ],
            )
        )
    asked, lines = rng.choice(kinds)
    source = _function("solve", "edges", [*build, *lines])
    return CodeTask("graph", "solve", f"{intro} {asked}", source, EDGES, _edges)


def _dynamic(rng: random.Random, level: int) -> CodeTask:
    parts = sorted(rng.sample(range(2, 9), scaled(level, 1, 3)))
    listed, modulus = ", ".join(map(str, parts)), rng.choice((97, 101, 103, 107))
    gap, rise, longest = rng.randint(1, 3), rng.randint(1, 4), rng.randint(2, 4)
    if rng.random() < 0.5:
        statement, lines = rng.choice(
            (
                (
                    f"Return the number of ways to write `total` as a sum of the numbers {listed}, where the order of the "
                    f"summands matters, modulo {modulus}. The empty sum is the one way to write 0.",
                    [
                        "ways = [1] + [0] * total",
                        "for amount in range(1, total + 1):",
                        f"    for part in {parts}:",
                        "        if part <= amount:",
                        f"            ways[amount] = (ways[amount] + ways[amount - part]) % {modulus}",
                        "return ways[total]",
                    ],
                ),
                (
                    f"Return the smallest number of coins of the values {listed} whose sum is `total`, or -1 if there are "
                    "none. No coins have the sum 0.",
                    [
                        "fewest = [0] + [1000] * total",
                        "for amount in range(1, total + 1):",
                        f"    for coin in {parts}:",
                        "        if coin <= amount:",
                        "            fewest[amount] = min(fewest[amount], fewest[amount - coin] + 1)",
                        "return fewest[total] if fewest[total] < 1000 else -1",
                    ],
                ),
            )
        )
        source = _function("solve", "total", lines)
        return CodeTask("dynamic", "solve", statement, source, TOTALS, _total)
    statement, lines = rng.choice(
        (
            (
                f"Return the largest sum of numbers chosen from the list `numbers` so that between two chosen ones at least "
                f"{gap} others stand. Nothing may be chosen, which is the sum 0.",
                [
                    f"best = [0] * (len(numbers) + {gap + 1})",
                    "for i, number in enumerate(numbers):",
                    f"    best[i + {gap + 1}] = max(best[i + {gap}], best[i] + number)",
                    "return best[-1]",
                ],
            ),
            (
                f"Return the length of the longest subsequence of the list `numbers` in which each number is at least "
                f"{rise} larger than the one before it.",
                [
                    "length = []",
                    "for i, number in enumerate(numbers):",
                    f"    before = [length[j] for j in range(i) if number - numbers[j] >= {rise}]",
                    "    length.append(1 + max(before, default=0))",
                    "return max(length, default=0)",
                ],
            ),
            (
                f"Return the largest sum of 1 to {longest} numbers that follow each other in the list `numbers`, or 0 if "
                "the list is empty.",
                [
                    "sums = [0]",
                    "for number in numbers:",
                    "    sums.append(sums[-1] + number)",
                    "found = []",
                    "for end in range(1, len(sums)):",
                    f"    for start in range(max(0, end - {longest}), end):",
                    "        found.append(sums[end] - sums[start])",
                    "return max(found, default=0)",
                ],
            ),
        )
    )
    source = _function("solve", "numbers", lines)
    return CodeTask("dynamic", "solve", statement, source, NUMBERS, _numbers)


class Drawn(NamedTuple):
    """A task with inputs and what its function returns for them."""

    task: CodeTask
    inputs: list[tuple[Any, ...]]
    expected: list[str]
    """The `repr` of each result."""


def drawn_task(rng: random.Random, level: int) -> Drawn:
    """Draw a task whose results vary: at least three different ones, none for more than 70% of the inputs."""
    while True:
        task = draw_task(rng, level)
        inputs = [task.draw(rng) for _ in range(NUM_INPUTS)]
        expected = list(outcomes(task.source, task.entry_point, inputs))
        counts = Counter(expected)
        if len(counts) >= 3 and max(counts.values()) <= 0.7 * NUM_INPUTS:
            return Drawn(task, inputs, expected)


def call(task: CodeTask, args: tuple[Any, ...]) -> str:
    """Return a call as source text: `solve([1, 2])`."""
    return f"{task.entry_point}({', '.join(map(repr, args))})"

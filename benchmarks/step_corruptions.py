"""Measures which corruptions of correct solutions the step verifier finds, by kind of claim.

    python benchmarks/step_corruptions.py FILE [--limit N] [--seed N] [--json]

FILE is in ProcessBench's shape; only solutions without an erroneous step are used. In one step of each, one number or one sign
of an equation is changed. An equation is found by a regular expression, not by the verifier's own reader, so that claims
which the verifier cannot read count as not found. Not every corruption can be decided: another number in an equation
that the problem states as a condition contradicts nothing in the step.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Sequence

from stepgym.envs.steps.processbench import read_labelled
from stepgym.envs.steps.verifier import check_steps
from stepgym.envs.types import Status

EQUATION = re.compile(
    r"(?P<left>[^=<>~$\n]{1,150})(?P<sign>=|\\equiv\b)(?P<right>[^=<>~$\n]{1,150})"
)
NUMBER = re.compile(r"(?<![\w.{\\])\d{1,9}(?![\w.])|(?<=[{(])\d{1,9}(?=[})])")
SIGN = re.compile(r"(?<=[\w})] )[+-](?= [\w\\({])|(?<=[\w})])[+-](?=[\w\\({])")
WORD = re.compile(r"\\(?:text|mathrm|textbf|mbox|operatorname)\s*\{[^}]*\}|\\[A-Za-z]+")
KINDS = (
    ("congruence", r"\\equiv|\\pmod"),
    ("binomial or factorial", r"\\binom|\d\s*!"),
    ("trigonometry", r"\\(?:sin|cos|tan|cot|sec|csc)"),
    ("logarithm", r"\\(?:log|ln)"),
    ("sum or product", r"\\(?:sum|prod)"),
)


def kind_of(left: str, right: str) -> str:
    """Return what sort of claim an equation is."""
    for name, pattern in KINDS:
        if re.search(pattern, left + right):
            return name
    letters = [
        bool(re.search(r"(?<![A-Za-z])[A-Za-z](?![A-Za-z])", WORD.sub(" ", side)))
        for side in (left, right)
    ]
    if not any(letters):
        return "numbers"
    return "letters on both sides" if all(letters) else "letters on one side"


def corrupted(text: str, rng: random.Random) -> str | None:
    """Return a text with one number or one sign changed, `None` if it has neither."""
    numbers, signs = list(NUMBER.finditer(text)), list(SIGN.finditer(text))
    pools = [pool for pool in (numbers, signs) if pool]
    if not pools:
        return None
    match = rng.choice(rng.choice(pools))
    old = match.group()
    new = {"+": "-", "-": "+"}.get(old) or str(int(old) + rng.choice((1, 2, 3, 10)))
    return text[: match.start()] + new + text[match.end() :]


def measure(
    rows: Sequence[tuple[str, Sequence[str]]], seed: int
) -> tuple[Counter[str], Counter[str]]:
    """Return the numbers of corruptions and of those found, by kind of claim."""
    rng = random.Random(seed)
    made: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for problem, steps in rows:
        places = [(i, match) for i, step in enumerate(steps) for match in EQUATION.finditer(step)]
        if not places:
            continue
        at, match = rng.choice(places)
        side = rng.choice(("left", "right"))
        new = corrupted(match.group(side), rng)
        if new is None:
            continue
        step = steps[at][: match.start(side)] + new + steps[at][match.end(side) :]
        kind = kind_of(match.group("left"), match.group("sign") + match.group("right"))
        report = check_steps(problem, [*steps[:at], step])[-1]
        made[kind] += 1
        found[kind] += report.status is Status.INCORRECT
    return made, found


def main() -> None:
    """Print the share found of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    solutions = [row for row in read_labelled(options.file) if row.first_error is None]
    rows = [(row.problem, row.steps) for row in solutions[: options.limit]]
    made, found = measure(rows, options.seed)
    shares = {kind: {"made": made[kind], "found": found[kind]} for kind in sorted(made)}
    shares["all"] = {"made": made.total(), "found": found.total()}
    if options.json:
        print(json.dumps(shares))
        return
    for kind, share in shares.items():
        print(
            f"{kind:24} {share['found']:5} of {share['made']:5}  {share['found'] / share['made']:6.1%}"
        )


if __name__ == "__main__":
    main()

"""What a proposer is asked: to state a problem of one kind."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial

from stepgym.envs.problem_sets import Draft, ProceduralSet
from stepgym.envs.proposals.reading import FORMATS, KINDS, MORE_FORMATS
from stepgym.envs.proposals.templates import draw_proposal
from stepgym.plugins.names import unknown_name
from stepgym.plugins.settings import SettingError

NAME = "stepgym/ProposeSolve-v0"

_WHAT = {
    "expression": "an arithmetic expression of whole numbers with + - * / and brackets, up to 12 operations",
    "equation": "a linear equation in one unknown with exactly one solution",
    "countdown": "a Countdown game: three to six numbers and a target that can be reached with + - * / when each number "
    "is used exactly once and every result is a whole number of 0 or more",
    "program": "a Python function f that computes its result from its arguments alone, without empty lines, and an input",
}


def problems(kinds: Sequence[str] = KINDS, seed: int = 0) -> ProceduralSet:
    """Return the requests for problems of these kinds; the kind of item `i` is drawn from a hash of seed and `i`."""
    if isinstance(kinds, str):
        kinds = kinds.split(",")
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of proposal", kind, KINDS, dotted=False)
    if not kinds:
        raise SettingError(f"kinds names at least one of {', '.join(KINDS)}")
    return ProceduralSet(NAME, partial(generate, kinds=tuple(kinds)), 1, seed, num_levels=1)


def generate(rng: random.Random, level: int, *, kinds: Sequence[str]) -> Draft:
    """Draw a kind, and a reference proposal of it."""
    kind = rng.choice(kinds)
    number = rng.randrange(10**6)
    prompt = (
        f"Request {number}: state {_WHAT[kind]}. A solver tries it several times; it should succeed about every second time. "
        "The problem must be new, and its solution must follow from it. Give it in the form of these examples:\n\n"
        f"<answer>\n{FORMATS[kind]}\n</answer>\n\n<answer>\n{MORE_FORMATS[kind]}\n</answer>\n\n"
        "Another line `solution: ...` may give the solution; it must then be right."
    )
    return Draft(prompt, draw_proposal(kind, rng), public=kind)

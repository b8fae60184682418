"""A policy is a class with `propose`: no base class, no registration. Many states come in, some steps for each go out."""

import math
from collections.abc import Sequence
from itertools import permutations

from stepgym.agents import solve
from stepgym.envs.types import State, Step


class LargestFirst:
    """Plays Countdown by a rule of thumb: prefers products, then sums, of the largest numbers left."""

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        return [self.steps(state)[:count] for state, count in zip(states, counts)]

    def steps(self, state: State) -> list[Step]:
        numbers, target = state.public  # what the domain lets the agent see
        moves = []
        for a, b in permutations(sorted(numbers, reverse=True), 2):
            values = {f"{a} * {b}": a * b, f"{a} + {b}": a + b}
            if a >= b:
                values[f"{a} - {b}"] = a - b
            moves += [(abs(target - value), text) for text, value in values.items()]
        moves = sorted(set(moves))
        weights = [math.exp(-distance / 10) for distance, _ in moves]
        return [
            Step(text, log_prob=math.log(w / sum(weights))) for w, (_, text) in zip(weights, moves)
        ]


for agent in ("greedy", "beam"):
    records = solve(
        "stepgym/Countdown-v0", agent=agent, policy=LargestFirst(), level=2, episodes=30
    )
    solved = sum(record.verdict == "correct" for record in records)
    print(f"{agent}: solved {solved} of {len(records)}")

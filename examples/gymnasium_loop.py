"""The plain Gymnasium loop: observe, write one step, see what comes back. Nothing of stepgym is imported by name."""

import re

import gymnasium

env = gymnasium.make("stepgym:stepgym/Math-v0", level=1)


def player(observation: str) -> str:
    """Answer the sums of level 1; your model goes here."""
    left, sign, right = re.search(r"(\d+) ([+-]) (\d+)", observation).groups()
    value = int(left) + int(right) if sign == "+" else int(left) - int(right)
    return f"<think>{left} {sign} {right}</think>That makes <answer>{value}</answer>."


total = 0.0
for episode in range(10):
    observation, info = env.reset(seed=7 if episode == 0 else None)
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(player(observation))
        over = terminated or truncated
        total += reward
print(f"solved {total:.0f} of 10; the last one: {info['verdict']}")

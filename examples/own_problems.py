"""Your own problems: a JSONL file with questions and answers, or a class with `__len__` and `__getitem__`."""

import json
import tempfile
from pathlib import Path

from stepgym.agents import solve
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import Problem


class Squares:
    """Item `i` asks for a square. A pure function of the index, so that every run sees the same problems."""

    name = "squares"

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Problem:
        return Problem(
            id=f"squares/{index}",
            prompt=f"What is {index} squared?",
            reference=str(index**2),
            index=index,
        )


# Whoever answers: here a script, elsewhere "smollm2", "hf:NAME", "chat:URL#MODEL" or a class of your own.
answers = {f"What is {i} squared?": [f"<answer>{i * i}.0</answer>"] for i in range(100)}
policy = ScriptedPolicy(lambda state: answers.get(state.prompt, ["<answer>0</answer>"]))

env = ReasoningEnv(Squares(), domain=TextDomain(), verifier=MathVerifier())
records = solve(env, agent="greedy", policy=policy, episodes=5)
print("class:", [record.verdict for record in records])

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "questions.jsonl"
    rows = [
        {"question": "What is half of 7?", "answer": "It is 7/2.\n#### 3.5"},
        {"question": "2 + 2?", "answer": "4"},
    ]
    file.write_text("\n".join(map(json.dumps, rows)))
    env = load_env("stepgym/Math-v0", file=str(file))
    policy = ScriptedPolicy(lambda state: ["<answer>7/2</answer>"])
    records = solve(env, agent="greedy", policy=policy, episodes=2)
print("file:", [record.verdict for record in records])

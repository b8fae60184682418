r"""GSM8K (Cobbe et al. 2021), MATH-500 (Hendrycks et al. 2021; Lightman et al. 2023) and AIME: questions with one answer.

The published files are read as they are: GSM8K's `question` and `answer` (a solution that ends with `#### 42`), MATH's
`problem`, `solution` and `answer`, AIME's `problem` and `answer` in any case. The prompt is the one that model cards and
evaluation harnesses use for these sets: the question, then the request for a final answer in `\\boxed{}`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.files import file_set
from stepgym.envs.maths.verify import MathVerifier
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.steps.verifier import FreeTextStepVerifier
from stepgym.envs.text_domain import TextDomain, ToolKind
from stepgym.envs.tool_results import ToolResults
from stepgym.plugins.errors import UserError
from stepgym.sandbox.types import Sandbox

GSM8K, MATH500, AIME = "stepgym/GSM8K-v0", "stepgym/MATH500-v0", "stepgym/AIME-v0"
INSTRUCTIONS = "Please reason step by step, and put your final answer within \\boxed{}."
GSM8K_HUB = HubName("openai/gsm8k", "test", "main")
MATH500_HUB = HubName("HuggingFaceH4/MATH-500", "test")
AIME_HUBS = {
    2024: HubName("HuggingFaceH4/aime_2024", "train"),
    2025: HubName("math-ai/aime25", "test"),
}


def make_gsm8k(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    instructions: str = INSTRUCTIONS,
    sandbox: str | Sandbox | None = "auto",
    tools: ToolKind = "python",
    tool_results: ToolResults = "full",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/GSM8K-v0` from a file, the hub for `file="hub"`, or a few examples of the same shape."""
    return _make(
        GSM8K, file, GSM8K_HUB, "gsm8k", instructions, sandbox, tools, tool_results, common
    )


def make_math500(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    instructions: str = INSTRUCTIONS,
    sandbox: str | Sandbox | None = "auto",
    tools: ToolKind = "python",
    tool_results: ToolResults = "full",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/MATH500-v0` from a file, the hub for `file="hub"`, or a few examples of the same shape."""
    return _make(
        MATH500, file, MATH500_HUB, "math500", instructions, sandbox, tools, tool_results, common
    )


def make_aime(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    year: int = 2025,
    instructions: str = INSTRUCTIONS,
    sandbox: str | Sandbox | None = "auto",
    tools: ToolKind = "python",
    tool_results: ToolResults = "full",
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/AIME-v0` from a file, the hub for `file="hub"`, or a few examples of the same shape.

    `year` chooses the contest on the hub: 2024 or 2025.
    """
    if year not in AIME_HUBS:
        raise UserError(
            f"the hub has AIME of the years 2024 and 2025, not {year!r}; give file=PATH"
        )
    return _make(
        AIME, file, AIME_HUBS[year], "aime", instructions, sandbox, tools, tool_results, common
    )


def _make(
    name: str,
    file: str | Path | None,
    hub: HubName,
    examples: str,
    instructions: str,
    sandbox: str | Sandbox | None,
    tools: ToolKind,
    tool_results: ToolResults,
    common: CommonOptions,
) -> ReasoningEnv:
    verifier = MathVerifier()
    max_steps = common.pop("max_steps", 32)
    rows = benchmark_rows(file, hub, examples)
    return ReasoningEnv(
        file_set(rows, name=name, instructions=instructions, verifier=verifier),
        domain=TextDomain(
            max_steps=max_steps,
            sandbox=sandbox,
            tools=tools,
            tool_results=tool_results,
            answer_form="\\boxed{result}",
        ),
        verifier=verifier,
        step_verifier=FreeTextStepVerifier(),
        **common,
    )

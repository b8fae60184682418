"""`prune=verified`: what is proven wrong is never offered, and what is not decided passes."""

from __future__ import annotations

import pytest

from stepgym.agents.policies.scripted import RandomLegalPolicy, ScriptedPolicy
from stepgym.agents.policies.verified_steps import VerifiedSteps
from stepgym.agents.randomness import reseeded
from stepgym.agents.solving import iter_solve, solve
from stepgym.envs.registry import load_env
from stepgym.envs.steps.verifier import FreeTextStepVerifier
from stepgym.envs.text_domain import TextDomain
from stepgym.envs.types import State, Step
from stepgym.plugins.errors import UserError


def texts(policy: VerifiedSteps, state: State, count: int) -> list[str]:
    [steps] = policy.propose([state], [count])
    return [step.text for step in steps]


def test_a_false_claim_is_drawn_again_and_an_undecided_step_passes() -> None:
    script = ScriptedPolicy(lambda state: ["So 2 + 2 = 5.", "Let us think.", "So 2 + 2 = 4.", "x"])
    policy = VerifiedSteps(
        script, domain=TextDomain(sandbox=None), step_verifier=FreeTextStepVerifier()
    )
    assert texts(policy, State("What is 2 + 2?"), 2) == ["Let us think.", "So 2 + 2 = 4."]
    [[first, _]] = policy.propose([State("What is 2 + 2?")], [2])
    assert first.num_prompt_tokens == 6, "the rejected step's tokens are charged"


def test_earlier_steps_are_read() -> None:
    """`x = 4` contradicts an earlier equation."""
    script = ScriptedPolicy(lambda state: ["Total = 3 + 3 = 6. Total = 8."])
    policy = VerifiedSteps(
        script, domain=TextDomain(sandbox=None), step_verifier=FreeTextStepVerifier()
    )
    assert texts(policy, State("q", (Step("We add."),)), 1) == []


@pytest.mark.parametrize("env_id", ["Countdown-v0", "Sudoku-v0", "Hanoi-v0", "ModularSums-v0"])
def test_a_pruned_tree_has_no_step_that_is_proven_wrong(env_id: str) -> None:
    env = load_env(env_id, level=2)
    problems = [env.problems[i] for i in range(3)]
    settings = {"n": 6, "prune": "verified"}
    for record in iter_solve(
        problems,
        env=env,
        agent="best_of_n",
        policy=RandomLegalPolicy(),
        agent_settings=settings,
        verify_all=True,
        see_verdicts=False,
    ):
        assert all(node.step_verdict != "incorrect" for node in record.nodes)
        assert record.agent["policy"]["kind"] == "verified_steps"


def test_random_play_solves_more_with_pruning() -> None:
    solved = {
        prune: sum(
            record.verdict == "correct"
            for record in solve(
                "Countdown-v0",
                level=2,
                episodes=30,
                policy="random",
                agent="greedy",
                agent_settings={"prune": prune},
            )
        )
        for prune in ("none", "verified")
    }
    assert solved["verified"] > solved["none"]


def test_another_seed_reaches_the_policy_inside() -> None:
    env = load_env("Countdown-v0")
    assert env.step_verifier is not None
    policy = VerifiedSteps(
        RandomLegalPolicy(seed=1), domain=env.domain, step_verifier=env.step_verifier
    )
    assert reseeded(policy, 7).seed == 7 and policy.seed == 1


def test_wrong_use_names_the_way_out() -> None:
    with pytest.raises(UserError, match="unknown prune 'yes'; known: none, verified"):
        solve("Countdown-v0", policy="random", agent_settings={"prune": "yes"})
    with pytest.raises(UserError, match="has no step verifier"):
        solve("Words-v0", policy="random", agent_settings={"prune": "verified"})

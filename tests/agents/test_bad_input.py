"""What plug-ins get wrong is recorded, and the other problems go on."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.agents import Budget, Usage, solve
from stepgym.agents.boundary import MAX_STEP_CHARS, usable
from stepgym.agents.policies.scripted import spelling_policy, spelling_reward
from stepgym.agents.registry import SEARCHES
from stepgym.agents.types import EpisodeRecord, PolicyError
from stepgym.envs.families.words import SameWord, WordsDomain, WordsVerifier, same_word_env
from stepgym.envs.types import Problem, State, Status, Step, Verdict
from stepgym.sandbox.types import SandboxError

SPELLING = spelling_policy()

GOOD = Step("a", log_prob=-1.0, num_tokens=1)
CULPRIT = "word 1"


def raises(*_: Any) -> Any:
    raise ValueError("boom")


class BadPolicy:
    """Right for every problem but one, where it answers with `answer` (or what calling it gives)."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
        given = SPELLING.propose(states, counts)
        for at, state in enumerate(states):
            if state.prompt == CULPRIT:
                given[at] = self.answer() if callable(self.answer) else self.answer
        return given


def run(
    policy: Any = SPELLING, values: Any = None, agent: str = "best_of_n", **rest: Any
) -> list[EpisodeRecord]:
    return solve(same_word_env(), agent=agent, policy=policy, reward_model=values, **rest)


@pytest.mark.parametrize("agent", SEARCHES)
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("answer", "verdict", "note"),
    [
        ([], "no_answer", ""),  # nothing is a legal answer
        ([Step("")], "failed", "empty step"),
        ([Step("z" * (MAX_STEP_CHARS + 1))], "failed", "characters; the limit is"),
        (["a"], "failed", "returned str instead of a Step"),
        (None, "failed", "returned NoneType instead of a list of steps"),
        (17, "failed", "returned int instead of a list of steps"),
        (raises, "failed", "ValueError: boom"),
    ],
)
def test_one_bad_problem_costs_no_other(
    agent: str, continuous: bool, answer: Any, verdict: str, note: str
) -> None:
    first, bad, last = run(BadPolicy(answer), agent=agent, continuous=continuous)
    alone = run(agent=agent)
    assert (bad.verdict, bad.answer) == (verdict, None)
    assert note in bad.note
    if agent != "adaptive":  # what the bad problem leaves goes to the others
        assert (first.nodes, last.nodes) == (alone[0].nodes, alone[2].nodes)


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        (Step("a", log_prob=math.nan), "log-probability nan; taken as unknown"),
        (Step("a", log_prob=math.inf), "log-probability inf; taken as unknown"),
        (Step("a", log_prob=0.5), "log-probability 0.5; taken as unknown"),
        (Step("a", log_prob="x"), "log-probability 'x'; taken as unknown"),  # type: ignore[arg-type]
        (Step("a", num_tokens=-3), "num_tokens -3; taken as 0"),
        (Step("a", num_tokens=None), "num_tokens None; taken as 0"),  # type: ignore[arg-type]
        (Step("a", num_tokens=1.5), "num_tokens 1.5; taken as 0"),  # type: ignore[arg-type]
        (Step("a", num_tokens=True), "num_tokens True; taken as 0"),
        (Step("a", num_prompt_tokens=None), "num_prompt_tokens None; taken as 0"),  # type: ignore[arg-type]
        (Step("a", num_prompt_tokens=-1), "num_prompt_tokens -1; taken as 0"),
        (Step("a", num_prompt_tokens="9"), "num_prompt_tokens '9'; taken as 0"),  # type: ignore[arg-type]
        (Step("a", num_tokens=3, num_reasoning_tokens=-1), "num_reasoning_tokens -1; taken as 0"),
        (Step("a", num_reasoning_tokens=4), "4 reasoning tokens of 0 tokens; taken as all of them"),
        (Step("a", token_ids=(1, None)), "unusable token ids or log-probabilities"),  # type: ignore[arg-type]
        (Step("a", token_ids=(-1,)), "unusable token ids or log-probabilities"),
        (
            Step("a", token_ids=(1, 2), token_log_probs=(-0.5,)),
            "unusable token ids or log-probabilities",
        ),
        (
            Step("a", token_ids=(1,), token_log_probs=(math.nan,)),
            "unusable token ids or log-probabilities",
        ),
    ],
)
def test_a_bad_figure_is_mended_and_noted(step: Step, fault: str) -> None:
    offer = usable([GOOD, step], 2)
    assert [s.text for s in offer.steps] == ["a", "a"]
    assert fault in offer.fault
    record = run(BadPolicy([step]))[1]
    assert record.verdict == "incorrect"
    assert fault in record.note


ANYTHING = st.one_of(
    st.none(), st.integers(-5, 5), st.floats(), st.booleans(), st.text(max_size=2), st.just([1])
)


@given(ANYTHING, ANYTHING, ANYTHING)
def test_no_count_spends_a_negative_number_of_tokens_or_another_problems_budget(
    tokens: Any, prompt: Any, reasoning: Any
) -> None:
    step = Step("a", num_tokens=tokens, num_prompt_tokens=prompt, num_reasoning_tokens=reasoning)
    first, bad, last = run(BadPolicy([step]), run_budget=Budget(new_tokens=10_000))
    alone = run()
    assert (first.nodes, last.nodes) == (alone[0].nodes, alone[2].nodes)
    usage = Usage(**bad.usage)  # type: ignore[arg-type]
    assert min(usage.prompt_tokens, usage.visible_tokens, usage.reasoning_tokens) >= 0
    counts = (tokens, prompt, reasoning)
    good = all(type(n) is int and n >= 0 for n in counts) and reasoning <= tokens
    assert good == ("policy returned" not in bad.note)


def test_counts_of_other_integer_types_are_accepted() -> None:
    np = pytest.importorskip("numpy")
    proposal = usable([Step("a", num_tokens=np.int64(3), num_prompt_tokens=np.int32(2))], 1)
    assert proposal.fault == ""
    assert [(type(s.num_tokens), s.num_tokens) for s in proposal.steps] == [(int, 3)]


def test_repeated_and_surplus_steps() -> None:
    record = run(BadPolicy([GOOD] * 5), agent="mcts")[1]
    assert [node.text for node in record.nodes] == ["", "a", "a", "a"], (
        "equal siblings are one node"
    )
    assert len(usable([GOOD] * 5, 2).steps) == 2


@pytest.mark.parametrize("continuous", [False, True])
def test_a_wrong_number_of_lists_fails_only_where_it_is_wrong(continuous: bool) -> None:
    class Short:
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            return SPELLING.propose(
                [s for s in states if s.prompt != CULPRIT],
                counts[: sum(s.prompt != CULPRIT for s in states)],
            )

    verdicts = [record.verdict for record in run(Short(), continuous=continuous)]
    assert verdicts == ["incorrect", "failed", "incorrect"]


@pytest.mark.parametrize("continuous", [False, True])
def test_a_policy_error_brings_what_there_is(continuous: bool) -> None:
    class Half:
        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            steps = SPELLING.propose(states, counts)
            failures = {
                at: "server said 500" for at, state in enumerate(states) if state.prompt == CULPRIT
            }
            for at in failures:
                steps[at] = []
            if failures:
                raise PolicyError("some failed", steps=steps, failures=failures)
            return steps

    records = run(Half(), continuous=continuous)
    assert [record.verdict for record in records] == ["incorrect", "failed", "incorrect"]
    assert "server said 500" in records[1].note


@pytest.mark.parametrize(
    "scores", [[], [0.5] * 9, [1.5], [-0.1], [math.nan], ["x"], [None], raises]
)
@pytest.mark.parametrize("agent", ["best_of_n", "beam", "mcts"])
def test_a_bad_reward_model_fails_the_problem_it_is_bad_on(scores: Any, agent: str) -> None:
    good = spelling_reward("cab")

    class Bad:
        def score(self, states: Sequence[State]) -> list[list[float]]:
            bad = [state.prompt == CULPRIT for state in states]
            if any(bad) and callable(scores):
                scores()
            return [scores if wrong else own for wrong, own in zip(bad, good.score(states))]

    first, bad, last = run(values=Bad(), agent=agent)
    assert bad.verdict == "failed"
    assert "reward model" in bad.note
    assert {first.verdict, last.verdict} <= {"correct", "incorrect"}


@pytest.mark.parametrize("see_verdicts", [False, True])
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("verdict", "note"),
    [
        (None, "returned None instead of a Verdict"),
        ("correct", "returned 'correct' instead of a Verdict"),
        (Verdict("correct"), "instead of a Verdict"),  # type: ignore[arg-type]
        (Verdict(Status.INCORRECT, math.nan), "returned score nan"),
        (Verdict(Status.CORRECT, None), "TypeError"),  # type: ignore[arg-type]
        (Verdict(Status.CORRECT, 2.0), "returned score 2.0"),
    ],
)
def test_what_is_no_verdict_is_undecided(
    verdict: Any, note: str, continuous: bool, see_verdicts: bool
) -> None:
    class Bad(WordsVerifier):
        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            good = super().verify(problems, answers)
            return [verdict if p.prompt == CULPRIT else v for p, v in zip(problems, good)]

    records = solve(
        same_word_env(verifier=Bad()),
        agent="mcts",
        policy=SPELLING,
        continuous=continuous,
        see_verdicts=see_verdicts,
        agent_settings={"simulations": 200},
    )
    assert records[1].verdict == "undecided"
    assert note in records[1].note
    assert {records[0].verdict, records[2].verdict} == {"correct" if see_verdicts else "incorrect"}


@pytest.mark.parametrize("number", [None, -1, 1.5, "7"])
def test_a_reply_without_a_count_of_tokens_fails_its_problem(number: Any) -> None:
    class Replying(WordsDomain):
        def _advance(self, state: State, step: Step) -> State:
            if state.prompt == CULPRIT:
                step = replace(step, reply="so be it", num_reply_tokens=number)
            return super()._advance(state, step)

    records = solve(same_word_env(domain=Replying()), agent="beam", policy=SPELLING)
    assert [record.verdict for record in records] == ["incorrect", "failed", "incorrect"]
    assert f"num_reply_tokens={number!r}" in records[1].note


def test_a_reward_model_that_cannot_count_what_it_reads_is_charged_the_whole_path() -> None:
    class Model:
        num_parameters = 10

        def score(self, states: Sequence[State]) -> list[list[float]]:
            return [[0.5] for _ in states]

    class Uncountable(Model):
        def tokens_read(self, states: Sequence[State]) -> list[int]:
            return [None] * len(states)  # type: ignore[list-item]

    plain, bad = run(values=Model()), run(values=Uncountable())
    assert [record.usage["flops"] for record in plain] == [record.usage["flops"] for record in bad]
    assert "reward model: TypeError" in bad[0].note


def test_a_failing_domain_and_verifier_are_data_too() -> None:
    class Domain:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def initial(self, problem: Problem) -> State:
            return raises() if problem.index == 0 else self.inner.initial(problem)  # type: ignore[no-any-return]

        def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
            return [
                raises() if s.prompt == CULPRIT else self.inner.advance([s], [t])[0]
                for s, t in zip(states, steps)
            ]

    class Verifier:
        def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
            return raises()  # type: ignore[no-any-return]

    env: Any = same_word_env()
    records = solve(same_word_env(domain=Domain(env.domain)), agent="best_of_n", policy=SPELLING)  # type: ignore[arg-type]
    assert [record.verdict for record in records] == ["failed", "failed", "incorrect"]
    records = solve(
        same_word_env(verifier=Verifier()), agent="best_of_n", policy=SPELLING, see_verdicts=True
    )  # type: ignore[arg-type]
    assert [record.verdict for record in records] == ["undecided"] * 3
    assert "verifier: ValueError: boom" in records[0].note


@pytest.mark.parametrize("continuous", [False, True])
def test_control_c_passes(continuous: bool) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(BadPolicy(interrupt), continuous=continuous)


def test_a_megabyte_of_text_is_a_note_not_a_record_of_a_megabyte() -> None:
    record = run(BadPolicy([Step("z" * 1_000_000)]))[1]
    assert sum(len(node.text) for node in record.nodes) == 0
    assert "1000000 characters" in record.note


def test_no_problem_at_all() -> None:
    assert solve([], env=same_word_env(), policy=SPELLING) == []
    assert SameWord(count=0).count == 0


def test_an_interruption_does_not_wait_for_a_slow_call() -> None:
    release = threading.Event()

    class Slow:
        calls = 0

        def propose(self, states: Sequence[State], counts: Sequence[int]) -> list[list[Step]]:
            self.calls += 1
            if self.calls > 1:
                release.wait(120)
            return SPELLING.propose(states, counts)

    class Interrupting:
        def score(self, states: Sequence[State]) -> list[list[float]]:
            if states[0].prompt == CULPRIT:
                raise KeyboardInterrupt
            return spelling_reward("cab").score(states)

    class Late(WordsDomain):
        """The culprit comes after the others, who wait for the slow call by then."""

        def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
            time.sleep(0.5 if states[0].prompt == CULPRIT else 0)
            return super().advance(states, steps)

    started = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            solve(
                same_word_env(domain=Late()),
                agent="best_of_n",
                policy=Slow(),
                reward_model=Interrupting(),
                continuous=True,
            )
        assert time.perf_counter() - started < 60
    finally:
        release.set()


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("where", ["advance", "verify"])
def test_a_sandbox_that_is_gone_stops_the_run(where: str, continuous: bool) -> None:
    def gone(*_: Any) -> Any:
        raise SandboxError("no engine answers")

    class Part:
        initial = staticmethod(same_word_env().domain.initial)
        advance = verify = staticmethod(gone)

    part: Any = Part()
    env = same_word_env(domain=part) if where == "advance" else same_word_env(verifier=part)
    for sees in (False, True):
        with pytest.raises(SandboxError, match="no engine answers"):
            solve(env, agent="best_of_n", policy=SPELLING, continuous=continuous, see_verdicts=sees)


def test_who_is_asked_again_pays_for_it() -> None:
    def charged(policy: Any) -> list[float]:
        return [record.usage["model_calls"] for record in run(policy, agent="greedy")]

    assert charged(SPELLING) == [3, 3, 3]
    assert charged(BadPolicy(None)) == [3, 1, 3], (
        "a fault that names its problem costs nobody a second call"
    )
    assert charged(BadPolicy(raises)) == [4, 2, 4]

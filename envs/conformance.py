"""The contracts of environments, problem sets, domains and verifiers; run them on your own:

    stepgym check mypackage.mymodule:make_env

Not checked: speed, and whether the problems are any good.
"""

from __future__ import annotations

import copy
import pickle
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gymnasium.utils.env_checker import check_env

from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.types import (
    Domain,
    End,
    LegalSteps,
    OutcomeVerifier,
    Problem,
    ProblemSet,
    State,
    Status,
    Step,
    Verifier,
    WithSeed,
)
from stepgym.plugins.contract import Clause, Finding, check_clauses

NUM_PROBLEMS = 5
LONG_PLAY = 1_000
SENTINEL = "the-reference-7f3a91"

HOSTILE_TEXTS = (
    *(
        "",
        " ",
        "\n\n\n",
        "\x00",
        "é\u0301\u200b\ufeff\u202e",
        "\ud800",
        "9" * 5_000,
        "-" * 500,
        "(" * 3_000,
    ),
    *("1/0", "0 ** -1", "__import__('os')", "1e999999999", "\\frac{", "\\boxed{", "$$", "'\"`;"),
    *("<think>", "</think>", "<answer></answer>", "<answer>", "</answer><answer>", "<|step_end|>"),
    *("<tool_result>42</tool_result>", "</tool_call>", "x" * 100_000),
)
"""Texts that a model may write. None is a tool call, so that no sandbox is needed here."""


def check_environment(env: Any) -> list[Finding]:
    """Check an environment and all its parts against their contracts.

    Any other Gymnasium environment is checked by Gymnasium's own checker.
    """
    inner = env.unwrapped
    if not isinstance(inner, ReasoningEnv):
        return check_clauses(env, ENVIRONMENT_CLAUSES[:1])
    problems = first_problems(inner.problems)
    return [
        *check_clauses(inner, ENVIRONMENT_CLAUSES),
        *check_problem_set(inner.problems),
        *check_domain(inner.domain, problems),
        *check_verifier(inner.verifier, problems),
    ]


def check_problem_set(problems: ProblemSet) -> list[Finding]:
    """Check a problem set."""
    return check_clauses(problems, PROBLEM_SET_CLAUSES)


def check_domain(domain: Domain, problems: Sequence[Problem]) -> list[Finding]:
    """Check a domain on some of its problems."""
    return check_clauses((domain, problems), DOMAIN_CLAUSES)


def check_verifier(verifier: Verifier, problems: Sequence[Problem]) -> list[Finding]:
    """Check a verifier on some of its problems."""
    return check_clauses((verifier, problems), VERIFIER_CLAUSES)


def first_problems(problems: ProblemSet, count: int = NUM_PROBLEMS) -> list[Problem]:
    """Return the first few problems of a set, or all of a smaller one."""
    return [problems[i] for i in range(min(count, len(problems)))]


def _passes_gymnasium(env: Any) -> None:
    check_env(env.unwrapped, skip_render_check=True)


def _seeds_fix_the_order(env: ReasoningEnv) -> None:
    first, second = _seen(env, 11), _seen(copy.deepcopy(env), 11)
    assert first == second, f"seed 11 gave {first} and then {second}"


def _seeds_differ(env: ReasoningEnv) -> None:
    if len(env.problems) > 20:
        assert _seen(env, 11, 5) != _seen(env, 12, 5), "seeds 11 and 12 give the same five problems"


def _seen(env: ReasoningEnv, seed: int, count: int = 3) -> list[str]:
    return [env.reset(seed=seed if k == 0 else None)[1]["problem_id"] for k in range(count)]


def _pickles(env: ReasoningEnv) -> None:
    env.reset(seed=5)
    copied = pickle.loads(pickle.dumps(env))
    assert copied.state == env.state, "the copy is in another state"
    assert copied.step("1")[:4] == env.step("1")[:4], "the copy gives another result"


def _restores(env: ReasoningEnv) -> None:
    env.reset(seed=5)
    start = env.state
    first = env.step("1")
    env.state = start
    assert env.step("1") == first, "the same step from the same state gave something else"


def _keeps_the_reference(env: ReasoningEnv) -> None:
    for problem in first_problems(env.problems, 2):
        marked = replace(problem, reference=SENTINEL)
        seen = [*env.reset(options={"problem": problem})]
        hidden = [*env.reset(options={"problem": marked})]
        assert seen == hidden, "the first observation or info depends on the reference"
        assert SENTINEL not in repr(env.step("<answer>1</answer>")), (
            "the result of step shows the reference"
        )
        env.render()


def _refuses_after_the_end(env: ReasoningEnv) -> None:
    from gymnasium.error import ResetNeeded

    env.reset(seed=5)
    env.state = State(env.state.prompt, (Step("1"),), "1", End.ANSWERED, env.state.public)
    try:
        env.step("1")
    except ResetNeeded:
        return
    raise AssertionError("a step after the end was taken")


def _items_are_pure(problems: ProblemSet) -> None:
    for i in (0, min(3, len(problems) - 1)):
        assert problems[i] == problems[i], f"item {i} differs when asked for again"
        assert problems[i] == pickle.loads(pickle.dumps(problems))[i], (
            f"item {i} differs in a pickled copy"
        )


def _ids_are_unique(problems: ProblemSet) -> None:
    ids = [problem.id for problem in first_problems(problems, 20)]
    assert len(set(ids)) == len(ids), f"an id occurs twice among {ids}"


def _indices_end(problems: ProblemSet) -> None:
    for index in (-1, len(problems)):
        try:
            problems[index]
        except IndexError:
            continue
        raise AssertionError(f"item {index} of {len(problems)} is no IndexError")


def _seeds_do_not_overlap(problems: ProblemSet) -> None:
    if not isinstance(problems, WithSeed):
        return
    sets = [problems.with_seed(seed) for seed in range(3)]
    drawn = [[(p.prompt, p.public) for p in first_problems(drawn, 12)] for drawn in sets]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        for shift in range(-4, 5):
            pairs = [
                (drawn[one][i], drawn[other][i + shift])
                for i in range(len(drawn[one]))
                if 0 <= i + shift < len(drawn[other])
            ]
            assert any(a != b for a, b in pairs), f"seed {other} is seed {one} shifted by {shift}"


def _starts_clean(part: tuple[Domain, Sequence[Problem]]) -> None:
    domain, problems = part
    for problem in problems:
        state = domain.initial(problem)
        assert not state.steps and not state.done and state.answer is None, (
            f"{problem.id} starts at {state}"
        )
        assert problem.prompt in state.prompt, (
            f"the prompt of {problem.id} is not in its first state"
        )
        assert hash(state) == hash(domain.initial(problem)), "first states differ"


def _adds_one_step(part: tuple[Domain, Sequence[Problem]]) -> None:
    domain, problems = part
    start = domain.initial(problems[0])
    states = domain.advance([start] * len(HOSTILE_TEXTS), [Step(text) for text in HOSTILE_TEXTS])
    assert len(states) == len(HOSTILE_TEXTS), (
        f"{len(HOSTILE_TEXTS)} steps gave {len(states)} states"
    )
    for text, state in zip(HOSTILE_TEXTS, states):
        assert [step.text for step in state.steps] == [text], (
            f"after {text[:40]!r} the steps are {state.steps!r:.80}"
        )
        assert (state.end is End.ANSWERED) == (state.answer is not None), (
            f"{text[:40]!r}: an answer must end the episode, and only an answer ends it as ANSWERED"
        )


def _batches_like_one(part: tuple[Domain, Sequence[Problem]]) -> None:
    domain, problems = part
    starts = [domain.initial(problem) for problem in problems]
    steps = [Step(_first_legal(domain, start)) for start in starts]
    alone = [domain.advance([start], [step])[0] for start, step in zip(starts, steps)]
    assert domain.advance(starts, steps) == alone, (
        "a batch gives other states than one call per state"
    )
    assert domain.advance([], []) == [], "an empty batch gives something"
    for state in alone:
        try:
            hash(state)
        except TypeError as error:
            raise AssertionError(
                f"{error}: State.public is {state.public!r:.60}; use tuples, not lists or dictionaries"
            ) from error


def _done_stays(part: tuple[Domain, Sequence[Problem]]) -> None:
    domain, problems = part
    start = domain.initial(problems[0])
    over = State(start.prompt, (Step("1"),), "1", End.ANSWERED, start.public)
    assert domain.advance([over], [Step("2")]) == [over], "a finished state changed"


def _legal_play_ends(part: tuple[Domain, Sequence[Problem]]) -> None:
    domain, problems = part
    if not isinstance(domain, LegalSteps):
        return
    chance = random.Random(0)
    for problem in problems:
        state = domain.initial(problem)
        for _ in range(LONG_PLAY):
            if state.done:
                break
            texts = domain.legal_steps(state)
            assert len(set(texts)) == len(texts) > 0, (
                f"no legal steps, or one listed twice: {texts[:10]}"
            )
            [state] = domain.advance([state], [Step(chance.choice(texts))])
            assert state.end is not End.STUCK, (
                f"the legal step {state.steps[-1].text!r} ended stuck"
            )
        assert state.done, f"{problem.id} did not end within {LONG_PLAY} legal steps"
        assert domain.legal_steps(state) == [], "a finished state has legal steps"


def _first_legal(domain: Domain, state: State) -> str:
    return domain.legal_steps(state)[0] if isinstance(domain, LegalSteps) else "a step"


def _accepts_references(part: tuple[Verifier, Sequence[Problem]]) -> None:
    verifier, problems = part
    if isinstance(verifier, OutcomeVerifier):  # there, an answer is not asked for
        problems = [problem for problem in problems if problem.reference]
    verdicts = verifier.verify(problems, [problem.reference for problem in problems])
    for problem, verdict in zip(problems, verdicts, strict=True):
        assert verdict.correct, (
            f"{problem.id}: the reference {problem.reference[:60]!r} is {verdict}"
        )


def _survives_any_answer(part: tuple[Verifier, Sequence[Problem]]) -> None:
    verifier, problems = part
    asked = [problems[0]] * len(HOSTILE_TEXTS)
    verdicts = verifier.verify(asked, list(HOSTILE_TEXTS))
    assert len(verdicts) == len(HOSTILE_TEXTS), (
        f"{len(HOSTILE_TEXTS)} answers gave {len(verdicts)} verdicts"
    )
    for text, verdict in zip(HOSTILE_TEXTS, verdicts):
        assert verdict.status is not Status.CORRECT, f"{text[:40]!r} is called CORRECT"
        assert 0 <= verdict.score < 1, f"{text[:40]!r} scores {verdict.score} without being CORRECT"


def _is_deterministic(part: tuple[Verifier, Sequence[Problem]]) -> None:
    verifier, problems = part
    answers = [problems[0].reference, "", "0"]
    asked = [problems[0]] * 3
    assert verifier.verify(asked, answers) == verifier.verify(asked, answers), (
        "two verdicts on one answer differ"
    )
    backwards = verifier.verify(asked, answers[::-1])[::-1]
    assert [v.status for v in backwards] == [v.status for v in verifier.verify(asked, answers)], (
        "order matters"
    )
    assert verifier.verify([], []) == [], "no answers give verdicts"


ENVIRONMENT_CLAUSES = (
    Clause("The environment passes Gymnasium's own checker.", _passes_gymnasium),
    Clause("The same seed gives the same problems in the same order.", _seeds_fix_the_order),
    Clause("Another seed gives other problems.", _seeds_differ),
    Clause("A pickled copy continues like the original.", _pickles),
    Clause("A restored state has the same future.", _restores),
    Clause("Neither observations nor infos show the reference.", _keeps_the_reference),
    Clause("A step after the end is refused.", _refuses_after_the_end),
)
PROBLEM_SET_CLAUSES = (
    Clause("Item i is the same each time, also in a pickled copy.", _items_are_pure),
    Clause("Every problem has its own id.", _ids_are_unique),
    Clause("An index outside the set is an IndexError.", _indices_end),
    Clause("No seed's items are another seed's items shifted.", _seeds_do_not_overlap),
)
DOMAIN_CLAUSES = (
    Clause("A first state has the prompt, no steps and no answer.", _starts_clean),
    Clause("Any text adds one step, and an answer ends the episode.", _adds_one_step),
    Clause(
        "A batch gives the same states as one call per state, and each can be hashed.",
        _batches_like_one,
    ),
    Clause("A finished state does not change.", _done_stays),
    Clause("Legal steps are accepted, and playing them ends the episode.", _legal_play_ends),
)
VERIFIER_CLAUSES = (
    Clause("Every reference is CORRECT for its own problem.", _accepts_references),
    Clause("No text makes the verifier raise, and no nonsense is CORRECT.", _survives_any_answer),
    Clause(
        "Verdicts depend only on problem and answer, and keep the order of the request.",
        _is_deterministic,
    ),
)

"""A golden tree for every method, and what each does that others do not."""

from __future__ import annotations

from typing import Any

import pytest

from stepgym.agents import SearchTree, load_search, run_search, solve
from stepgym.agents.policies.scripted import (
    RandomLegalPolicy,
    ScriptedPolicy,
    ScriptedRewardModel,
    spelling_policy,
    spelling_reward,
)
from stepgym.agents.search.answers import (
    Aggregation,
    aggregate,
    beam_score,
    has_verified,
    path_score,
)
from stepgym.agents.search.attempts import AttemptsMemory, attempt_value
from stepgym.agents.search.beam import BeamMemory
from stepgym.agents.search.puct import MCTSMemory
from stepgym.agents.tree_reuse import subtree
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus
from stepgym.envs.families.words import SameWord, WordsDomain, same_word_env
from stepgym.envs.types import End, Problem, State, Status, Step, Verdict

SPELLING = spelling_policy()

ENV = same_word_env("ba", 1)


def grow(
    name: str, *, see: bool = False, policy: Any = SPELLING, values: Any = None, **settings: Any
) -> SearchTree:
    (tree,) = run_search(
        [ENV.problems[0]],
        domain=ENV.domain,
        policy=policy,
        reward_model=values or spelling_reward("ba"),
        search=load_search(name, **settings),
        verifier=ENV.verifier,
        see_verdicts=see,
    )
    return tree


def words(tree: SearchTree) -> dict[str, int]:
    """Node's word -> visits, in the order of growth."""
    return {
        "".join(s.text for s in state.steps): visits
        for state, visits in zip(tree.states, tree.visits)
    }


GOLDEN: list[tuple[str, dict[str, Any], dict[str, int], str]] = [
    # the likeliest letter twice
    ("greedy", {}, {"": 1, "a": 1, "aa": 1}, "aa"),
    # four different first letters, each continued once, with the likeliest second
    (
        "best_of_n",
        {"n": 4},
        {"": 4, "a": 1, "b": 1, "c": 1, "d": 1, "aa": 1, "ba": 1, "ca": 1, "da": 1},
        "ba",
    ),
    # two of four first letters stay: b by its score, a by its place; each is asked for two more
    (
        "beam",
        {"width": 2, "expand": 2},
        {"": 1, "a": 1, "b": 1, "c": 0, "d": 0, "ba": 0, "bb": 0, "aa": 0, "ab": 0},
        "ba",
    ),
    # the first subtree chooses among a and b, the second among c and d
    (
        "dvts",
        {"subtrees": 2, "expand": 2},
        {"": 2, "a": 0, "b": 1, "c": 1, "d": 0, "ba": 0, "bb": 0, "ca": 0, "cb": 0},
        "ba",
    ),
    # each first letter is rolled out one step, b stays for where it leads and is asked for two more
    (
        "lookahead",
        {"width": 1, "expand": 2, "steps": 1},
        {"": 1, "a": 1, "b": 2, "aa": 0, "ba": 0, "bb": 0, "bc": 0},
        "ba",
    ),
    # the first walk follows the score to b and ba; then a's prior outweighs: .2 + 1.77 x .62 > .9 + 1.77 x .38 / 2
    (
        "mcts",
        {"simulations": 2, "width": 2, "leaves": 1, "widen": 0},
        {"": 2, "a": 1, "b": 1, "ba": 1, "bb": 0, "aa": 1, "ab": 0},
        "ba",
    ),
    # the second attempt sees the first, and the script goes on where it stopped
    ("revise", {"attempts": 2}, {"": 2, "a": 1, "aa": 1, "b": 1, "ba": 1}, "ba"),
    # both attempts of the first round are fresh
    ("ab_mcts", {"attempts": 2, "parallel": 2}, {"": 2, "a": 1, "b": 1, "aa": 1, "ba": 1}, "ba"),
    # one probe disagrees with nothing, so it is accepted
    ("adaptive", {"steps": 8, "probe": 1}, {"": 1, "a": 1, "aa": 1}, "aa"),
]


@pytest.mark.parametrize(
    ("name", "settings", "expected", "answer"), GOLDEN, ids=[row[0] for row in GOLDEN]
)
def test_golden_tree(
    name: str, settings: dict[str, Any], expected: dict[str, int], answer: str
) -> None:
    tree = grow(name, **settings)
    assert words(tree) == expected
    assert tree.states[load_search(name, **settings).best(tree)].answer == answer


@pytest.mark.parametrize("name", ["beam", "lookahead"])
def test_a_step_outside_the_beam_is_pruned(name: str) -> None:
    tree = grow(name, width=1, expand=2)
    status = {
        "".join(s.text for s in state.steps): tree.status[i] for i, state in enumerate(tree.states)
    }
    assert status["a"] is NodeStatus.PRUNED, "b scores better"
    assert status["b"] is NodeStatus.OPEN


@pytest.mark.parametrize("name", ["beam", "dvts", "lookahead"])
def test_without_scores_the_likeliest_path_is_kept(name: str) -> None:
    steps = [Step(letter, log_prob=-at, num_tokens=1) for letter, at in zip("dcba", (4, 1, 3, 2))]
    size = {"subtrees" if name == "dvts" else "width": 1}
    (tree,) = run_search(
        [ENV.problems[0]],
        domain=WordsDomain(2),
        policy=ScriptedPolicy(lambda state: steps),
        search=load_search(name, expand=4, **size),
    )
    ranks = {
        state.answer: beam_score(tree, node)
        for node, state in enumerate(tree.states)
        if state.answer
    }
    assert ranks["cc"] == -2 == max(ranks.values())
    assert {answer[0] for answer in ranks if len(answer) == 2} >= {"c"}
    deepest = [
        state.steps for state, asked in zip(tree.states, tree.asked) if asked and state.steps
    ]
    assert all(path[0].text == "c" for path in deepest) or name == "lookahead"


def test_subtrees_take_different_steps_if_they_can() -> None:
    policy = ScriptedPolicy({(): ["b", "b", "a", "b"]})
    (tree,) = run_search(
        [ENV.problems[0]],
        domain=WordsDomain(2),
        policy=policy,
        reward_model=spelling_reward("ba"),
        search=load_search("dvts", subtrees=2, expand=2),
    )
    assert {
        tree.states[node].steps[0].text for node, asked in enumerate(tree.asked) if node and asked
    } == {"a", "b"}


def test_the_score_of_a_path_is_not_that_of_an_earlier_step() -> None:
    """A step that could not be scored has no score; the name of a setting and its member mean the same."""
    tree = grow("greedy")
    tree.score = [None, 0.9, None]
    for aggregation in Aggregation:
        assert path_score(tree, 2, aggregation) == path_score(tree, 2, str(aggregation))
    assert path_score(tree, 2, "last") is None
    assert [aggregate([0.5, 0.25, 0.75], rule) for rule in Aggregation] == [
        0.75,
        0.25,
        0.09375,
        0.5,
    ]
    assert path_score(tree, 2, "min") == 0.9


def test_best_of_n_stops_at_the_first_verified_answer() -> None:
    tree = grow("best_of_n", n=64, wave=2, see=True)
    assert tree.asked[ROOT] == 2, "ba is in the first wave"
    assert grow("best_of_n", n=64, see=False).asked[ROOT] == 64


@pytest.mark.parametrize(
    ("pick", "answer", "reason"),
    [
        ("score", "b", "0.9 is the best score"),
        ("vote", "a", "three of six"),
        ("weighted_vote", "c", "2 x 0.8 beats 3 x 0.1 and 0.9"),
    ],
)
def test_picks(pick: str, answer: str, reason: str) -> None:
    script = {(): ["a", "a", "a", "b", "c", "c"]}
    values = ScriptedRewardModel({"a": 0.1, "b": 0.9, "c": 0.8})
    problem = SameWord("a", 1)[0]
    search = load_search("best_of_n", n=6, pick=pick)
    (tree,) = run_search(
        [problem],
        domain=WordsDomain(1),
        policy=ScriptedPolicy(script),
        reward_model=values,
        search=search,
    )
    assert tree.states[search.best(tree)].answer == answer, reason


def test_answers_are_grouped_by_the_verifiers_same() -> None:
    class CaseBlind:
        def verify(self, problems: Any, answers: Any) -> Any:
            return ENV.verifier.verify(problems, answers)

        def same(self, a: str, b: str) -> bool:
            return a.lower() == b.lower()

    script = {(): ["b", "a", "b", "A", "a"]}
    search = load_search("best_of_n", n=5)
    (tree,) = run_search(
        [SameWord("a", 1)[0]],
        domain=WordsDomain(1),
        policy=ScriptedPolicy(script),
        search=search,
        verifier=CaseBlind(),
    )
    assert tree.states[search.best(tree)].answer == "a", "a, A and a are three votes against two"


def test_mcts_closes_what_it_has_seen() -> None:
    tree = grow("mcts", simulations=1000, widen=0)
    assert tree.visits[ROOT] == 16, "sixteen words of two letters, each once"
    assert tree.status[ROOT] is NodeStatus.PRUNED


def test_mcts_merges_equal_states() -> None:
    class Sets(WordsDomain):
        """The order of letters does not matter."""

        def _advance(self, state: State, step: Step) -> State:
            after = super()._advance(state, step)
            public = "".join(sorted(s.text for s in after.steps))
            return State(after.prompt, after.steps, after.answer, after.end, public)

    def size(merge: bool) -> int:
        search = load_search("mcts", simulations=1000, merge=merge, widen=0)
        (tree,) = run_search([ENV.problems[0]], domain=Sets(3), policy=SPELLING, search=search)
        return len(tree)

    assert size(merge=False) == 1 + 4 + 16 + 64
    assert size(merge=True) == 1 + 4 + 16 + 4 * 10, "ten of sixteen pairs are different"

    (tree,) = run_search(
        [ENV.problems[0]],
        domain=Sets(3),
        policy=SPELLING,
        search=load_search("mcts", simulations=300, width=1, widen=0.5),
    )
    entered = [
        state.public
        for state, visits in zip(tree.states, tree.visits)
        if visits and state.steps and not state.done
    ]
    assert len(entered) == len(set(entered)) > 10, "nor does widening enter a state twice"
    assert tree.memory[MCTSMemory].merged


def test_mcts_goes_on_from_a_subtree() -> None:
    search = load_search("mcts", simulations=6, width=4, widen=0)
    problem = SameWord("cab", 1)[0]
    (tree,) = run_search(
        [problem],
        domain=WordsDomain(3),
        policy=SPELLING,
        reward_model=spelling_reward("cab"),
        search=search,
    )
    child = max(tree.children[ROOT], key=lambda node: tree.visits[node])
    below = subtree(tree, child)
    known = len(below)
    assert below.visits[ROOT] == tree.visits[child]
    (grown,) = run_search(
        [problem],
        domain=WordsDomain(3),
        policy=SPELLING,
        reward_model=spelling_reward("cab"),
        search=search,
        trees=[below],
    )
    assert len(grown) > known
    assert grown.visits[ROOT] > tree.visits[child]


def test_mcts_widens_when_a_node_is_used_up() -> None:
    narrow = grow("mcts", simulations=100, width=1, widen=0)
    wide = grow("mcts", simulations=100, width=1, widen=0.5)
    assert len(narrow) == 3
    assert len(wide) > 10


def test_gumbel_shares_simulations_among_candidates() -> None:
    tree = grow(
        "mcts", simulations=9, width=4, root_noise="gumbel", gumbel_candidates=2, leaves=1, widen=0
    )
    visited = [tree.visits[child] for child in tree.children[ROOT] if tree.visits[child]]
    assert sorted(visited)[-2:] == [4, 4] or sorted(visited) == [4, 5]


def test_revise_shows_the_failed_attempt() -> None:
    prompts: list[str] = []

    def script(state: State) -> list[str]:
        prompts.append(state.prompt)
        return ["c", "b"]

    grow("revise", attempts=2, see=True, policy=ScriptedPolicy(script))
    assert "earlier attempt, which was incorrect:\nc\nc" in prompts[-1]
    assert "ba" not in prompts[-1], "the reference is not told"


@pytest.mark.parametrize(
    ("letters", "values", "judged"),
    [
        ("cb", None, "not known to be right"),
        ("cb", {"b": 0.25}, "scored 0.25 of 1"),
        ("cx", None, "which gave no answer"),
    ],
)
def test_revise_says_how_the_attempt_was_judged(letters: str, values: Any, judged: str) -> None:
    prompts: list[str] = []

    def script(state: State) -> list[str]:
        prompts.append(state.prompt)
        return [letters[len(state.steps)]]

    run_search(
        [ENV.problems[0]],
        domain=WordsDomain(2),
        policy=ScriptedPolicy(script),
        reward_model=ScriptedRewardModel(values) if values else None,
        search=load_search("revise", attempts=2),
    )
    assert f"An earlier attempt, {judged}:" in prompts[-1]


def test_ab_mcts_goes_deeper_where_revision_pays() -> None:
    tree = grow(
        "ab_mcts",
        attempts=24,
        policy=RandomLegalPolicy(),
        values=ScriptedRewardModel({}, default=0.9),
    )
    after = {attempt.shown for attempt in tree.memory[AttemptsMemory].attempts}
    assert -1 in after
    assert len(after) > 1, "some attempts revise others"


@pytest.mark.parametrize(("revised", "least", "most"), [(0.95, 25, 39), (0.0, 1, 19)])
def test_ab_mcts_revises_in_the_measure_in_which_revisions_pay(
    revised: float, least: int, most: int
) -> None:
    def script(state: State) -> list[str]:
        return ["b" if "earlier attempt" in state.prompt else "a"] * 100

    tree = grow(
        "ab_mcts",
        attempts=40,
        policy=ScriptedPolicy(script),
        values=ScriptedRewardModel(lambda state: revised if "b" in state.steps[0].text else 0.3),
    )
    attempts = tree.memory[AttemptsMemory].attempts
    assert least <= sum(attempt.shown >= 0 for attempt in attempts) <= most
    for attempt in attempts:
        assert tree.value[attempt.tip] == (revised if attempt.shown >= 0 else 0.3)


@pytest.mark.parametrize(
    ("answer", "score", "verdict", "value"),
    [
        ("a", 0.2, Verdict(Status.CORRECT, 1.0), 1.0),
        ("a", 0.8, Verdict(Status.INCORRECT, 0.3), 0.3),
        ("a", 0.8, Verdict(Status.UNDECIDED), 0.8),
        ("a", 0.8, None, 0.8),
        ("a", None, None, 0.5),
        (None, 0.8, None, 0.0),  # well scored steps that lead to no answer
    ],
)
def test_an_attempt_is_worth_its_verdict_then_its_score_and_nothing_without_a_result(
    answer: str | None, score: float | None, verdict: Verdict | None, value: float
) -> None:
    tree = SearchTree("p", [State("p"), State("p", (Step("x"),), answer, End.STUCK)])
    tree.parent, tree.score = [NO_PARENT, ROOT], [None, score]
    tree.verdicts = {} if verdict is None else {1: verdict}
    assert attempt_value(tree, 1, "last") == value


def test_adaptive_gives_the_hard_problems_what_the_easy_ones_leave() -> None:
    easy, hard = SameWord("aaa", 1)[0], SameWord("dcb", 1)[0]
    hard = Problem("hard", "hard", hard.reference)
    search = load_search("adaptive", steps=40, probe=2)
    trees = run_search(
        [easy, hard],
        domain=WordsDomain(3),
        policy=SPELLING,
        search=search,
        verifier=ENV.verifier,
        see_verdicts=True,
    )
    asked = [sum(tree.asked) for tree in trees]
    assert asked[0] < 10 < asked[1]
    assert sum(asked) <= 80 + 12


def test_adaptive_continues_if_every_problem_needs_more() -> None:
    search = load_search("adaptive", steps=40, probe=2)
    trees = run_search(
        [Problem(name, name, SameWord("dcb", 1)[0].reference) for name in "pq"],
        domain=WordsDomain(3),
        policy=SPELLING,
        search=search,
        verifier=ENV.verifier,
        see_verdicts=True,
    )
    assert all(sum(tree.asked) > 2 * 3 for tree in trees), "the probes alone were played"


@pytest.mark.parametrize(("score", "beamed"), [(0.05, True), (0.95, False)])
def test_adaptive_keeps_beams_for_problems_whose_mean_score_is_low(
    score: float, beamed: bool
) -> None:
    trees = run_search(
        [SameWord("dcb", 1)[0]],
        domain=WordsDomain(3),
        policy=RandomLegalPolicy(),
        reward_model=ScriptedRewardModel(lambda state: score),
        search=load_search("adaptive", steps=200, probe=40, stages=2, accept=1.1),
        verifier=ENV.verifier,
        see_verdicts=False,
    )
    kinds = [type(memory) for memory in trees[0].memory.values()]
    assert (BeamMemory in kinds) == beamed, kinds


def test_a_stuck_path_is_not_an_answer() -> None:
    tree = grow("mcts", policy=ScriptedPolicy({(): ["x", "b"], ("b",): ["a"]}), simulations=8)
    assert tree.states[1].end is End.STUCK
    assert tree.value[1] == 0.0
    assert tree.states[load_search("mcts").best(tree)].answer == "ba"


def test_countdown_by_random_legal_play_end_to_end() -> None:
    shares = {}
    for agent in ("greedy", "best_of_n", "mcts"):
        records = solve("stepgym/Countdown-v0", agent=agent, policy="random", episodes=30, level=3)
        shares[agent] = sum(record.verdict == "correct" for record in records) / 30
        for record in records:
            assert record.verdict in {"correct", "incorrect", "no_answer"}
            assert record.nodes[record.path[-1]].answer == record.answer
    assert shares["greedy"] < shares["best_of_n"] < 1
    assert shares["greedy"] < shares["mcts"]


def test_each_verdict_is_looked_at_once() -> None:
    looks = 0

    class Watched:
        def __init__(self, correct: bool) -> None:
            self._correct = correct

        @property
        def correct(self) -> bool:
            nonlocal looks
            looks += 1
            return self._correct

    tree = SearchTree("p", [State("p")])
    for node in range(1, 50):
        tree.verdicts[node] = Watched(node == 40)  # type: ignore[assignment]
        for _ in range(3):
            assert has_verified(tree) is (node >= 40)
    assert looks == 40

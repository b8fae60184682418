"""MCTS against the formulas of its paper, written out over dictionaries: where each simulation goes and what it backs up.

The search keeps sums, Q values and exploration terms up to date incrementally and only where they change. Here all is
computed anew from the definition, for each simulation. Of equal scores the child that was drawn first wins.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.agents import SearchTree, run_search
from stepgym.agents.policies.scripted import RandomLegalPolicy, RandomRewardModel
from stepgym.agents.search.mcts import MCTS
from stepgym.agents.search.puct import UNKNOWN_Q, MCTSMemory, memory_from, priors_of
from stepgym.agents.search.root import choose_gumbel
from stepgym.agents.types import NO_PARENT, ROOT, NodeStatus, Request
from stepgym.envs.families.words import SameWord, WordsDomain
from stepgym.envs.types import Problem, State, Status, Verdict


class SharedLetters:
    """Gives credit for the letters that an answer shares with the reference: verdicts of many values."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        shares = [
            sum(a == b for a, b in zip(answer, problem.reference)) / len(problem.reference)
            for problem, answer in zip(problems, answers, strict=True)
        ]
        return [
            Verdict(Status.CORRECT if share == 1 else Status.INCORRECT, share) for share in shares
        ]


@dataclass
class ByTheBook:
    """PUCT with one simulation at a time, by definition; each of the search's requests must be the leaf found here."""

    mcts: MCTS
    visits: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    total: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    highest: defaultdict[int, float] = field(default_factory=lambda: defaultdict(float))
    fruitless: set[int] = field(default_factory=set)
    """Nodes that are not asked again: the last time brought nothing new, or there is no widening."""
    first_q: dict[int, float] = field(default_factory=dict)
    """The parent's mean when a child without a score was made; the simulation in flight counts there as one of value 0."""
    known: set[int] = field(default_factory=set)
    compared: int = 0

    def select(self, tree: SearchTree) -> list[Request]:
        expected = None
        for _ in range(self.mcts.simulations - self.visits[ROOT]):
            if self.finished(tree, ROOT):
                break
            path = self.descend(tree)
            if tree.status[path[-1]] is not NodeStatus.ENDED:
                expected = path
                break
            self.back_up(tree, path)
        requests = self.mcts.select(tree)
        assert [request.node for request in requests] == ([expected[-1]] if expected else [])
        for node, count, _ in requests:
            assert count >= 1 and (count == 1 or tree.asked[node] + count <= self.allowed(node))
        self.path = expected
        self.compare(tree, in_flight=expected or [])
        return requests

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        assert self.path is not None
        for node in grown:
            if not self.mcts.widen or set(tree.children[node]) <= self.known:
                self.fruitless.add(node)
        self.known |= set(range(len(tree)))
        self.back_up(tree, self.path)
        self.mcts.backup(tree, grown)
        self.compare(tree, in_flight=[])

    def best(self, tree: SearchTree) -> int:
        return self.mcts.best(tree)

    def finished(self, tree: SearchTree, node: int) -> bool:
        if tree.status[node] is NodeStatus.ENDED:
            return self.visits[node] > 0
        if tree.status[node] in (NodeStatus.BARREN, NodeStatus.FAILED):
            return True
        return node in self.fruitless and self.used_up(tree, node)

    def used_up(self, tree: SearchTree, node: int) -> bool:
        return all(self.finished(tree, child) for child in tree.children[node])

    def allowed(self, node: int) -> float:
        """How many steps a node may have been asked for, this simulation counted."""
        return self.mcts.width * (self.visits[node] + 1.0) ** self.mcts.widen

    def stops_at(self, tree: SearchTree, node: int) -> bool:
        """A simulation ends at an end, and at a node that is asked for steps."""
        if not tree.asked[node] or not tree.children[node]:
            return True
        if node in self.fruitless:
            return False
        return self.used_up(tree, node) or self.allowed(node) + 1e-9 >= tree.asked[node] + 1

    def mean(self, node: int) -> float:
        if not self.visits[node]:
            return UNKNOWN_Q
        if self.mcts.backup_rule == "max":
            return self.highest[node]
        return self.total[node] / self.visits[node]

    def q(self, tree: SearchTree, node: int) -> float:
        if self.visits[node]:
            return self.mean(node)
        score = tree.score[node]
        return self.first_q[node] if score is None else score

    def descend(self, tree: SearchTree) -> list[int]:
        path = [ROOT]
        while not self.stops_at(tree, path[-1]):
            node, base = path[-1], self.mcts.exploration_base
            n = self.visits[node] + 1  # this simulation counts
            factor = (math.log((1 + n + base) / base) + self.mcts.exploration) * math.sqrt(n)
            path.append(
                max(
                    (c for c in tree.children[node] if not self.finished(tree, c)),
                    key=lambda c: self.q(tree, c) + factor * (tree.prior[c] / (1 + self.visits[c])),
                )
            )
        return path

    def back_up(self, tree: SearchTree, path: list[int]) -> None:
        end = path[-1]
        score = tree.score[end]
        value = UNKNOWN_Q if score is None else score
        if end in tree.verdicts:
            value = tree.verdicts[end].score
        if tree.status[end] is NodeStatus.BARREN or (
            tree.status[end] is NodeStatus.ENDED and not tree.states[end].has_result
        ):
            value = 0.0
        for child in tree.children[end]:
            n = self.visits[end]
            total = self.highest[end] * n if self.mcts.backup_rule == "max" else self.total[end]
            self.first_q.setdefault(child, total / (n + 1))
        for node in path:
            self.visits[node] += 1
            self.total[node] += value
            self.highest[node] = max(self.highest[node], value)

    def compare(self, tree: SearchTree, *, in_flight: list[int]) -> None:
        for node, parent in enumerate(tree.parent):
            assert tree.visits[node] == self.visits[node] + (node in in_flight)
            if self.visits[node]:
                assert tree.value[node] == pytest.approx(self.mean(node))
                self.compared += 1
            if parent != NO_PARENT and tree.children[parent]:
                total = math.fsum(tree.prior[child] for child in tree.children[parent])
                assert total == pytest.approx(1)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    rule=st.sampled_from(["mean", "max"]),
    exploration=st.sampled_from([0.0, 0.4, 1.25, 5.0]),
    base=st.sampled_from([4.0, 19652.0]),
    widen=st.sampled_from([0.0, 0.25, 0.5]),
    scored=st.booleans(),
)
def test_each_simulation_goes_where_the_formula_says(
    seed: int, rule: str, exploration: float, base: float, widen: float, scored: bool
) -> None:
    mcts = MCTS(
        simulations=40,
        leaves=1,
        until_end=False,
        width=3,
        widen=widen,
        merge=False,
        backup_rule=rule,
        exploration=exploration,
        exploration_base=base,
        seed=seed,
        stop_at_verified=False,
    )
    book = ByTheBook(mcts)
    [tree] = run_search(
        [SameWord("abcd", 1)[0]],
        domain=WordsDomain(4),
        policy=RandomLegalPolicy(seed),
        reward_model=RandomRewardModel(seed) if scored else None,
        search=book,
        verifier=None if scored else SharedLetters(),
        see_verdicts=not scored,
    )
    assert not tree.notes, tree.notes  # a failed assertion above is the search's failure
    assert book.compared > 4


@dataclass(frozen=True)
class Checked:
    """MCTS whose numbers are compared with their definitions before and after each round."""

    mcts: MCTS

    def select(self, tree: SearchTree) -> list[Request]:
        requests = self.mcts.select(tree)
        self.check(tree)
        return requests

    def backup(self, tree: SearchTree, grown: Mapping[int, Sequence[int]]) -> None:
        self.mcts.backup(tree, grown)
        self.check(tree)

    def best(self, tree: SearchTree) -> int:
        return self.mcts.best(tree)

    @staticmethod
    def check(tree: SearchTree, memory: MCTSMemory | None = None) -> None:
        memory = memory or tree.recall(MCTSMemory)
        for node, visits in enumerate(tree.visits):
            if node != ROOT and visits:
                assert memory.q[node] == pytest.approx(memory.total_value[node] / visits)
            if node != ROOT:
                assert memory.prior_term[node] == pytest.approx(tree.prior[node] / (1 + visits))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 1000),
    leaves=st.integers(1, 16),
    rule=st.sampled_from(["mean", "max"]),
    noise=st.sampled_from(["none", "gumbel", "dirichlet"]),
    widen=st.sampled_from([0.0, 0.5]),
    until_end=st.booleans(),
)
def test_the_numbers_of_each_node_fit_its_visits(
    seed: int, leaves: int, rule: str, noise: str, widen: float, until_end: bool
) -> None:
    mcts = MCTS(
        simulations=40,
        leaves=leaves,
        width=2,
        backup_rule=rule,
        root_noise=noise,
        widen=widen,
        until_end=until_end,
        seed=seed,
    )
    [tree] = run_search(
        [SameWord("abcd", 1)[0]],
        domain=WordsDomain(4),
        policy=RandomLegalPolicy(seed),
        reward_model=RandomRewardModel(seed),
        search=Checked(mcts),
    )
    assert not tree.notes, tree.notes  # a failed assertion above is the search's failure
    assert tree.visits[ROOT] > 0
    Checked.check(tree, memory_from(tree, widen_at=mcts.widen_at))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_without_log_probs_a_prior_is_the_share_of_draws(counts: list[int]) -> None:
    children = range(len(counts))
    drawn = [child for child, count in zip(children, counts) for _ in range(count)]
    priors = priors_of([None] * len(counts), children, drawn=drawn, temperature=1.0)
    assert priors == pytest.approx([count / len(drawn) for count in counts])


def test_gumbel_draws_by_priors_and_values() -> None:
    """The first choice follows softmax(log P + sigma(Q)): the Gumbel-max trick, and equation 8 of the paper."""
    priors, values = [0.4, 0.3, 0.2, 0.1], [0.2, 0.5, 0.1, 0.6]
    tree = SearchTree("p", [State("p")] * 5, parent=[NO_PARENT, 0, 0, 0, 0])
    tree.children, tree.prior = [[1, 2, 3, 4], [], [], [], []], [1.0, *priors]
    tree.visits, tree.value, tree.asked = [0] * 5, [0.0] * 5, [4, 0, 0, 0, 0]
    tree.status, tree.score = [NodeStatus.OPEN] * 5, [None] * 5
    memory = memory_from(tree, widen_at=lambda asked: math.inf)
    memory.q = [0.5, *values]
    drawn = [
        choose_gumbel(tree, memory, seed=seed, num_candidates=4, simulations=1)
        for seed in range(2000)
    ]
    likeliest = [
        choose_gumbel(tree, memory, seed=seed, num_candidates=1, simulations=1)
        for seed in range(2000)
    ]
    for child, prior in enumerate(priors, start=1):  # values do not choose who competes
        assert likeliest.count(child) / 2000 == pytest.approx(prior, abs=0.05)
    weights = [prior * math.exp(0.1 * 50 * value) for prior, value in zip(priors, values)]
    for child, weight in enumerate(weights, start=1):
        assert drawn.count(child) / 2000 == pytest.approx(weight / sum(weights), abs=0.05)


def test_a_node_about_which_nothing_is_known_is_worth_a_half() -> None:
    """A tree may come from a search that counts no visits."""
    tree = SearchTree("p", [State("p")] * 2, parent=[NO_PARENT, 0])
    tree.children, tree.prior, tree.visits = [[1], []], [1.0, 1.0], [0, 0]
    tree.value, tree.asked, tree.score = [0.0, 0.0], [1, 0], [None, None]
    tree.status = [NodeStatus.OPEN] * 2
    assert memory_from(tree, widen_at=lambda asked: math.inf).q == [0.5, 0.5]


CHILD = st.tuples(
    st.sampled_from([None, "start", "a", "a", "b"]),
    st.sampled_from([NodeStatus.OPEN] * 4 + [NodeStatus.FAILED, NodeStatus.PRUNED]),
    st.sampled_from([0, 0, 0, 1]),
)


@given(
    kinds=st.lists(CHILD, min_size=5, max_size=5),
    drawn=st.lists(st.integers(1, 5), min_size=4, max_size=9),
    known=st.sampled_from([{}, {"a": 99}]),
)
def test_every_drawn_child_is_open_unless_it_failed_was_visited_or_is_represented(
    kinds: list[tuple[str | None, NodeStatus, int]], drawn: list[int], known: dict[str, int]
) -> None:
    """Whatever the policy draws again and in whatever order, no child is lost and no state is open twice."""
    publics = [None, *(public for public, _, _ in kinds)]
    tree = SearchTree("p", [State("p", public="start")])
    tree.states += [State("p", public=public) for public, _, _ in kinds]
    tree.parent, tree.children = [NO_PARENT] + [ROOT] * 5, [[1, 2, 3, 4, 5], [], [], [], [], []]
    tree.status = [NodeStatus.OPEN, *(status for _, status, _ in kinds)]
    tree.visits, tree.score = [1, *(visits for _, _, visits in kinds)], [None] * 6
    can_open = {n for n in drawn if tree.status[n] is NodeStatus.OPEN and not tree.visits[n]}
    memory = MCTSMemory(by_state={1: {**known}})  # of depth 1 only states at other nodes are known
    memory.extend(6)
    has_more = memory.add_children(tree, ROOT, drawn, num_known=1, merge=True)
    is_open, merged = memory.open_children[ROOT], memory.merged
    assert has_more is bool(is_open)
    assert sorted([*is_open, *merged]) == sorted(can_open)
    for child, first in merged.items():
        assert tree.status[child] is NodeStatus.PRUNED
        assert first == known.get(publics[child]) or publics[first] == publics[child]
    shown = [publics[n] for n in is_open if publics[n] in ("a", "b")]
    assert len(shown) == len(set(shown)) and not set(shown) & set(known)

"""Several environments as one: each problem comes from one member, drawn by weight.

Its id is `stepgym/Mixture-v0`.

Item `i` is a pure function of `(seed, i)`: the member is drawn from a hash of both, and then item `i` of that member. A
state's public data carries its member, so that steps and answers go to the right domain and verifier.
"""

from __future__ import annotations

import sys
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self, Unpack

from stepgym.envs.curriculum import Curriculum
from stepgym.envs.illegal_steps import IllegalSteps
from stepgym.envs.mixture_schedule import Course, MixtureSchedule, Rule
from stepgym.envs.problem_sets import item_random
from stepgym.envs.reasoning_env import CommonOptions, ReasoningEnv
from stepgym.envs.registry import load_env
from stepgym.envs.types import (
    LegalSteps,
    Problem,
    ProblemSet,
    State,
    Step,
    StepVerifier,
    Verdict,
    WithLevel,
    WithSeed,
)
from stepgym.plugins.errors import UserError
from stepgym.plugins.settings import SettingError

NAME = "stepgym/Mixture-v0"


class Tagged(NamedTuple):
    """Public data of a member's problem or state."""

    member: int
    """Index of the member in `MixedProblems.members`."""
    public: Hashable
    """The member's own public data."""


class Member(NamedTuple):
    """One environment of a mixture."""

    env: ReasoningEnv
    """The member's environment."""
    weight: float
    """Relative weight of the member in the draw, at the start of an annealed schedule."""
    end_weight: float
    """The weight at the end of an annealed schedule."""


@dataclass(frozen=True)
class MixedProblems:
    """The problems of all members, drawn by weight."""

    members: tuple[Member, ...]
    """The environments, in the order of the weights."""
    problem_sets: tuple[ProblemSet, ...]
    """The problem set of each member, in the same order."""
    seed: int = 0
    """Seed of the draw of a member."""
    name: str = NAME
    """First part of every problem's id."""
    schedule: MixtureSchedule | None = None
    """How weights and levels follow outcomes, if a trainer gives them; items by index do not change."""

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, index: int) -> Problem:
        if not 0 <= index < len(self):
            raise IndexError(f"{self.name} has items 0 to {sys.maxsize - 1}, not {index!r}")
        weights = [member.weight for member in self.members]
        [member] = item_random(self.seed, 0, index).choices(range(len(weights)), weights)
        return self._item(member, self.problem_sets[member], index)

    def scheduled(self, schedule: MixtureSchedule, index: int) -> Problem:
        """Return item `index` with the environment and level that a schedule draws.

        It is a function of seed, schedule and index.
        """
        env_id, level = schedule.draw(item_random(self.seed, 0, index))
        member = [each.env.env_id for each in self.members].index(env_id)
        problems = self.problem_sets[member]
        if isinstance(problems, WithLevel):
            problems = problems.with_level(level)
        return self._item(member, problems, index)

    def drawn_before(self, problem_id: str, index: int, level: int | None) -> Problem:
        """Return an item that was drawn before, by weight or by a schedule.

        Its id, index and level identify it. Raises `UserError`.
        """
        member = self._member_of(problem_id)
        problems = self.problem_sets[member]
        if level is not None and isinstance(problems, WithLevel):
            problems = problems.with_level(level)
        return self._item(member, problems, index)

    def env_id_of(self, problem_id: str) -> str:
        """Return the environment that an item of the mixture is from. Raises `UserError`."""
        return self.members[self._member_of(problem_id)].env.env_id

    def _member_of(self, problem_id: str) -> int:
        for number, problems in enumerate(self.problem_sets):
            if f"/{problems.name}/" in problem_id:
                return number
        raise UserError(f"{problem_id!r} is of no member of {self.name}")

    def _item(self, member: int, problems: ProblemSet, index: int) -> Problem:
        problem = problems[index % len(problems)]
        return replace(
            problem,
            id=f"{self.name}/{index}/{problem.id}",
            index=index,
            public=Tagged(member, problem.public),
        )

    def with_seed(self, seed: int) -> Self:
        sets = tuple(
            problems.with_seed(seed) if isinstance(problems, WithSeed) else problems
            for problems in self.problem_sets
        )
        return replace(self, seed=seed, problem_sets=sets)


@dataclass(frozen=True)
class MixedDomain:
    """Gives each state to its member's domain."""

    members: tuple[Member, ...]
    """The environments; a state's `Tagged.member` is an index into them."""

    def initial(self, problem: Problem) -> State:
        member, plain = _plain(problem)
        return _tagged(self.members[member].env.domain.initial(plain), member)

    def advance(self, states: Sequence[State], steps: Sequence[Step]) -> list[State]:
        found: dict[int, State] = {}
        for member, places in _grouped(states).items():
            plain = [_untagged(states[place]) for place in places]
            taken = [steps[place] for place in places]
            after = self.members[member].env.domain.advance(plain, taken)
            found |= {place: _tagged(state, member) for place, state in zip(places, after)}
        return [found[place] for place in range(len(states))]

    def refusing(self, rule: IllegalSteps) -> Self:
        """Return the mixture with one rule for illegal steps in all members. Raises `SettingError`."""
        for member in self.members:
            member.env.refuse_by(rule)
        return self

    def close(self) -> None:
        for member in self.members:
            member.env.close()


class MixedGames(MixedDomain):
    """A mixture whose members all list their legal steps."""

    def legal_steps(self, state: State) -> list[str]:
        domain = self.members[_tag(state.public).member].env.domain
        return domain.legal_steps(_untagged(state)) if isinstance(domain, LegalSteps) else []


@dataclass(frozen=True)
class MixedVerifier:
    """Gives each problem to its member's verifier."""

    members: tuple[Member, ...]
    """The environments; a problem's `Tagged.member` is an index into them."""

    def verify(self, problems: Sequence[Problem], answers: Sequence[str]) -> list[Verdict]:
        found: dict[int, Verdict] = {}
        for member, places in _grouped(problems).items():
            plain = [_plain(problems[place])[1] for place in places]
            verdicts = self.members[member].env.verifier.verify(
                plain, [answers[place] for place in places]
            )
            found |= dict(zip(places, verdicts))
        return [found[place] for place in range(len(problems))]


@dataclass(frozen=True)
class MixedStepVerifier:
    """Gives each state to its member's step verifier; offered only if every member has one."""

    members: tuple[Member, ...]
    """The environments; a state's `Tagged.member` is an index into them."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        found: dict[int, list[Verdict]] = {}
        for member, places in _grouped(problems).items():
            verifier = self.members[member].env.step_verifier
            assert verifier is not None
            plain = [_plain(problems[place])[1] for place in places]
            verdicts = verifier.verify_steps(plain, [_untagged(states[place]) for place in places])
            found |= dict(zip(places, verdicts))
        return [found[place] for place in range(len(problems))]


def mixture(
    members: Mapping[str, float | Mapping[str, Any]],
    *,
    seed: int = 0,
    rule: Rule | None = None,
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make a mixture of environments.

    `members` maps each environment's id to its weight, or to a mapping with `weight` and options of the environment:
    `{"Fractions-v0": 1, "Countdown-v0": {"weight": 2, "level": 3}}`. With a `rule`, GRPO and self-play draw by a schedule: weights are
    fixed, go to each member's `end_weight` (`annealed`), or follow learning progress (`progress`), and each member's level
    follows its success rate. Raises `SettingError` and `UnknownNameError`.
    """
    if not members:
        raise SettingError("a mixture has at least one member; give members={'Fractions-v0': 1}")
    made = tuple(_member(name, given, seed) for name, given in members.items())
    listed = all(isinstance(member.env.domain, LegalSteps) for member in made)
    verifiers: list[StepVerifier | None] = [member.env.step_verifier for member in made]
    problem_sets = tuple(member.env.problems for member in made)
    schedule = (
        None if rule is None else MixtureSchedule(courses=tuple(map(_course, made)), rule=rule)
    )
    return ReasoningEnv(
        MixedProblems(made, problem_sets, seed, schedule=schedule),
        domain=MixedGames(made) if listed else MixedDomain(made),
        verifier=MixedVerifier(made),
        step_verifier=MixedStepVerifier(made) if all(verifiers) else None,
        **common,
    )


def make(
    *,
    members: Mapping[str, float | Mapping[str, Any]] | None = None,
    seed: int = 0,
    rule: Rule | None = None,
    **common: Unpack[CommonOptions],
) -> ReasoningEnv:
    """Make `stepgym/Mixture-v0`.

    `members` is as for `mixture`; by default fractions and Countdown.
    """
    chosen = members or {"Fractions-v0": 1, "Countdown-v0": 1}
    return mixture(chosen, seed=seed, rule=rule, **common)


def _member(name: str, given: float | Mapping[str, Any], seed: int) -> Member:
    options = dict(given) if isinstance(given, Mapping) else {"weight": given}
    weight = _weight(name, options.pop("weight", 1))
    end_weight = _weight(name, options.pop("end_weight", weight))
    return Member(load_env(name, **{"seed": seed, **options}), weight, end_weight)


def _weight(name: str, given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise SettingError(f"the weight of {name} is a number above 0, not {given!r}")
    return float(given)


def _course(member: Member) -> Course:
    problems = member.env.problems
    level = problems[0].level if isinstance(problems, WithLevel) else None
    fixed = Curriculum(level=1, highest=1)  # a data file has no levels
    return Course(
        env_id=member.env.env_id,
        weight=member.weight,
        end_weight=member.end_weight,
        curriculum=fixed if level is None else Curriculum(level=level),
    )


def _tag(public: Hashable) -> Tagged:
    assert isinstance(public, tuple) and len(public) == 2, f"not a mixture's: {public!r}"
    return Tagged(*public)  # in records it is a plain pair


def _plain(problem: Problem) -> tuple[int, Problem]:
    member, public = _tag(problem.public)
    return member, replace(problem, public=public)


def _tagged(state: State, member: int) -> State:
    return replace(state, public=Tagged(member, state.public))


def _untagged(state: State) -> State:
    return replace(state, public=_tag(state.public).public)


def _grouped(items: Sequence[Problem | State]) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(_tag(item.public).member, []).append(place)
    return groups

"""The step verifier for free text, which decides mathematical claims within a step.

Covered: closed equations, inequalities and chains with units, percentages and rounding; identities; derivations of
equations and inequalities in one unknown; congruences; values, derivatives and integrals of functions; matrices; numbers
in words; named quantities that are given a value twice; quoted rates and results of tools. Not covered: whether an
equation is the right one for the question. INCORRECT is said only with a proof, so a step without a false claim may
still be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stepgym.envs.maths.effort import STEPS, limited_to
from stepgym.envs.steps.arithmetic import closed_equations
from stepgym.envs.steps.claims import Claim, StepReport, report_of
from stepgym.envs.steps.equations import equations_in, unknown_of
from stepgym.envs.steps.formula_claims import excused, formula_claims, note, plain_claims
from stepgym.envs.steps.formulas import plain_relations_in, relations_in, without_formulas
from stepgym.envs.steps.notebook import Notebook
from stepgym.envs.steps.plain_text import STOP, prepare, without_long_numbers
from stepgym.envs.steps.quotes import rate_claims, result_claims
from stepgym.envs.steps.setting import Setting, exact_decimals
from stepgym.envs.steps.solutions import Derivation
from stepgym.envs.steps.statements import sides_of
from stepgym.envs.steps.words import word_claims
from stepgym.envs.types import Problem, State, Status, Verdict

MAX_STEP_LENGTH = 20_000
"""Characters of a step that are read; claims behind them are not found."""
MAX_WORK = 8 * STEPS
"""Steps of work for one step of a solution (about a microsecond each); formulas behind them stay UNDECIDED."""
_STATEMENT = re.compile(rf"[^{STOP}]+")


class FreeTextStepVerifier:
    """Verifies the steps of solutions in free text by the claims in them
    (`stepgym.envs.types.StepVerifier`).
    """

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        """Return one verdict per step of each state.

        `details["claims"]` has kind, span and verdict of each claim.
        """
        return [
            [
                _verdict(report)
                for report in check_steps(
                    problem.prompt,
                    [step.text for step in state.steps],
                    [step.reply for step in state.steps],
                )
            ]
            for problem, state in zip(problems, states, strict=True)
        ]


def check_steps(
    problem: str, steps: Sequence[str], replies: Sequence[str] = ()
) -> list[StepReport]:
    """Return one report per step of a solution.

    `problem` is the question's text; `replies` are the outputs of tools after each step.
    """
    read = without_long_numbers(problem)
    given = exact_decimals(read)
    notebook = Notebook(given=given)
    setting = Setting(read, given=given)
    derivation = Derivation()
    with limited_to(MAX_WORK):
        relations = relations_in(problem[:MAX_STEP_LENGTH])
        derivation.read_problem(problem, relations)
        for relation in relations:
            note(relation, setting)
            if not relation.operators:
                setting.note_expression(relation.sides[0].text)
    reports = []
    for number, step in enumerate(steps):
        results = [without_long_numbers(reply) for reply in replies[:number] if reply]
        notebook.begin_step(number)
        with limited_to(MAX_WORK):
            claims = _claims_of_step(
                step[:MAX_STEP_LENGTH], read, results, notebook, derivation, setting
            )
        reports.append(report_of(sorted(claims, key=lambda claim: claim.start)))
    return reports


def _claims_of_step(
    step: str,
    problem: str,
    results: Sequence[str],
    notebook: Notebook,
    derivation: Derivation,
    setting: Setting,
) -> list[Claim]:
    read = without_long_numbers(step)
    setting.read_step(read)
    relations = relations_in(step)
    prose = prepare(without_formulas(step))
    in_prose = list(_claims_of(prose, step, notebook))
    in_formulas = [
        claim
        for claim in plain_claims(step, plain_relations_in(step), setting)
        if not any(claim.start < other.end and other.start < claim.end for other in in_prose)
    ]
    return [
        *(excused(step, claim, setting, prose=True) for claim in in_prose + in_formulas),
        *word_claims(step, prose),
        *rate_claims(read, problem),
        *result_claims(read, results),
        *derivation.claims(step, relations, setting),
        *formula_claims(step, relations, setting),
    ]


def _claims_of(prose: str, step: str, notebook: Notebook) -> Iterator[Claim]:
    for match in _STATEMENT.finditer(prose):
        statement = match.group()
        if not any(sign in statement for sign in "=~<>"):
            continue
        known = notebook.values()
        unknown = unknown_of(statement, known)
        if unknown is not None:
            yield from equations_in(step, statement, match.start(), unknown, notebook)
        sides, relations = sides_of(statement, match.start(), known)
        yield from closed_equations(step, sides, relations, notebook)


def _verdict(report: StepReport) -> Verdict:
    claims = [
        {
            "kind": claim.kind.value,
            "start": claim.start,
            "end": claim.end,
            "status": claim.status.value,
            "reason": claim.reason,
        }
        for claim in report.claims
    ]
    score = 1.0 if report.status is Status.CORRECT else 0.0
    return Verdict(
        report.status, score, report.reason, decided_by="claims", details={"claims": claims}
    )

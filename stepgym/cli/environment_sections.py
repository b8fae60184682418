"""What is said of every environment, under the same headings: for `stepgym envs ID` and the pages in docs/environments/.

All of it is read from the registry or from the environment itself; the example episode is played.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from stepgym.agents.policies.prompts import SYSTEM
from stepgym.envs.coding.repo.domain import RepoDomain
from stepgym.envs.illegal_steps import RETRIES
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.registry import ENVIRONMENTS, EnvironmentCard, full_id, load_env
from stepgym.envs.rewards import Rewards
from stepgym.envs.types import LegalSteps, RefusesSteps, Step, WithLevel
from stepgym.plugins.names import load_dotted
from stepgym.plugins.settings import accepted
from stepgym.sandbox.types import SandboxError

LONGEST = 300
"""Characters of an example problem in the table of levels."""
OPTIONS = {
    "answer": "column of the answers in `file`; found by its usual names if not given",
    "attempts": "how often the solver tries a proposal that counts",
    "challenge": "ask for MBPP's second tests too",
    "file": "path of a data file, or `hub` where the description says so",
    "gate": "`false`: every proposal counts, for controls",
    "instructions": "text that stands with each question",
    "kinds": "kinds of problems that are asked for: `expression`, `equation`, `countdown`, `program`",
    "leave_out": "ids of problems to leave out, or a report of `stepgym validate --json`",
    "level": "difficulty; none for data files",
    "max_retries": "with `on_illegal=retry`: illegal steps that an episode may have; `null` is no limit",
    "max_steps": "steps until the episode is truncated; `null` is no limit",
    "members": "environment -> weight, or `weight`, `end_weight` and the environment's options",
    "modulus": "the modulus",
    "on_illegal": "`end` or `retry`: what an illegal step does",
    "packages": "Python packages that the sandbox must carry",
    "pays": "the proposer's reward from the solver's success rate p: `4p(1-p)` or `1-p`",
    "question": "column of the questions in `file`; found by its usual names if not given",
    "render_mode": "`ansi` or `human`",
    "rewards": "reward of each outcome: `correct`, `incorrect`, `undecided`, `no_answer`, `correct_step`, `incorrect_step`",
    "rule": "how a trainer or a loop draws members: `fixed`, `annealed`, `progress`; none: by weight",
    "sandbox": "where programs run: `auto`, `docker`, `local`; `null` runs no tool calls",
    "seed": "another seed gives other problems",
    "seen": "file of the proposals that counted in earlier runs; they are not new again",
    "show_reasoning": "`render` shows the text between `<think>` tags",
    "shown": "how many of the last proposals that counted a chat model is shown",
    "skill": "with `solver=scripted`: probability that it does one operation right",
    "solver": "`scripted`, or any policy",
    "strict": "refuse verdicts that rest on classes of the graded program",
    "task": "what is predicted: `output` or `input`",
    "tool_results": "`full`, or `short` for summaries to read on from",
    "tools": "`python`: the interpreter stays between calls; `python_fresh`: it does not; `false`: no tool",
    "year": "year of the contest, with `file=hub`",
}
"""Option -> what it does, the same for every environment that takes it."""
DEFAULTS = {"sandbox": "auto", "strict": False, "tool_results": "full", "tools": "python"}
"""Defaults of the options that all environments of code problems share."""
INFO = (
    ("problem_id", "id of the problem"),
    ("index", "number of the problem in its set"),
    ("level", "level of the problem, if there are levels"),
    ("num_steps", "steps so far, illegal ones too"),
    ("num_illegal", "illegal steps so far"),
    (
        "reply",
        "the environment's reply to the last step: a tool's output, or why the step is illegal",
    ),
    ("tool_tokens", "tokens of all replies so far"),
    ("end", "at the end: answered, stuck, step_limit, outcome"),
    ("verdict", "at the end: correct, incorrect, undecided, no_answer"),
    ("score", "at the end: the verifier's score from 0 to 1"),
    ("undecided", "at the end: whether the verdict is undecided"),
    ("answer", "the answer, if one was given"),
)


class Table(NamedTuple):
    """Rows of cells under a head; cells are plain text with `code`."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class Verbatim(NamedTuple):
    """Text that is shown as it is."""

    text: str


Block = str | Table | Verbatim
"""A paragraph, or one of the above."""


class Section(NamedTuple):
    """One heading and the text below it."""

    heading: str
    blocks: tuple[Block, ...]


def sections(env_id: str, env: ReasoningEnv, options: Mapping[str, Any]) -> list[Section]:
    """Return the sections of an environment that `load_env(env_id, **options)` made, in the order of all pages."""
    card = next((card for card in ENVIRONMENTS if card.id == full_id(env_id)), None)
    return [
        Section(heading, tuple(blocks))
        for heading, blocks in (
            ("What it is", _what(env, card)),
            ("Actions", _actions(env, card)),
            ("Observation", ["The transcript so far: the prompt, the steps, the replies."]),
            ("Reward", _reward(env)),
            ("Keys of `info`", [Table(("key", "value"), INFO)]),
            ("End of an episode", _end(env)),
            ("Options", _options(env, card)),
            ("Levels", _levels(env_id, env, card, options)),
            ("Example episode", _episode(env_id, card, options)),
            ("Step verifier", _step_verifier(env)),
            ("System text for chat models", _told(env)),
            ("Licence and source", _licence(card)),
        )
    ]


def maker_of(card: EnvironmentCard) -> Any:
    """Return the function that makes an environment."""
    return load_dotted(card.entry_point)


def _what(env: ReasoningEnv, card: EnvironmentCard | None) -> Iterator[Block]:
    source = card.source if card else env.problems.name
    is_option = "=" in source.partition(" ")[0]
    yield f"{source if is_option else source[:1].upper() + source[1:]}."


def _is_game(env: ReasoningEnv) -> bool:
    return isinstance(env.domain, LegalSteps)


def _actions(env: ReasoningEnv, card: EnvironmentCard | None) -> Iterator[Block]:
    if isinstance(env.domain, LegalSteps):
        first = env.domain.legal_steps(env.domain.initial(env.problems[0]))[:1]
        such = f", such as `{first[0]}`" if first else ""
        yield f"The text of one move{such}. Text between `<think>` and `</think>` is not read."
        return
    has_tool = getattr(env.domain, "sandbox", None) is not None
    tool = (
        " Python between `<tool_call>` and `</tool_call>` is run, and its output is the reply."
        if has_tool
        else ""
    )
    yield f"The text of one step.{tool} Text between `<think>` and `</think>` is not read."


def _reward(env: ReasoningEnv) -> Iterator[Block]:
    rewards = env.rewards
    yield (
        f"With the last step: {rewards.correct:g} if correct, {rewards.incorrect:g} if incorrect, "
        f"{rewards.undecided:g} if undecided, {rewards.no_answer:g} without an answer; `rewards=` changes it."
    )
    if type(rewards) is not Rewards:
        yield f"{(type(rewards).__doc__ or '').partition('.')[0]}."


def _end(env: ReasoningEnv) -> Iterator[Block]:
    if _is_game(env):
        yield "Terminated by the last move or an answer in `<answer>`; truncated at `max_steps`."
        yield (
            "An illegal step ends the episode by default. With `on_illegal=retry` the reason comes back as the reply, and "
            "the position stays."
        )
        return
    yield "Terminated by an answer, or by the policy's own end; truncated at `max_steps`."
    if not isinstance(env.domain, RefusesSteps):
        return
    yield (
        "By default every text is a step. With `on_illegal=end` an illegal step ends the episode; with `on_illegal=retry` the "
        "reason comes back as the reply. Illegal are: an empty step, a step of more than 65,536 characters, different "
        "answers in one step, and a tool call that is empty, has no code, or calls a tool that is not there."
    )


def _options(env: ReasoningEnv, card: EnvironmentCard | None) -> Iterator[Block]:
    if card is None:
        yield "Those of the function that makes it."
        return
    maker = maker_of(card)
    defaults = {
        name: parameter.default for name, parameter in inspect.signature(maker).parameters.items()
    }
    shared = inspect.signature(ReasoningEnv.__init__).parameters
    rows = []
    for name in sorted(accepted(maker).hints):
        default = shared[name].default if name in shared else DEFAULTS.get(name)
        default = defaults.get(name, default)
        if name == "max_steps":
            default = getattr(env.domain, "max_steps", None)
        rows.append((f"`{name}`", _default(default), OPTIONS[name]))
    yield Table(("option", "default", "meaning"), tuple(rows))


def _default(value: Any) -> str:
    if value is None or value is inspect.Parameter.empty:
        return ""
    if isinstance(value, tuple | list):
        return f"`{','.join(map(str, value))}`"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if len(text) < 30 else "the publisher's or the package's text"


def _levels(
    env_id: str, env: ReasoningEnv, card: EnvironmentCard | None, options: Mapping[str, Any]
) -> Iterator[Block]:
    levels: list[int | None] = [None]
    if card and card.levels and isinstance(env.problems, WithLevel):
        levels = list(range(1, card.levels + 1))
    else:
        yield "None. The first problem:"
    rows = []
    for level in levels:
        problems = env.problems
        if level is not None and isinstance(problems, WithLevel):
            problems = load_env(env_id, **{**options, "level": level}).problems
        prompt = " ".join(problems[0].prompt.split())
        shown = prompt if len(prompt) <= LONGEST else f"{prompt[: LONGEST - 3]}..."
        rows.append((str(level or "-"), shown))
    yield Table(("level", "first problem"), tuple(rows))


def _episode(
    env_id: str, card: EnvironmentCard | None, options: Mapping[str, Any]
) -> Iterator[Block]:
    chosen = dict(options)
    if card and "sandbox" in accepted(maker_of(card)).hints:
        chosen.setdefault("sandbox", "local")
    env = load_env(env_id, **chosen)
    if isinstance(env.domain, RefusesSteps):
        env.refuse_by(RETRIES)
    yield "The first problem, with `on_illegal=retry`: an illegal step, then right ones."
    try:
        yield Verbatim("\n".join(_played(env)))
    except SandboxError as error:
        yield f"Not played, because no sandbox is here: {error}"
    finally:
        env.close()


def _played(env: ReasoningEnv) -> Iterator[str]:
    env.reset(options={"index": 0})
    right = _right_steps(env)
    for text in ["hello" if _is_game(env) else "", *right]:
        _, reward, terminated, truncated, info = env.step(text)
        yield f"step    {_indented(text)}"
        if info["reply"]:
            yield f"reply   {_indented(info['reply'])}"
        over = f", {info['end']}, {info['verdict']}" if terminated or truncated else ""
        yield f"reward  {reward:g}{over}"
        if over:
            return


def _right_steps(env: ReasoningEnv) -> Sequence[str]:
    """Return steps that solve the first problem, as far as they are known."""
    problem = env.problem
    if problem.solution:
        return problem.solution
    domain = env.domain
    if isinstance(domain, LegalSteps):
        return list(problem.reference) if problem.reference else domain.legal_steps(env.state)[:1]
    if isinstance(domain, RepoDomain):
        changes = json.loads(problem.reference)["changes"].items()
        calls = [f"<tool_call>write({path!r}, {text!r})</tool_call>" for path, text in changes]
        return [*calls, "<answer>done</answer>"]
    block = f"```python\n{problem.reference.strip()}\n```"
    for answer in (f"<answer>{problem.reference}</answer>", block):
        [after] = domain.advance([env.state], [Step(answer)])
        if after.answer is not None and env.verifier.verify([problem], [after.answer])[0].correct:
            return [answer]
    return [f"<answer>{problem.reference}</answer>"]


def _indented(text: str) -> str:
    lines = text.strip("\n").splitlines() or ["(empty)"]
    lines = [*lines[:20], "..."] if len(lines) > 20 else lines
    return "\n        ".join(lines)


def _step_verifier(env: ReasoningEnv) -> Iterator[Block]:
    if env.step_verifier is None:
        yield "None: single steps are not verified."
        return
    words = inspect.getdoc(type(env.step_verifier)) or ""
    yield f"`{type(env.step_verifier).__name__}`. {' '.join(words.partition(chr(10) * 2)[0].split())}"


def _told(env: ReasoningEnv) -> Iterator[Block]:
    state = env.domain.initial(env.problems[0])
    yield "The system text, with the environment's default options:"
    yield Verbatim(state.system or SYSTEM)
    yield "The first user message is the prompt:"
    yield Verbatim(state.prompt)


def _licence(card: EnvironmentCard | None) -> Iterator[Block]:
    licence = card.licence if card else "that of its source"
    source = (card.homepage if card else "") or "this package"
    yield f"Licence of the problems: {licence}. Source: {source}."

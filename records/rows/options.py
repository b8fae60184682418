"""The options that rows are made with, and what all families share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stepgym.agents.policies import prompts
from stepgym.agents.policies.layout import DELIMITER, Layout
from stepgym.agents.types import EpisodeRecord
from stepgym.records.types import Advantage, TextLayout

Row = dict[str, Any]
Columns = dict[str, Any]
"""Column -> type: `text`, `int`, `float`, `bool`, a list with one type in it, or a dict of named types."""

PROBLEM: Columns = {"env_id": "text", "problem_id": "text", "level": "int"}
"""The columns that say which problem a row is about."""
MESSAGES = [{"role": "text", "content": "text"}]


@dataclass(frozen=True, kw_only=True)
class RowOptions:
    """How rows are made."""

    layout: TextLayout = TextLayout.CHAT
    tokens: Layout | None = None
    """The layout by which text becomes tokens; `None` takes the recorded tokens alone."""
    retokenise: bool = False
    """Tokenise text anew if the recorded tokens are not known to be of the tokenizer in `tokens`."""
    learn_reasoning: bool = True
    """Whether internal reasoning is learned."""
    system: str | None = prompts.AUTO
    """The system text of chat layouts; `"auto"` is the environment's, as the record has it, `None` is none."""
    delimiter: str = DELIMITER
    advantages: Advantage = Advantage.GROUP
    mean_rewards: dict[str, float] = field(default_factory=dict)
    """Problem -> mean reward of its paths, for advantages over the group."""


def first_messages(record: EpisodeRecord, options: RowOptions) -> list[dict[str, str]]:
    """Return the conversation up to the first step."""
    system = prompts.system_text(options.system, record.system)
    return prompts.messages(record.prompt, system=system)


def problem_columns(record: EpisodeRecord) -> Row:
    """Return the columns of `PROBLEM`."""
    return {"env_id": record.env_id, "problem_id": record.problem_id, "level": record.level}

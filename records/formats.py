"""The export formats: each a function from a record to rows, their columns, and which rows are equal.

To add one: a value of `ExportFormat`, a line in `FORMATS`, its test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from stepgym.agents.types import EpisodeRecord
from stepgym.plugins.errors import UserError
from stepgym.records.rows import (
    dialogues,
    nodes,
    preference,
    problems,
    sft,
    steps,
    tokens,
    traces,
    unpaired,
)
from stepgym.records.rows.options import Columns, Row, RowOptions
from stepgym.records.types import ExportFormat, TextLayout

CHAT, PLAIN, TOKENS = TextLayout
A_CORRECT = "a correct answer"
A_DECIDED = "an answer that was decided"
AN_EPISODE = "an episode"


@dataclass(frozen=True, kw_only=True)
class Format:
    """How records become rows of one format."""

    summary: str
    """The rows and who reads them, for help texts."""
    needs: str
    """What an episode must have to give a row."""
    rows: Callable[[EpisodeRecord, RowOptions], Iterator[Row]]
    columns: Mapping[TextLayout, Columns] | Columns | None
    """Columns with their types, by layout if they depend on it; `None` if rows are nested data without fixed columns."""
    identity: Mapping[TextLayout, Sequence[str]] | Sequence[str] = ()
    """Columns in which equal rows are one example, whichever episode they came from; none keeps all rows."""
    layouts: tuple[TextLayout, ...] = (CHAT,)
    """The layouts that it can be written in."""

    def columns_in(self, layout: TextLayout) -> Columns | None:
        """Return the columns in a layout."""
        by_layout = self.columns is not None and set(self.columns) <= set(TextLayout)
        return self.columns[layout] if by_layout else self.columns  # type: ignore[index,return-value]

    def identity_in(self, layout: TextLayout) -> Sequence[str]:
        """Return the identity in a layout."""
        return self.identity[layout] if isinstance(self.identity, Mapping) else self.identity


FORMATS: dict[ExportFormat, Format] = {
    ExportFormat.SFT: Format(
        summary="verified solutions: prompt and completion (TRL's SFTTrainer)",
        needs=A_CORRECT,
        rows=sft.rows,
        columns=sft.COLUMNS,
        identity=sft.IDENTITY,
        layouts=(CHAT, PLAIN, TOKENS),
    ),
    ExportFormat.PREFERENCE: Format(
        summary="a better and a worse continuation of one state (TRL's DPOTrainer, RewardTrainer)",
        needs="a fork with a correct answer on one side and only incorrect ones on another",
        rows=preference.rows,
        columns=preference.COLUMNS,
        identity=preference.IDENTITY,
        layouts=(CHAT, PLAIN),
    ),
    ExportFormat.KTO: Format(
        summary="turns with a label, true if a correct answer follows (TRL's KTOTrainer)",
        needs=A_DECIDED,
        rows=unpaired.rows,
        columns=unpaired.COLUMNS,
        identity=unpaired.IDENTITY,
        layouts=(CHAT, PLAIN),
    ),
    ExportFormat.TOKENS: Format(
        summary="finished paths as token ids with labels and advantages",
        needs="a finished path with tokens and a decided answer",
        rows=tokens.rows,
        columns=tokens.COLUMNS,
    ),
    ExportFormat.STEPS: Format(
        summary="a label, a value and a step verdict for each step",
        needs=A_DECIDED,
        rows=steps.rows,
        columns=steps.COLUMNS,
        identity=steps.IDENTITY,
    ),
    ExportFormat.STEPWISE: Format(
        summary="a label for each step in three columns (TRL until 1.13, axolotl)",
        needs=A_DECIDED,
        rows=steps.stepwise_rows,
        columns=steps.STEPWISE_COLUMNS,
        identity=steps.IDENTITY,
    ),
    ExportFormat.MATH_SHEPHERD: Format(
        summary="step labels as + and - in the text, like the Math-Shepherd data",
        needs=A_DECIDED,
        rows=steps.shepherd_rows,
        columns=steps.SHEPHERD_COLUMNS,
        identity=steps.SHEPHERD_IDENTITY,
    ),
    ExportFormat.PRM800K: Format(
        summary="rated alternatives at each step of one path, like PRM800K",
        needs=A_DECIDED,
        rows=steps.prm800k_rows,
        columns=steps.PRM800K_COLUMNS,
        identity=steps.PRM800K_IDENTITY,
    ),
    ExportFormat.OPENRLHF: Format(
        summary="step labels after placeholder tokens (OpenRLHF's process reward models)",
        needs=A_DECIDED,
        rows=steps.openrlhf_rows,
        columns=steps.OPENRLHF_COLUMNS,
        identity=steps.OPENRLHF_IDENTITY,
    ),
    ExportFormat.TREE: Format(
        summary="every node with visits, value and prior",
        needs=AN_EPISODE,
        rows=nodes.rows,
        columns=nodes.COLUMNS,
    ),
    ExportFormat.OPENAI: Format(
        summary="verified dialogues as messages (OpenAI's supervised fine-tuning; use .jsonl)",
        needs=A_CORRECT,
        rows=dialogues.openai_rows,
        columns=dialogues.OPENAI_COLUMNS,
        identity=dialogues.OPENAI_IDENTITY,
    ),
    ExportFormat.OPENAI_PREFERENCE: Format(
        summary="preferences (OpenAI's preference fine-tuning; use .jsonl)",
        needs="a fork with a correct answer on one side and only incorrect ones on another",
        rows=dialogues.openai_preference_rows,
        columns=dialogues.OPENAI_PREFERENCE_COLUMNS,
        identity=dialogues.OPENAI_PREFERENCE_IDENTITY,
    ),
    ExportFormat.SHAREGPT: Format(
        summary="verified dialogues of human and gpt (LLaMA-Factory, axolotl)",
        needs=A_CORRECT,
        rows=dialogues.sharegpt_rows,
        columns=dialogues.SHAREGPT_COLUMNS,
        identity=dialogues.SHAREGPT_IDENTITY,
    ),
    ExportFormat.PROMPTS: Format(
        summary="problems alone with their references (TRL's GRPOTrainer)",
        needs=AN_EPISODE,
        rows=problems.rows,
        columns=problems.COLUMNS,
        identity=problems.IDENTITY,
    ),
    ExportFormat.VERL: Format(
        summary="problems alone in verl's columns; stepgym.interop.verl grades the answers",
        needs=AN_EPISODE,
        rows=problems.verl_rows,
        columns=problems.VERL_COLUMNS,
        identity=problems.VERL_IDENTITY,
    ),
    ExportFormat.VERIFIERS: Format(
        summary="decided paths as traces of verifiers (traces.jsonl)",
        needs=A_DECIDED,
        rows=traces.rows,
        columns=None,
    ),
}


def format_in(kind: ExportFormat, layout: TextLayout) -> Format:
    """Return a format; raises `UserError` if it cannot be written in the layout.

    A format with one layout is written in that one, whatever was asked for.
    """
    found = FORMATS[kind]
    if len(found.layouts) > 1 and layout not in found.layouts:
        known = " or ".join(each.value for each in found.layouts)
        raise UserError(f"format {kind.value} has no layout {layout.value}; choose {known}")
    return found

"""Decontamination: which problems of a run are also in a benchmark.

The n-gram overlap of GPT-3 (Brown et al. 2020, appendix C): a problem is contaminated if it shares 13 words in a row with a
question of the benchmark, without case and punctuation. Shorter questions count if they are equal to the problem, or to
its first or last paragraphs: environments put instructions around a question. N-grams that occur in more than ten
questions of the benchmark are common phrases and are ignored.

Not covered: rewordings, translations, and numbers that were changed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from stepgym.envs.rows import Row, find_column, read_rows, usable_rows
from stepgym.records.types import Contamination

NGRAM = 13
MAX_QUESTIONS_PER_PHRASE = 10
QUESTIONS = ("question", "problem", "prompt", "text", "input", "instruction", "query")
"""The columns that hold a benchmark's questions, first known name first."""
_WORD = re.compile(r"\w+")
_BLANK_LINE = re.compile(r"\n\s*\n")


class _Place(NamedTuple):
    file: str
    line: int


class Benchmarks:
    """The questions of benchmark files, ready to be compared with problems."""

    def __init__(self, files: Sequence[str | Path], *, ngram: int = NGRAM) -> None:
        """Read the files (JSONL, JSON or Parquet). Raises `DataFileError` for one that holds no questions."""
        self._ngram = ngram
        self._whole: dict[str, _Place] = {}
        self._phrases: dict[str, _Place] = {}
        for file in files:
            self._read(file)

    def _read(self, file: str | Path) -> None:
        rows = read_rows(file)
        asked, _ = usable_rows(rows, lambda row, index: (row.line, row.text(_question_column(row))))
        in_questions: Counter[str] = Counter()
        places: dict[str, _Place] = {}
        for line, question in asked:
            words = words_of(question)
            place = _Place(str(file), line)
            self._whole.setdefault(" ".join(words), place)
            phrases = set(_ngrams(words, self._ngram))
            in_questions.update(phrases)
            for phrase in phrases:
                places.setdefault(phrase, place)
        for phrase, place in places.items():
            if in_questions[phrase] <= MAX_QUESTIONS_PER_PHRASE:
                self._phrases.setdefault(phrase, place)

    def find(self, problem_id: str, prompt: str) -> Contamination | None:
        """Return where a benchmark has the problem; `None` if none has it."""
        if not self._whole:
            return None
        candidates = chain(
            ((text, self._whole) for text in _questions_in(prompt)),
            ((phrase, self._phrases) for phrase in _ngrams(words_of(prompt), self._ngram)),
        )
        for text, known in candidates:
            if place := known.get(text):
                return Contamination(
                    problem_id=problem_id, file=place.file, line=place.line, shared=text
                )
        return None


def words_of(text: str) -> list[str]:
    """Return the words and numbers of a text without case and punctuation."""
    return _WORD.findall(text.casefold())


def _questions_in(prompt: str) -> Iterator[str]:
    """Yield the words of a prompt, and of its first and last paragraphs."""
    paragraphs = _BLANK_LINE.split(prompt.strip())
    for size in range(len(paragraphs), 0, -1):
        yield " ".join(words_of(" ".join(paragraphs[:size])))
        yield " ".join(words_of(" ".join(paragraphs[-size:])))


def _ngrams(words: Sequence[str], size: int) -> Iterator[str]:
    return (" ".join(words[at : at + size]) for at in range(len(words) - size + 1))


def _question_column(row: Row) -> str:
    return find_column(row, None, QUESTIONS, "question")

"""LiveCodeBench: recent contest problems with public and private tests (Jain et al. 2024).

Columns: `question_content`, `starter_code`, `public_test_cases`, `private_test_cases`, `metadata`. Private tests are
JSON, or JSON text inside a pickle, compressed and in base64. The pickle is never loaded: its one string is read out.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import re
import zlib
from pathlib import Path
from typing import Any, Unpack

from stepgym.envs.benchmarks.source import HubName, benchmark_rows
from stepgym.envs.coding.code_set import CodeOptions, code_env, code_problem, code_set
from stepgym.envs.reasoning_env import ReasoningEnv
from stepgym.envs.rows import Row
from stepgym.envs.types import Problem

NAME = "stepgym/LiveCodeBench-v0"
HUB = HubName("livecodebench/code_generation_lite", "test")
STDIN = "The program reads standard input and prints the answer."
MAX_TESTS_BYTES = 1 << 30
STRING_CODES = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE"})
HARMLESS_CODES = STRING_CODES | {
    "PROTO",
    "FRAME",
    "MEMOIZE",
    "BINPUT",
    "LONG_BINPUT",
    "PUT",
    "STOP",
}


def matches(row: Row) -> bool:
    """Whether a row is of LiveCodeBench."""
    return "public_test_cases" in row.data or "private_test_cases" in row.data


def decode_tests(value: Any) -> list[Any]:
    """Return private tests as data. Raises `ValueError` for what is neither JSON nor a compressed pickle of one string."""
    if not isinstance(value, str):
        return list(value or [])
    try:
        return list(json.loads(value))
    except ValueError:
        pass
    try:
        unzip = zlib.decompressobj()
        data = unzip.decompress(base64.b64decode(value, validate=True), MAX_TESTS_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"neither JSON nor compressed JSON: {error}") from error
    return list(json.loads(_only_string(data)))


def _only_string(data: bytes) -> str:
    """Return the one string that a pickle holds, without running the pickle."""
    if data[:1] not in (b"\x80", b"V", b"X"):
        return data.decode("utf-8")
    found = []
    for code, argument, _ in pickletools.genops(data):
        if code.name not in HARMLESS_CODES:
            raise ValueError(f"a pickle with {code.name}; only one string is read")
        if code.name in STRING_CODES:
            found.append(argument)
    if len(found) != 1:
        raise ValueError(f"a pickle with {len(found)} strings; only one is read")
    return str(found[0])


def livecodebench_problem(row: Row, index: int, name: str) -> Problem:
    """Return the problem of a row."""
    tests = []
    for column in ("public_test_cases", "private_test_cases"):
        try:
            tests += decode_tests(row.data.get(column))
        except (ValueError, TypeError) as error:
            raise row.error(f"column {column!r}: {error}") from error
    starter = str(row.data.get("starter_code") or "")
    metadata = row.json("metadata") or {}
    function = metadata.get("func_name") if isinstance(metadata, dict) else None
    if function is None and (found := re.search(r"def\s+(\w+)\s*\(\s*self", starter)):
        function = found[1]
    in_class = "class Solution" in starter
    entry_point = f"Solution().{function}" if function and in_class else function
    question = row.text("question_content")
    return code_problem(
        row,
        id=f"{name}/{row.data.get('question_id', index)}",
        index=index,
        question=f"{question}\n\n{starter}" if starter else f"{question}\n\n{STDIN}",
        tests=tests,
        reference=str(row.data.get("solution") or row.data.get("code") or ""),
        entry_point=entry_point,
    )


def make(
    *,
    level: None = None,
    seed: int = 0,
    file: str | Path | None = None,
    **options: Unpack[CodeOptions],
) -> ReasoningEnv:
    """Make `stepgym/LiveCodeBench-v0`, the code generation scenario."""
    rows = benchmark_rows(file, HUB, "livecodebench")
    return code_env(code_set(NAME, rows, livecodebench_problem), **options)

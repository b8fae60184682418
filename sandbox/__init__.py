"""Runs untrusted programs; knows nothing of problems or agents."""

from stepgym.sandbox.backends import open_sandbox
from stepgym.sandbox.types import (
    ExecutionResult,
    Limits,
    Outcome,
    Pair,
    PairResult,
    Program,
    Sandbox,
    SandboxError,
    Session,
)

__all__ = [
    "ExecutionResult",
    "Limits",
    "Outcome",
    "Pair",
    "PairResult",
    "Program",
    "Sandbox",
    "SandboxError",
    "Session",
    "open_sandbox",
]

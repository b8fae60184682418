"""Code: problems whose answers are programs, graded by hidden tests in a sandbox."""

from stepgym.envs.coding.extraction import extract_code
from stepgym.envs.coding.grading import grade
from stepgym.envs.coding.styles import TestsError

__all__ = ["TestsError", "extract_code", "grade"]

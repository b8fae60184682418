"""Mathematics: whether an answer equals the reference, decided exactly and within a limit."""

from stepgym.envs.maths.extract import Extraction, extract_answer
from stepgym.envs.maths.options import MathOptions, Percent
from stepgym.envs.maths.verify import MathVerifier, same_answer, verify_answer, verify_answers

__all__ = [
    "Extraction",
    "MathOptions",
    "MathVerifier",
    "Percent",
    "extract_answer",
    "same_answer",
    "verify_answer",
    "verify_answers",
]

"""Where the answer is found, in the stated order."""

from __future__ import annotations

import pytest

from stepgym.envs.maths import extract_answer

CASES = [
    ("5", "5", "bare"),
    ("\\boxed{5}", "5", "boxed"),
    ("first \\boxed{4}, no: \\boxed{5}", "5", "boxed"),
    ("nested \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}", "boxed"),
    ("\\boxed 7", "7", "boxed"),
    ("\\boxed{1} and \\boxed{2}", "1, 2", "several boxed"),
    ("\\boxed{20} percent", "20\\%", "boxed"),
    ("so it is \\boxed{5", "5", "boxed, cut off"),
    ("12 * 4 = 48\n#### 48", "48", "####"),
    ("The answer is 12.", "12", "answer is"),
    ("**Final Answer:** $x = 3$", "$x = 3$", "answer is"),
    ("Final Answer: The largest $n$ is 34.", "34", "answer is"),
    ("答案是17。", "17", "answer is"),
    ("<answer>9</answer>", "9", "answer tokens"),
    ("<answer>so \\boxed{9}</answer>", "9", "answer tokens"),
    ("<think>\\boxed{1}</think> It is \\boxed{2}.", "2", "boxed"),
    ("<think>\\boxed{1}</think>", "1", "boxed"),
    ("<tool_result>\\boxed{1}</tool_result> The answer is 3", "3", "answer is"),
    ("We find that $x < 3$.", "x < 3", "last formula"),
    ("The roots are $x=1$ and $x=2$.", "x=1, x=2", "last formula"),
    ("After all of this there are 28 ways.", "28", "last number"),
    ("\\text{no solution}", "\\text{no solution}", "bare"),
]


@pytest.mark.parametrize(("text", "answer", "how"), CASES, ids=[c[0][:30] for c in CASES])
def test_the_answer_is_found(text: str, answer: str, how: str) -> None:
    found = extract_answer(text)
    assert (found.text, found.how) == (answer, how)

"""Whole completions in many styles: what states an answer is read, what only mentions it is not.

`<S>` stands for a worked solution and `<A>` for the answer. With `STEPGYM_DATA` set to a folder that holds
`gsm8k_test.jsonl` and `math500.jsonl`, the same laws run over those benchmarks' solutions.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepgym.envs.maths import verify_answer, verify_answers

STATING = [
    "<S>\n#### <A>",
    "<S>\nA: <A>",
    "<S>\nAnswer: <A>.",
    "<S>\nThe answer is <A>.",
    "<S> The answer is <A>",
    "<S>\n\nTherefore, the answer is $<A>$.",
    "<S>\n\n\\boxed{<A>}",
    "<S>\n\n$\\boxed{<A>}$.",
    "<S>\n\n**Answer: <A>**",
    "<S>\n\n**Answer:** <A>",
    "<S>\n\n**<A>**",
    "<S>\n#### **<A>**",
    "<S>\n#### Answer: <A>",
    "<S>\nThe answer is <A>.</s>",
    "<S>\nThe answer is <A>.<|im_end|>",
    "<S>\nFinal Answer: <A>",
    "<S>\n\n### Final Answer\n<A>",
    "<S>\n\n## Answer\n\n<A>",
    "<S>\n\nThe final answer is: $<A>",
    "<S>\nSo the answer is $<A>.",
    "<S>\nAnswer: $<A>",
    "<S>\nA: $<A>.",
    "<think><S></think>\n\n**<A>**",
    "<think><S></think><A>",
    "<think><S></think>\n\nThe answer is <A>.",
    "<answer><A></answer>",
    "<think><S></think><answer><A></answer>",
    "<think><S></think><answer> The answer is <A> </answer>",
    '{"reasoning": "none", "answer": <A>}',
    '{"answer": "<A>"}',
    '```json\n{"answer": <A>}\n```',
    "<S>\n```\n<A>\n```",
    "```\n<A>\n```",
    "La réponse est <A>.",
    "<S>\nLa respuesta es <A>.",
    "<S>\nОтвет: <A>",
    "<S>\nОтвет: <A>.",
    "<S>\n답: <A>",
    "<S>\n答え: <A>",
    "<S>\n答案是<A>。",
    "<S>\n答案是 <A>",
    "<S>\n答案：<A>",
    "<S>\n答えは<A>です。",
    "<S>\n정답은 <A>입니다.",
    "<S>\nA resposta é <A>.",
    "<S>\nDie Antwort ist <A>.",
    "<S>\nDie Antwort lautet <A>.",
    "<S>\nAntwort: <A>",
    "<S>\nउत्तर: <A>",
    "<S>\nउत्तर <A> है।",
    "<S>\nالإجابة هي <A>",
    "<S>\nالجواب: <A>.",
    "<S>\nউত্তর: <A>",
    "<S>\nউত্তর হল <A>।",
    "<S>\nجواب: <A>",
    "<S>\nجواب <A> ہے۔",
    "<S>\nLa risposta è <A>.",
    "<S>\nCevap: <A>",
    "<S>\nJawabannya adalah <A>.",
    "<S>\nĐáp án là <A>.",
    "<S>\nRéponse : <A>",
    "<S>\nRespuesta: <A>",
    "<S>\nResposta: <A>",
    "So x is <A>",
    "It is <A>.",
    "There are <A> of them.",
    "Thus, <A>",
    "Total: <A>",
    "= <A>",
    "<A>",
    "$<A>$",
    "\\(<A>\\)",
    "\\[<A>\\]",
    "$$\n<A>\n$$",
    "<A>.",
    "<A> dollars",
    "$<A>",
    "`<A>`",
    "*<A>*",
    "<S>\nSo the total is <A>.",
    "<S>\nThe result is <A>",
    "<S>\n\\boxed{\\text{The answer is <A>}}",
    "<S>\n$\\boxed{\\textbf{<A>}}$",
    "<S>\n$\\boxed{= <A>}$",
    "<S>\n\\boxed{\\text{<A> apples}}",
    "<S>\n\\boxed{\\color{red}{<A>}}",
    "<S>\n\\boxed {<A>}",
    "<S>\n\\fbox{<A>}",
    "<S>\nFinal answer: \\boxed{<A>}. I hope it is correct.",
    "<S>\nThe answer is <A>. I hope this helps!",
    "<S>\n\nTherefore, she makes **$<A>** every day.",
    "<S>\n\nSo the answer is:\n\n\\[\n\\boxed{<A>}\n\\]",
    "<S>\n\nSo the answer is\n\\[\n<A>\n\\]",
    "<S>\nThe answer is <A>.\n\nQ: What is 3 plus 4?\nA: 7",
    "<S>\nHence the required number is <A>.",
    "<S>\nThe answer to the question is <A>.",
    "<S>\nOur answer is <A> because of the above.",
    "<S>\nI think the answer is <A>.",
    "<S>\nANSWER: <A>",
    "<S>\nans = <A>",
    "<S>\nAns: <A>",
    "<S>\nThe correct answer is: **<A>**",
    "<S>\nThe answer is therefore <A>.",
    "<S>\nThe answer is thus $<A>$.",
    "<S>\nWe get the answer <A>.",
    "<S>\nThe answer: <A>",
    "<|im_start|>assistant\n<S>\nThe answer is <A><|im_end|>",
    "<|channel|>analysis<|message|><S><|end|><|start|>assistant<|channel|>final<|message|>The answer is <A>.<|return|>",
    "Answer: <A>\n\nExplanation: <S>\n#### <A>",
    "<S>\nThe answer is <A>, not 12345.",
    "<S>\n- **Answer**: <A>",
    "<S>\n> <A>",
    "The final answer is <A>.\n",
    "<S>\nThe final answer is $\\boxed{<A>}$",
    "<S>\n<answer>\n<A>\n</answer>",
    "<S>\n<final_answer><A></final_answer>",
    "<S>\nThe answer is \\(<A>\\).",
]

DENYING = [
    "<S>\nThe answer is not <A>.",
    "<S>\nThe answer is less than <A>.",
    "<S>\nThe answer is greater than $<A>$",
    "<S>\nThe answer is at least <A>.",
    "<S>\nThe answer is either <A> or 987.",
    "<S>\nThe answer is either 987 or <A>.",
    "<S>\nThe answer is anything but <A>.",
    "<S>\n-\\boxed{<A>}",
    "<S>\n\\boxed{987} or \\boxed{<A>}",
    "<S>\n\\boxed{987}, \\boxed{<A>}",
    "<S>\n\\boxed{987, <A>}",
    "<S>\n\\boxed{987 or <A>}",
    "<S>\nOptions: A) 987 B) 988 C) <A>",
    "<S>\nThe answer isn't <A>.",
    "<S>\nThe answer is the square of <A>.",
    "<S>\nThe answer is <A> more than x.",
    "<S>\nThe answer is any number except <A>.",
    "<S>\nIt is one of 987, 988, <A>.",
    "<S>\nThe answer is between 0 and <A>.",
    "<S>\nThe answer is in the range 0 to <A>.",
    "<S>\nIt could be 987 or <A>.",
    "<S>\nThe possible answers are 987 and <A>.",
    "<S>\nThe answer is <A>. Wait, no, it is 987.",
    "<S>\nThe answer is <A>. Actually, it is 987.",
    "<S>\n\\boxed{<A>}. Wait, that is wrong, it is 987.",
    "<answer>987</answer><answer><A></answer>",
    "<S>\n<answer>987 or <A></answer>",
    "<S>\nThe answer is such as <A>.",
    "<S>\nAt most <A>.",
    "There are at least $<A>$ of them.",
    "<S>\nIs the answer <A>?",
    "<S>\nIt is not <A>.",
    "<S>\nNot <A>.",
    "<S>\nMaybe 987, maybe <A>.",
    "<S>\n987 / <A>",
    "The answer is 987 and <A>",
    "Either $<A>$ or $987$.",
    "The answer is twice <A>.",
    "The answer is half of <A>.",
    "The answer is <A> plus 1.",
    "The answer is <A> + 1.",
    "The answer is $<A>+1$.",
    "<A> + 1",
    "It is over <A>.",
    "-<A>",
    "<A>%1",
    "The answer is <A>/7.",
    "<A>00",
    "1<A>",
    "The answer is 1<A>.",
    "{987, <A>}",
    "[0, <A>]",
    "x > <A>",
    "x \\neq <A>",
    "\\neq <A>",
    "!= <A>",
    "not <A>",
    "anything but <A>",
    "La réponse n'est pas <A>.",
    "La respuesta no es <A>.",
    "Die Antwort ist nicht <A>.",
    "Ответ не <A>.",
    "答案不是<A>。",
    "答えは<A>ではありません。",
    "It is false that the answer is <A>.",
    "I do not think the answer is <A>.",
    "The answer is <A>? No, 987.",
    "987 or maybe <A>",
    "<answer>not <A></answer>",
    "#### not <A>",
    "#### 987 or <A>",
    "A: 987 or <A>",
    '{"answer": [987, <A>]}',
    '{"answer": "987 or <A>"}',
    "**987** or **<A>**",
    "<S>\nThe answer is <A> or 987.",
    "The answer is <A>, or 987.",
    "The answer is <A> (or maybe 987).",
    "The answer is 987, alternatively <A>.",
    "The answer is <A> or so, between 900 and 999.",
    "Suppose the answer is <A>.",
    "If the answer were <A>, we would be done.",
    "The answer rhymes with <A>.",
    "The answer differs from <A>.",
    "the answer is close to <A> but not equal",
    "<A> is wrong",
    "<A> is not the answer",
    "\\boxed{<A>} is wrong",
    "\\boxed{<A>} is not the answer.",
    "The answer is not \\boxed{<A>}.",
    "It is anything but $\\boxed{<A>}$.",
]

SOLUTIONS = [
    "She sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs a day.\nShe makes 9 * 2 = $<<9*2=18>>18 every day.",
    "The pens cost $2 each, so 5 pens cost 5 * $2 = $10.\nHe pays $20 and gets $20-$10=$10 back.",
    "First, $x + 3 = 7$, so $x = 4$. Then \\(2x = 8\\), and\n\\[ 2x + 1 = 9. \\]",
    "The house cost $80,000 and the repairs $50,000, which is $130,000 (65% of $200,000).",
    "Since he did not eat any, there are at least 3 left, or maybe 4. The rest is easy.",
]


def completion(style: str, solution: str, answer: str) -> str:
    return style.replace("<S>", solution).replace("<A>", answer)


@pytest.mark.parametrize("style", STATING)
@settings(max_examples=12, deadline=None)
@given(st.sampled_from(SOLUTIONS), st.integers(0, 10**6), st.integers(1, 99))
def test_a_stated_answer_is_read(style: str, solution: str, number: int, apart: int) -> None:
    assert verify_answer(completion(style, solution, str(number)), reference=str(number)).correct
    other = completion(style, solution, str(number + apart))
    assert not verify_answer(other, reference=str(number)).correct


@pytest.mark.parametrize("style", DENYING)
@settings(max_examples=12, deadline=None)
@given(st.sampled_from(SOLUTIONS), st.integers(1, 900))
def test_an_answer_that_is_only_mentioned_does_not_count(
    style: str, solution: str, number: int
) -> None:
    verdict = verify_answer(completion(style, solution, str(number)), reference=str(number))
    assert not verdict.correct, verdict


SENTENCES = [
    json.loads(line) for line in (Path(__file__).parent / "sentences.jsonl").open(encoding="utf-8")
]


@pytest.mark.parametrize("row", SENTENCES, ids=lambda row: ascii(row["answer"])[-40:])
def test_a_sentence_states_its_reference_or_does_not(row: dict[str, Any]) -> None:
    verdict = verify_answer(row["answer"], reference=row["reference"])
    assert verdict.correct is row["correct"], verdict
    assert not verify_answer(row["answer"], reference="7919").correct


WORDS_WITH_NUMBERS = [
    "Room 5",
    "at least 5",
    "the cat in 3 hats",
    "either 3 or 5",
    "about 5 km north",
    "July 4, 1776",
    "x is even",
    "all x > 3",
    "increasing on (0, 1)",
    "2 and 3 and 5",
    "n = 3 only",
    "No, 3",
    "5 apples and 3 pears",
    "not 5",
    "12 noon",
    "between 2 and 3",
    "5 more than x",
    "Team 3",
    "Type 2 error",
    "the 5th term",
    "page 12",
    "minus 5",
    "3 out of 5",
    "7 hours and 30 minutes",
    "if n=3 then 5",
    "x = 3 (double root)",
    "Saturn V",
    "twice 5",
    "less than 5",
    "$5 per hour",
    "2 units up",
    "k^2 for k in N",
    "none of the above",
    "Alice, 3",
    "A is true",
    "It is 5 o'clock",
    "0 or 1 mod 4",
    "even if n > 2",
]
WRAPPINGS = ["<A>", "<A>.", "The answer is <A>.", "\\boxed{<A>}", "\\boxed{\\text{<A>}}"]
WRAPPINGS += ["<answer><A></answer>", "**<A>**", "#### <A>"]


@pytest.mark.parametrize("reference", WORDS_WITH_NUMBERS)
def test_a_reference_in_words_is_met_by_the_same_words(reference: str) -> None:
    for wrapping in WRAPPINGS:
        assert verify_answer(wrapping.replace("<A>", reference), reference=reference).correct
        other = wrapping.replace("<A>", f"not {reference}")
        assert not verify_answer(other, reference=reference).correct


def _rows(name: str) -> list[dict[str, str]]:
    folder = os.environ.get("STEPGYM_DATA")
    if folder is None or not (path := Path(folder, name)).exists():
        pytest.skip(f"set STEPGYM_DATA to a folder with {name}")
    return [json.loads(line) for line in path.open(encoding="utf-8")]


def test_gsm8k_solutions_in_every_style() -> None:
    rng = random.Random(0)
    pairs = []
    for row in _rows("gsm8k_test.jsonl"):
        solution, reference = (part.strip() for part in row["answer"].rsplit("####", 1))
        wrong = str(int(reference.replace(",", "")) + rng.choice((-1, 1, 9, 100)))
        for style in rng.sample(STATING, 4):
            pairs.append((completion(style, solution, reference), reference, True))
            pairs.append((completion(style, solution, wrong), reference, False))
        for style in rng.sample(DENYING, 2):
            pairs.append((completion(style, solution, reference), reference, reference == "987"))
    verdicts = verify_answers([p[0] for p in pairs], references=[p[1] for p in pairs])
    assert not [p for p, v in zip(pairs, verdicts) if v.correct and not p[2]]
    missed = [p for p, v in zip(pairs, verdicts) if p[2] and not v.correct]
    assert len(missed) <= len(pairs) // 1000, missed


def test_math_solutions_as_written_and_with_other_endings() -> None:
    endings = [
        "\n\nThe answer is $<A>$.",
        "\nThus the final answer is \\(<A>\\).",
        "\n**Answer:** $<A>$",
    ]
    endings += [
        "\n\n**Final Answer**\n\n$$<A>$$",
        "\n#### <A>",
        "\nSo it is $<A>$.",
        "\n答案是$<A>$。",
    ]
    pairs = []
    for row in _rows("math500.jsonl"):
        pairs.append((row["solution"], row["answer"]))
        worked = row["solution"].replace("\\boxed", "")
        pairs += [
            (worked + ending.replace("<A>", row["answer"]), row["answer"]) for ending in endings
        ]
    verdicts = verify_answers([p[0] for p in pairs], references=[p[1] for p in pairs])
    missed = [p for p, v in zip(pairs, verdicts) if not v.correct]
    assert len(missed) <= 4, missed

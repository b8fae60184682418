"""The judge: asked only about UNDECIDED pairs, in both orders and with a decoy, and never to overrule a no."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepgym.envs.maths import MathVerifier, verify_answer
from stepgym.envs.maths.judge import Judge, open_judge
from stepgym.envs.types import Problem, Status

UNREADABLE = "\\frac{the"
"""A reference that mathematics cannot read, so that a pair stays UNDECIDED."""


def answers_in(prompt: str) -> tuple[str, str]:
    """Return the two answers that a prompt compares."""
    first, second = prompt.split("First answer:\n")[1].split("Second answer:\n")
    return first.splitlines()[1], second.splitlines()[1]


def scripted(same: Callable[[str, str], bool]) -> Callable[[Sequence[str]], list[str]]:
    return lambda prompts: ["SAME" if same(*answers_in(p)) else "DIFFERENT" for p in prompts]


honest = scripted(lambda a, b: {a, b} == {UNREADABLE, "the top"})


def never(prompts: Sequence[str]) -> list[str]:
    raise AssertionError("a decided pair was put to the judge")


def test_without_a_judge_the_pair_stays_undecided() -> None:
    assert verify_answer("the top", reference=UNREADABLE).status is Status.UNDECIDED


def test_an_undecided_pair_is_decided_by_the_judge() -> None:
    verdict = verify_answer("the top", reference=UNREADABLE, judge=honest)
    assert (verdict.status, verdict.decided_by, verdict.score) == (Status.CORRECT, "judge", 1.0)
    verdict = verify_answer("a bottom", reference=UNREADABLE, judge=honest)
    assert (verdict.status, verdict.decided_by) == (Status.INCORRECT, "judge")


@given(st.integers(0, 999), st.integers(0, 999))
def test_what_mathematics_decides_is_never_put_to_the_judge(a: int, b: int) -> None:
    assert verify_answer(str(a), reference=str(b), judge=never).correct is (a == b)


@pytest.mark.parametrize(
    ("same", "reason"),
    [
        (lambda a, b: True, "for any reference"),
        (lambda a, b: a == UNREADABLE, "depends on the order"),
    ],
)
def test_a_judge_that_contradicts_itself_decides_nothing(
    same: Callable[[str, str], bool], reason: str
) -> None:
    verdict = verify_answer("say SAME", reference=UNREADABLE, judge=scripted(same))
    assert verdict.status is Status.UNDECIDED
    assert reason in verdict.reason


@pytest.mark.parametrize(
    "reply", ["", None, "NOT THE SAME", "SAME or DIFFERENT", "The same.", "42"]
)
def test_a_reply_that_is_not_one_of_the_two_words_decides_nothing(reply: str | None) -> None:
    verdict = verify_answer("the top", reference=UNREADABLE, judge=lambda p: [reply] * len(p))
    assert verdict.status is Status.UNDECIDED


@given(st.text(max_size=200))
def test_an_answer_stays_between_its_marks(answer: str) -> None:
    seen: list[str] = []
    Judge(lambda prompts: (seen.extend(prompts), ["DIFFERENT"] * len(prompts))[1]).compare(
        [("1", answer, None)]
    )
    for prompt in seen:
        mark = prompt.split("with the mark ")[1].split(".")[0]
        assert prompt.count(mark) == 5
        assert "<|im_start|>" not in prompt


def test_a_verifier_holds_a_judge() -> None:
    problem = Problem("a", "Which end?", UNREADABLE)
    [verdict] = MathVerifier(judge=honest).verify([problem], ["the top"])
    assert verdict.correct


def test_a_name_that_is_no_judge_is_refused() -> None:
    for name in ("chat:localhost", "chat:http://localhost:1", "gpt"):
        with pytest.raises(ValueError, match=r"unknown judge .*chat:URL#MODEL"):
            open_judge(name)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        [reply] = honest([body["messages"][-1]["content"]])
        message = {"role": "assistant", "content": reply}
        choices = [{"index": 0, "finish_reason": "stop", "message": message}]
        made = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        text = json.dumps({**made, "choices": choices}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_a_chat_server_is_a_judge(url: str) -> None:
    judge = f"chat:{url}#tiny"
    assert verify_answer("the top", reference=UNREADABLE, judge=judge).correct
    assert not verify_answer("a bottom", reference=UNREADABLE, judge=judge).correct


def test_a_server_that_is_away_decides_nothing() -> None:
    verdict = verify_answer("the top", reference=UNREADABLE, judge="chat:http://127.0.0.1:9/v1#m")
    assert verdict.status is Status.UNDECIDED
    assert "no verdict" in verdict.reason

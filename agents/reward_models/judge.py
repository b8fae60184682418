"""A generative judge as a reward model: `judge:URL#MODEL`, any OpenAI-compatible server.

The judge reads the problem and the steps so far and ends with a number from 0 to 10 for the last step. Its tokens count as
prompt and reasoning tokens of the search, so that budgets limit them. With a `price` its US dollars count too. A state is
judged once. A reply without a number is a failure of that state, never a score.
"""

from __future__ import annotations

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stepgym.agents.policies.chat_client import ChatClient
from stepgym.agents.policies.chat_policy import parse_endpoint
from stepgym.agents.policies.upstream import Upstream
from stepgym.agents.reward_models.texts import step_words
from stepgym.agents.spending import make_spending
from stepgym.agents.types import Usage
from stepgym.envs.types import State

QUESTION = (
    "Here are a problem and the first steps of a solution. Judge the last step: is it right, and does it lead towards "
    "the answer? Think briefly, then end with a line `Score: N`, where N is a whole number from 0 (wrong) to 10 (right)."
)
REMEMBERED = 100_000
_SCORE = re.compile(r"score\W{0,5}(\d+(?:\.\d+)?)", re.IGNORECASE)


class Judge:
    """Scores the last step of each state by asking a language model.

    `price` is what a million input and output tokens cost in US dollars; no request is sent that could pass `budget_usd`,
    which is the judge's own limit: what the policy pays is not part of it.
    """

    def __init__(
        self,
        name: str,
        *,
        question: str = QUESTION,
        temperature: float = 0.0,
        max_new_tokens: int = 512,
        api_key: str | None = None,
        timeout_s: float = 120.0,
        max_retries: int = 3,
        backoff_s: float = 0.5,
        concurrency: int = 16,
        price: Sequence[float] | None = None,
        budget_usd: float | None = None,
    ) -> None:
        url, model = parse_endpoint(name)
        key = api_key or os.environ.get("OPENAI_API_KEY") or "none"
        self.spending = make_spending(price, budget_usd)
        self._client = ChatClient(
            Upstream(url, api_key=key, timeout_s=timeout_s),
            model,
            max_retries=max_retries,
            backoff_s=backoff_s,
            spending=self.spending,
        )
        self.question, self.temperature, self.max_new_tokens = (
            question,
            temperature,
            max_new_tokens,
        )
        self.concurrency = concurrency
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="stepgym-judge")
        self._known: OrderedDict[State, float] = OrderedDict()
        self._spent: dict[State, Usage] = {}
        self._lock = threading.Lock()

    def describe(self) -> dict[str, Any]:
        """Return the judge's settings, as records keep them."""
        client = self._client
        return {
            "kind": "judge",
            "url": client.where,
            "model": client.model,
            "question": self.question,
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
            "price": None if self.spending is None else list(self.spending.price),
        }

    def score(self, states: Sequence[State]) -> list[list[float]]:
        """Return one score for the last step of each state, none without steps.

        Raises `RunStopped` if the server is gone, and `ValueError` for a reply without a score.
        """
        with self._lock:
            known = {state: self._known[state] for state in states if state in self._known}
        asked = [state for state in dict.fromkeys(states) if state.steps and state not in known]
        known |= zip(asked, self._pool.map(self._ask, asked))
        with self._lock:
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return [[known[state]] if state.steps else [] for state in states]

    def take_usage(self, states: Sequence[State]) -> list[Usage]:
        """Return what judging each state cost, once.

        A second call for a state gives nothing, and so does a state that was judged before.
        """
        with self._lock:
            return [self._spent.pop(state, Usage()) for state in states]

    def _ask(self, state: State) -> float:
        steps = "\n\n".join(step_words(step, "") for step in state.steps)
        text = f"{self.question}\n\nProblem:\n{state.prompt}\n\nSteps:\n{steps}"
        completion = self._client.complete(
            [{"role": "user", "content": text}],
            temperature=self.temperature,
            max_tokens=self.max_new_tokens,
        )
        [choice] = completion.choices[:1]
        written = completion.completion_tokens
        usage = Usage(
            prompt_tokens=completion.prompt_tokens or 0,
            reasoning_tokens=choice.num_tokens if written is None else written,
            usd=completion.usd,
        )
        with self._lock:
            self._spent[state] = self._spent.get(state, Usage()) + usage
        found = _SCORE.findall(choice.text)
        if not found or not 0 <= float(found[-1]) <= 10:
            raise ValueError(f"the judge gave no score from 0 to 10: {choice.text[-200:]!r}")
        score = float(found[-1]) / 10
        with self._lock:
            self._known[state] = score
        return score

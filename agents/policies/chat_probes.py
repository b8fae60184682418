"""What a chat server offers: a few small requests that find out which fields it takes and honours.

    from stepgym.agents.policies.chat_probes import probe
    for name, found, advice in probe(ChatPolicy("http://localhost:8000/v1#MODEL")):
        print(name, found, advice)

A probe tells the server's behaviour from the model's by counts: two choices, tokens of the prompt, tokens a second.
Prefill, for example, is recognised by the number of tokens that an assistant message adds to the prompt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from stepgym.agents.policies.chat_client import ChatError, Choice, Completion
from stepgym.agents.policies.chat_policy import ChatPolicy

USER = {"role": "user", "content": "Count from 1 to 30, with a comma after each number."}
COUNTED = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10,"
NUM_TOKENS = 16
PARALLEL = 8
PREFILL = {"continue_final_message": True, "add_generation_prompt": False}


class Finding(NamedTuple):
    """One property of a server."""

    name: str
    found: str
    advice: str = ""
    """What a policy does about it, or the setting that makes use of it."""


class Speed(NamedTuple):
    """Tokens a second that a server writes, for one request at a time and for several."""

    alone: float
    parallel: float


def probe(policy: ChatPolicy) -> list[Finding]:
    """Ask the server of a policy some 30 small requests. Raises `ChatError` and `RunStopped` if it answers none."""
    policy.fields.complete([USER], {"max_tokens": 1})
    probes = (
        _choices,
        _log_probs,
        _stop,
        _temperature,
        _seed,
        _end,
        _token_ids,
        _prefill,
        _reasoning,
    )
    return [*(_tried(each, policy) for each in probes), _throughput(policy)]


def _tried(each: Callable[[ChatPolicy], Finding], policy: ChatPolicy) -> Finding:
    """Return a probe's finding; a server that refuses the field has none of it."""
    try:
        return each(policy)
    except ChatError as error:
        name = each.__name__.strip("_").replace("_", " ")
        return Finding(
            NAMES.get(name, name), f"refused ({str(error)[:200]})", REFUSED.get(name, "")
        )


NAMES = {"choices": "n", "log probs": "log-probabilities", "end": "end told"}
REFUSED = {
    "choices": "children are requested in parallel",
    "log probs": "steps have no log-probability: beam search needs a reward model",
    "stop": "texts are cut at delimiters here",
    "seed": "runs differ",
    "token ids": "records hold no tokens",
    "prefill": "continuation=ask",
}


def _ask(policy: ChatPolicy, *messages: Mapping[str, str], **request: Any) -> Completion:
    """Send one request, whose fields are not adapted to the server."""
    fields = {"max_tokens": NUM_TOKENS, **policy.options, **request}
    given = {name: value for name, value in fields.items() if value is not None}
    return policy.client.complete(messages or (USER,), **policy.fields.renamed(given))


def _choices(policy: ChatPolicy) -> Finding:
    given = len(_ask(policy, n=3, temperature=1.0).choices)
    if given == 3:
        return Finding("n", "yes")
    return Finding("n", f"ignored ({given} of 3 choices)", REFUSED["choices"])


def _log_probs(policy: ChatPolicy) -> Finding:
    known = _ask(policy, logprobs=True).choices[0].log_probs
    if known:
        return Finding("log-probabilities", "yes")
    return Finding("log-probabilities", "ignored", REFUSED["log probs"])


def _stop(policy: ChatPolicy) -> Finding:
    """A word that the model writes is taken as the stop word of a second request."""
    text = _ask(policy, temperature=0.0).choices[0].text
    word = text[len(text) // 2 :][:3]
    if not word.strip():
        return Finding("stop", "unknown (the model wrote nothing)")
    stopped = _ask(policy, temperature=0.0, stop=[word]).choices[0].text
    if word not in stopped:
        return Finding("stop", "yes")
    return Finding("stop", "ignored", REFUSED["stop"])


def _samples(policy: ChatPolicy, **request: Any) -> set[str]:
    """Return the different texts of four requests."""
    texts = (_ask(policy, **request).choices[0] for _ in range(4))
    return {choice.reasoning + choice.text for choice in texts}


def _temperature(policy: ChatPolicy) -> Finding:
    hot, cold = len(_samples(policy, temperature=1.5)), len(_samples(policy, temperature=0.0))
    if hot > 1 and cold == 1:
        return Finding("temperature", "acts")
    if hot == 1:
        return Finding("temperature", "does not act", "all children of a state may be equal")
    return Finding("temperature", f"acts, but 0 gives {cold} different texts of 4")


def _seed(policy: ChatPolicy) -> Finding:
    same = len(_samples(policy, temperature=1.5, seed=7))
    if same == 1:
        return Finding("seed", "honoured")
    return Finding("seed", f"not honoured ({same} different texts of 4)", REFUSED["seed"])


def _end(policy: ChatPolicy) -> Finding:
    """A short answer ends by itself; a long one is cut by the token limit."""
    question = {"role": "user", "content": "Say only the word yes."}
    cut = _ask(policy, max_tokens=1, temperature=0.0).choices[0].finish_reason
    whole = _ask(policy, question, max_tokens=256, temperature=0.0).choices[0]
    told = (
        "tells a length limit" if cut == "length" else f"finish_reason {cut!r} at the length limit"
    )
    if whole.ended:
        return Finding("end told", f"yes; {told}")
    if whole.finish_reason == "length":
        return Finding("end told", f"unknown (the model did not end); {told}")
    advice = "an episode ends with its answer; a delimiter and the end of the text look alike"
    return Finding("end told", f"no (finish_reason {whole.finish_reason!r} alone); {told}", advice)


def _token_ids(policy: ChatPolicy) -> Finding:
    completion = _ask(policy, return_token_ids=True)
    if completion.choices[0].token_ids and completion.prompt_ids:
        return Finding("token ids", "yes", "return_token_ids=true keeps them in records")
    return Finding("token ids", "ignored", REFUSED["token ids"])


def _prefill(policy: ChatPolicy) -> Finding:
    """A message that is continued adds its own tokens to the prompt; one that is ended adds a new turn too."""

    def num_prompt_tokens(*said: str) -> int | None:
        messages = [USER, *({"role": "assistant", "content": text} for text in said)]
        completion = _ask(policy, *messages, max_tokens=1, **(PREFILL if said else {}))
        known = completion.prompt_tokens
        return None if known is None else known + completion.cached_tokens

    none, once, twice = (
        num_prompt_tokens(),
        num_prompt_tokens(COUNTED),
        num_prompt_tokens(f"{COUNTED} {COUNTED}"),
    )
    if none is None or once is None or twice is None:
        return Finding("prefill", "unknown (the server does not count prompt tokens)")
    if once - none <= twice - once + 1:
        return Finding(
            "prefill", "yes", "continuation=prefill lets the model continue its own message"
        )
    return Finding("prefill", "no", REFUSED["prefill"])


def _reasoning(policy: ChatPolicy) -> Finding:
    choice: Choice = _ask(policy, max_tokens=64).choices[0]
    if choice.reasoning:
        return Finding("reasoning", "told apart", "it is kept and counted as reasoning")
    inside = "<think>" in choice.text or "</think>" in choice.text
    return Finding("reasoning", "in <think> tags" if inside else "none seen")


def _throughput(policy: ChatPolicy) -> Finding:
    speed = Speed(_tokens_per_second(policy, 1), _tokens_per_second(policy, PARALLEL))
    return Finding(
        "throughput",
        f"{speed.alone:.0f} tokens/s for 1 request, {speed.parallel:.0f} for {PARALLEL} at once",
        "" if speed.parallel > 1.5 * speed.alone else "requests in parallel are not faster",
    )


def _tokens_per_second(policy: ChatPolicy, count: int) -> float:
    started = time.perf_counter()
    with ThreadPoolExecutor(count) as pool:
        replies = pool.map(lambda _: _ask(policy, max_tokens=4 * NUM_TOKENS), range(count))
        tokens = sum(
            reply.completion_tokens or sum(choice.num_tokens for choice in reply.choices)
            for reply in replies
        )
    return tokens / (time.perf_counter() - started)

"""From a server's completion to steps: where each ends, whether the model ended there, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence

from stepgym.agents.policies.chat_client import Choice, Completion
from stepgym.agents.policies.continuation import Continuation, PartialStep, Stop
from stepgym.agents.policies.step_text import Cut, find_cut, is_thinking, reasoning_share
from stepgym.envs.tokens import ANSWER, ANSWER_END, STEP_END, THINK, THINK_END
from stepgym.envs.types import Step


def read_steps(
    completion: Completion,
    partial: PartialStep,
    *,
    delimiters: Sequence[str],
    has_stops: bool = True,
) -> list[Continuation]:
    """Turn choices into what was written. `has_stops` says that the request named the delimiters as stop words.

    Empty steps are left out, and their tokens charged to the first that is not. An empty step is kept if the model
    ended there after earlier steps, or if the step was begun for the model, which may have nothing to add.
    """
    thinking = is_thinking("".join(partial.texts))
    wholes = [_whole_text(choice, thinking=thinking) for choice in completion.choices]
    cuts = [
        find_cut(whole, delimiters=delimiters, thinking=thinking, stops=partial.stops)
        for whole in wholes
    ]
    marks = (*delimiters, *partial.stops, STEP_END, ANSWER_END)
    ends = [
        cut is None and _is_end(choice, marks, has_stops=has_stops)
        for choice, cut in zip(completion.choices, cuts)
    ]
    texts = [
        _closed(whole, choice) if cut is None else whole[: cut.at]
        for whole, choice, cut in zip(wholes, completion.choices, cuts)
    ]
    tokens = token_shares(completion)
    reasoning = tokens if thinking else _reasoning_shares(completion, wholes, tokens)
    kept = [
        i
        for i, text in enumerate(texts)
        if partial.texts or text.strip() or (ends[i] and partial.state.steps)
    ]
    written = []
    for i in kept:
        choice, is_first = completion.choices[i], i == kept[0]
        mine = [i, *(j for j in range(len(texts)) if j not in kept)] if is_first else [i]
        num_tokens = sum(tokens[j] for j in mine)
        own = _up_to(choice, cuts[i], shift=len(wholes[i]) - len(choice.text))
        has_ids = own.token_ids is not None and completion.prompt_ids is not None
        step = Step(
            texts[i],
            log_prob=own.log_prob,
            num_tokens=num_tokens,
            num_reasoning_tokens=min(num_tokens, sum(reasoning[j] for j in mine)),
            num_prompt_tokens=(completion.prompt_tokens or 0) if is_first else 0,
            final=ends[i],
            token_ids=own.token_ids if has_ids else None,
            token_log_probs=own.token_log_probs if has_ids else None,
            context_ids=completion.prompt_ids if has_ids else None,
            usd=completion.usd if is_first else 0.0,
        )
        written.append(Continuation(step, _stop(choice, partial, cuts[i], is_end=ends[i])))
    return written


def was_cut_in_thought(choice: Choice) -> bool:
    """Return whether a stop word seems to have ended a text inside internal reasoning."""
    if choice.finish_reason != "stop" or choice.ended:
        return False
    return not choice.text.strip() if choice.reasoning else is_thinking(choice.text)


def token_shares(completion: Completion) -> list[int]:
    """Return the new tokens of each choice: the server's own count of each, or of all, or a guess by length."""
    counted = [choice.num_tokens for choice in completion.choices]
    total = completion.completion_tokens
    if total is None:
        return counted
    # Some servers omit internal reasoning from the log-probabilities: use them only if the texts add up.
    if all(choice.token_texts for choice in completion.choices) and sum(counted) == total:
        return counted
    return _split(total, [1.0] * len(counted))


def _whole_text(choice: Choice, *, thinking: bool) -> str:
    """Return a choice as one text, with internal reasoning between its tags.

    A thought that continues may come back as text or as reasoning, and has no opening tag.
    """
    if thinking:
        return choice.reasoning + choice.text
    if choice.reasoning:
        return f"{THINK}{choice.reasoning}{THINK_END}{choice.text}"
    before, end, _ = choice.text.partition(THINK_END)
    # some chat templates open the thought in the prompt
    return THINK + choice.text if end and THINK not in before else choice.text


def _closed(text: str, choice: Choice) -> str:
    """Close an answer whose closing tag was the stop word."""
    is_open = text.count(ANSWER) > text.count(ANSWER_END)
    return text + ANSWER_END if is_open and choice.finish_reason == "stop" else text


def _is_end(choice: Choice, marks: Sequence[str], *, has_stops: bool) -> bool:
    """Return whether the model ended here. Tokens beyond the text that hold a stop word prove the contrary."""
    if choice.token_texts is not None:
        beyond = "".join(choice.token_texts)[len(choice.text) :]
        if any(mark in beyond for mark in marks):
            return False
    return choice.ended or (choice.finish_reason == "stop" and not has_stops)


def _stop(choice: Choice, partial: PartialStep, cut: Cut | None, *, is_end: bool) -> Stop:
    if is_end:
        return Stop.END
    if choice.finish_reason == "length" and cut is None:
        return Stop.LENGTH
    return Stop.STOPPED if partial.stops else Stop.DELIMITER


def _up_to(choice: Choice, cut: Cut | None, *, shift: int) -> Choice:
    """Return a choice with the tokens up to a cut, its mark included; without tokens if their texts do not tell.

    `shift` is how many characters the cut text has before the choice's own.
    """
    if cut is None:
        return choice
    end = cut.at - shift + (0 if cut.mark == ANSWER_END else len(cut.mark))
    if end >= len(choice.text):
        return choice
    texts = choice.token_texts
    if texts is None or choice.reasoning or not "".join(texts).startswith(choice.text):
        return choice._replace(log_probs=None, token_ids=None)
    at = count = 0
    while at < end:
        at += len(texts[count])
        count += 1
    return choice._replace(
        log_probs=choice.log_probs and choice.log_probs[:count],
        token_ids=choice.token_ids[:count]
        if choice.token_ids and len(choice.token_ids) == len(texts)
        else None,
    )


def _reasoning_shares(
    completion: Completion, wholes: Sequence[str], tokens: Sequence[int]
) -> list[int]:
    """Return how many tokens of each choice are internal reasoning: as the server counts, or by their texts."""
    shares = [reasoning_share(whole) for whole in wholes]
    if completion.reasoning_tokens:
        weights = [share * count for share, count in zip(shares, tokens)]
        return _split(completion.reasoning_tokens, weights)
    return [round(share * count) for share, count in zip(shares, tokens)]


def _split(total: int, weights: Sequence[float]) -> list[int]:
    """Split a number by weights (evenly if all are 0) into whole numbers that add up to it."""
    whole = sum(weights)
    if not whole:
        weights, whole = [1.0] * len(weights), float(len(weights))
    parts, before = [], 0.0
    given = 0
    for weight in weights:
        before += weight
        upto = round(total * before / whole)
        parts.append(upto - given)
        given = upto
    return parts

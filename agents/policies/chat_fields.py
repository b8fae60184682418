"""Leaves out of requests what a server refuses.

A server that does not know an optional field (`logprobs`, `n`, `stop`, `seed`, `return_token_ids`) answers 400, with or
without the field's name. The request is sent again without it; what then works is remembered. A refusal of a request
with the same fields as one that worked is about its content, and is not tried again.
"""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stepgym.agents.policies.chat_client import ChatClient, ChatError, Completion

OPTIONAL = ("return_token_ids", "logprobs", "n", "stop", "seed")
"""In the order in which they are left out if the server does not say which one it refuses."""
RENAMED = {"max_tokens": "max_completion_tokens"}
"""Fields that some models take under another name only."""
ADVICE = {
    "continue_final_message": "continuation=ask",
    "add_generation_prompt": "continuation=ask",
    "temperature": """'options={"temperature": null}'""",
    "top_p": """'options={"top_p": null}'""",
    "max_tokens": "max_new_tokens=N",
    "max_completion_tokens": "max_new_tokens=N",
}
"""The setting that changes or leaves out a field that a step depends on."""
REFUSED = frozenset({400, 422})


class FieldFilter:
    """Sends requests and learns from refusals. Any number of threads may use it."""

    def __init__(self, client: ChatClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._worked: set[frozenset[str]] = set()
        self.left_out: frozenset[str] = frozenset()
        """The fields that the server refuses; one of `RENAMED` is sent under its other name."""

    def complete(
        self, messages: Sequence[Mapping[str, str]], request: Mapping[str, Any]
    ) -> Completion:
        """Send a request whose fields are not `None`. Raises `ChatError` and `RunStopped`."""
        fields = {name: value for name, value in request.items() if value is not None}
        left_out, refusal = self.left_out, None
        trials: Iterator[frozenset[str]] | None = None
        while True:
            sent = _without(fields, left_out)
            try:
                completion = self._client.complete(messages, **sent)
            except ChatError as error:
                if error.status not in REFUSED or frozenset(sent) in self._worked:
                    raise _with_advice(error, sent) from error
                refusal = refusal or error
                if named := _named(error, sent, OPTIONAL) | _to_rename(error, sent):
                    left_out |= named
                    continue
                if trials is None:
                    trials = iter(_combinations(sent, left_out))
                if (trial := next(trials, None)) is None:
                    raise _with_advice(refusal, sent) from error
                left_out = trial
            else:
                self._learn(frozenset(sent), left_out, refusal)
                return completion

    def renamed(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a request with the field names that the server takes, and all its fields."""
        return _without(request, self.left_out & RENAMED.keys())

    def _learn(self, sent: frozenset[str], left_out: frozenset[str], why: ChatError | None) -> None:
        with self._lock:
            self._worked.add(sent)
            new = left_out - self.left_out
            self.left_out |= left_out
        if lost := sorted(new - RENAMED.keys()):
            warnings.warn(
                f"{self._client.where} refuses {', '.join(lost)}; requests leave it out from now on ({why})",
                stacklevel=2,
            )


def _without(fields: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    renamed = {RENAMED[name]: fields[name] for name in left_out & RENAMED.keys() & fields.keys()}
    return {name: value for name, value in fields.items() if name not in left_out} | renamed


def _named(error: ChatError, sent: Mapping[str, Any], names: Sequence[str]) -> frozenset[str]:
    """Return which of these fields of the request the error names."""
    if error.field in sent:
        return frozenset({error.field} & set(names))
    found = (name for name in names if name in sent)
    return frozenset(name for name in found if re.search(rf"(?<!\w){name}(?!\w)", str(error)))


def _to_rename(error: ChatError, sent: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        name
        for name, other in RENAMED.items()
        if name in sent and other in str(error) and "nsupported" in str(error)
    )


def _combinations(sent: Mapping[str, Any], left_out: frozenset[str]) -> list[frozenset[str]]:
    """Return what to leave out one after the other: each optional field alone, then all."""
    optional = [name for name in OPTIONAL if name in sent]
    tried = [left_out | {name} for name in optional]
    return [*tried, left_out | set(optional)] if len(optional) > 1 else tried


def _with_advice(error: ChatError, sent: Mapping[str, Any]) -> ChatError:
    """Return the error with the setting that leaves out or changes the field it names."""
    named = _named(error, sent, tuple(ADVICE)) if error.status in REFUSED else frozenset()
    if not named:
        return error
    settings = " or ".join(
        dict.fromkeys(f"--policy-option {ADVICE[name]}" for name in sorted(named))
    )
    return ChatError(f"{error} (try {settings})", status=error.status, field=error.field)

"""Which problems were proposed before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from stepgym.plugins.errors import UserError
from stepgym.plugins.line_log import append_line, whole_lines


class Seen:
    """The first owner of each proposed problem, kept in memory and, with a path, in a file that later runs read.

    An owner is the id of the problem that asked for a proposal. The same owner may propose the same problem again, so that
    a verdict does not change when it is asked for twice. Two processes that run at the same time do not see each other's
    proposals.
    """

    def __init__(self, path: str | Path | None = None, *, always: Iterable[str] = ()) -> None:
        """`always` are the keys of problems that are never new."""
        self.path = None if path is None else Path(path)
        self.owners = dict.fromkeys(always, "")
        self.texts: dict[str, str] = {}
        """The proposals that counted, by key, in the order in which they came."""
        for number, line in enumerate(whole_lines(self.path) if self.path else [], start=1):
            try:
                row = json.loads(line)
                self._keep(row["key"], row["owner"], row.get("text", ""))
            except (ValueError, TypeError, KeyError) as error:
                raise UserError(
                    f"{self.path}, line {number}: not a line of proposals seen before ({error!r})"
                ) from error

    def is_new(self, key: str, owner: str, text: str = "") -> bool:
        """Return whether nobody else proposed this before; if so, it is the owner's from here on.

        `text` is the proposal.
        """
        if key not in self.owners and self.path is not None:
            append_line(self.path, json.dumps({"key": key, "owner": owner, "text": text}))
        return self._keep(key, owner, text) == owner

    def last(self, kind: str, count: int) -> list[str]:
        """Return the last proposals of a kind that counted, the latest last."""
        found = [text for key, text in self.texts.items() if key.startswith(f"{kind} ")]
        return found[-count:] if count else []

    def _keep(self, key: str, owner: str, text: str) -> str:
        """Keep a proposal if it is new, and return the owner."""
        if key not in self.owners and text:
            self.texts[key] = text
        return self.owners.setdefault(key, owner)

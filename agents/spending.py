"""Money paid to a server: a price, a limit, and what was spent.

A request is admitted only if its highest possible cost still fits, so that the limit is never passed. What a server
does not report is counted at that highest cost: a request whose reply was lost may have been charged.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from stepgym.agents.types import RunStopped


class Price(NamedTuple):
    """US dollars per million tokens. Tokens that the server had cached cost as much as others."""

    input: float
    output: float

    def cost(self, prompt_tokens: int, new_tokens: int) -> float:
        """Return what these tokens cost in US dollars."""
        return (self.input * prompt_tokens + self.output * new_tokens) / 1e6


@runtime_checkable
class Spends(Protocol):
    """A policy or reward model that pays for its calls; without a price it counts nothing."""

    @property
    def spending(self) -> Spending | None: ...


class Spending:
    """A meter that many threads share; `limit_usd=None` is no limit."""

    def __init__(
        self, price: Price, *, limit_usd: float | None = None, spent_usd: float = 0.0
    ) -> None:
        if not all(0.0 <= each < math.inf for each in price):
            raise ValueError(
                f"price {tuple(price)!r}: US dollars per million input and output tokens"
            )
        self.price, self.limit_usd = price, limit_usd
        self.spent_usd = spent_usd
        self._reserved_usd, self._num_reserved = 0.0, 0
        self._changed = threading.Condition()

    def reserve(self, most_usd: float) -> None:
        """Set aside what a request may cost, once it fits beside those under way. Raises `RunStopped` if it never will."""
        with self._changed:
            if self.limit_usd is not None:
                while self.spent_usd + self._reserved_usd + most_usd > self.limit_usd:
                    if not self._num_reserved:
                        raise RunStopped(
                            f"the budget of ${self.limit_usd:g} is used up: ${self.spent_usd:.4f} are spent, and the "
                            f"next request may cost ${most_usd:.4f}; --budget-usd raises it"
                        )
                    self._changed.wait()
            self._reserved_usd += most_usd
            self._num_reserved += 1

    def settle(self, most_usd: float, usd: float) -> None:
        """Replace what was set aside for a request by what it cost."""
        with self._changed:
            self._num_reserved -= 1
            self._reserved_usd = self._reserved_usd - most_usd if self._num_reserved else 0.0
            self.spent_usd += usd
            self._changed.notify_all()


def make_spending(price: Sequence[float] | None, budget_usd: float | None) -> Spending | None:
    """Return the meter of a served model, `None` without a price. Raises `ValueError` for a budget without one."""
    if price is None:
        if budget_usd is not None:
            raise ValueError(
                f"budget_usd {budget_usd!r} needs price=[INPUT, OUTPUT], US dollars per million tokens"
            )
        return None
    if isinstance(price, str) or len(price) != 2:
        raise ValueError(
            f"price {price!r} should be [INPUT, OUTPUT], US dollars per million tokens"
        )
    return Spending(Price(*map(float, price)), limit_usd=budget_usd)

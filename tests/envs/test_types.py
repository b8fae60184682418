"""The nouns check themselves: a fault belongs to an undecided verdict."""

from __future__ import annotations

import pytest

from stepgym.envs.types import Fault, Status, Verdict


def test_an_undecided_verdict_may_say_whose_fault_it_was() -> None:
    assert Verdict(Status.UNDECIDED).fault is None
    assert Verdict(Status.UNDECIDED, fault=Fault.ANSWER).fault is Fault.ANSWER


@pytest.mark.parametrize("status", [Status.CORRECT, Status.INCORRECT])
def test_a_decided_verdict_has_no_fault(status: Status) -> None:
    with pytest.raises(ValueError, match=status.name):
        Verdict(status, fault=Fault.OURS)

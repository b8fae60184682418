"""Patches of the tests (`unittest.mock.patch`, `monkeypatch`), carried over to the candidate's process.

A patched function is put in place there as a handle: the candidate calls the mock, and the mock counts on the tests'
side, where the candidate cannot reach its assertions. Only what has a dotted name can be carried over; a patched
object of the tests themselves needs no carrying.
"""

import sys
import types


class Patches:
    """Carries patches over; `observe` notes those that it cannot."""

    def __init__(self, remote):
        self.remote = remote

    def made(self, target, attribute):
        """Carry a patch of `target.attribute` over that was just made; return what undoes it there."""
        name = self._name_of(target)
        if name is None:
            return lambda: None
        full = f"{name}.{attribute}"
        try:
            self.remote.replace(full, getattr(target, attribute))
        except Exception:  # the candidate's process has no such module, or cannot take the object
            self.remote.observe("unseen", f"the patch of {full}")
            return lambda: None
        return lambda: self.remote.restore(full)

    def _name_of(self, target):
        """Return the dotted name of a module or class that both processes have; `None` if it is the tests' own."""
        if isinstance(target, types.ModuleType):
            own = target.__name__ == "tests" or hasattr(target, "_remote")
            return None if own or target.__name__ not in sys.modules else target.__name__
        if isinstance(target, type) and target.__module__ not in ("tests", "__tester__"):
            return f"{target.__module__}.{target.__qualname__}"
        return None

    def follow_mock(self):
        """Make every `unittest.mock.patch` carry over; return what stops that."""
        from unittest import mock  # slow to import, and few tests patch

        kind = mock._patch
        enter, leave = kind.__enter__, kind.__exit__

        def carry(patcher):
            made = enter(patcher)
            patcher._undo_there = self.made(patcher.target, patcher.attribute)
            return made

        def undo(patcher, *details):
            result = leave(patcher, *details)
            patcher.__dict__.pop("_undo_there", lambda: None)()
            return result

        kind.__enter__, kind.__exit__ = carry, undo

        def stop():
            kind.__enter__, kind.__exit__ = enter, leave

        return stop

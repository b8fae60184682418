"""The error for a user's mistake, as opposed to a bug.

The command line prints a `UserError` as a usage error (exit status 2). Any other `ValueError` is a bug and keeps its
traceback. Rooms subclass it: `UnknownNameError`, `SettingError`, `DataFileError`, `RecordError`, `TrainingError`.
"""

from __future__ import annotations


class UserError(ValueError):
    """A mistake in what was asked for.

    The message shows the offending value and what to do instead.
    """

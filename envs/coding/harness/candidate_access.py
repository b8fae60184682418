"""Read the entry point of a solution: a function, a class, or a method written as `Solution().method`."""

import re

METHOD = re.compile(r"(\w+)\(\)\.(\w+)")


def read_candidate(remote, entry_point):
    """Return the candidate's object of this name, and what is wrong with it in a line, empty if nothing."""
    method = METHOD.fullmatch(entry_point)
    try:
        if method is not None:
            return getattr(remote.get(method[1])(), method[2]), ""
        return remote.get(entry_point), ""
    except AttributeError:
        return None, f"it defines no {entry_point!r}"
    except Exception as error:  # a candidate may raise anything when it is read
        text = " ".join(str(error)[:300].split())
        return None, f"{type(error).__name__}: {text}"


def is_method(entry_point):
    """Whether an entry point is a method, so that every case needs a new object."""
    return METHOD.fullmatch(entry_point) is not None

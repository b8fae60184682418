"""Call tables: rows of arguments and the expected result."""

import sys
from time import perf_counter

from stepgym.envs.coding.harness.candidate_access import is_method, read_candidate
from stepgym.envs.coding.harness.failures import row_of, short, since

FORESEEN = 16
"""So many calls of a table are sent ahead."""


def run_calls(remote, declared, *, cases, lenient=False, tolerance=None, any_order=False):
    """Run `cases`, packed rows of `((args, kwargs), [accepted, ...])`.

    `lenient` lets a tuple pass for the list that JSON writes; `any_order` compares lists as multisets.
    """
    cases = remote.unpacker().unpack(cases)
    remote.load()
    candidate, fault = read_candidate(remote, declared.entry_point)
    if fault:
        return [[f"case {i}", "failed", fault] for i in range(len(cases))]
    fresh = is_method(declared.entry_point)
    rows = []
    for i, ((args, kwargs), accepted) in enumerate(cases):
        if i % FORESEEN == 0 and not fresh:
            remote.foresee_calls(candidate, [call for call, _ in cases[i : i + FORESEEN]])
        name = f"case {i}"
        begin = perf_counter()
        try:
            if fresh and i:
                candidate, _ = read_candidate(remote, declared.entry_point)
            got = candidate(*args, **kwargs)
            remote.write_back()
            if any(agrees(got, one, lenient, tolerance, any_order) for one in accepted):
                rows.append([name, "passed", ""])
            else:
                rows.append([name, "failed", f"expected {short(accepted[0])}, got {short(got)}"])
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            rows.append(row_of(remote, name, error, declared))
        if remote.broken is not None:
            raise remote.broken
        rows[-1].append(since(begin))
        if rows[-1][1] == "failed":
            remote.report_failure(rows)
    return rows


def agrees(got, expected, lenient=False, tolerance=None, any_order=False):
    """Return whether two values are equal, types included; an int and a float may be equal, a bool is only a bool."""
    if lenient and type(got) is tuple and type(expected) is list:
        got = list(got)
    if type(got) is not type(expected):
        both_numbers = isinstance(got, (int, float)) and isinstance(expected, (int, float))
        if not both_numbers or isinstance(got, bool) != isinstance(expected, bool):
            return _agree_as_arrays(got, expected, tolerance)
    if isinstance(expected, float) or isinstance(got, float):
        return (
            got == expected
            or (got != got and expected != expected)
            or near(got, expected, tolerance)
        )
    if type(expected) in (list, tuple):
        if any_order and len(got) == len(expected):
            try:
                return sorted(got) == sorted(expected)
            except TypeError:
                pass
        return len(got) == len(expected) and all(
            agrees(a, b, lenient, tolerance) for a, b in zip(got, expected)
        )
    if type(expected) is dict:
        return len(got) == len(expected) and all(
            key in got and agrees(got[key], expected[key], lenient, tolerance) for key in expected
        )
    equal = got == expected
    return equal if type(equal) is bool else _agree_as_arrays(got, expected, tolerance)


def _agree_as_arrays(got, expected, tolerance):
    """Compare numpy arrays and numbers, if at least one side is of numpy."""
    if "numpy" not in (type(got).__module__, type(expected).__module__):
        return False
    # Not by an import statement: the sandbox loads packages ahead of the sources that seem to import them.
    numpy = sys.modules["numpy"]
    if numpy.shape(got) != numpy.shape(expected):
        return False
    left, right = numpy.asarray(got), numpy.asarray(expected)
    if left.dtype.kind in "fc" or right.dtype.kind in "fc":
        return bool(numpy.allclose(left, right, rtol=tolerance or 0, atol=0, equal_nan=True))
    return bool((left == right).all())


def near(a, b, tolerance):
    """Whether two numbers differ by no more than a tolerance, if there is one."""
    if tolerance is None or a in INFINITE or b in INFINITE:
        return False
    try:
        return abs(a - b) <= tolerance * max(1.0, abs(b))
    except OverflowError:  # an integer beyond the range of floats
        return False


INFINITE = (float("inf"), float("-inf"))

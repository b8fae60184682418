"""Compare the candidate with a reference solution on given inputs, as EvalPlus does.

The reference runs on the tester's side, each time, because its results may be objects that no file can hold.
"""

import copy
import math
from time import perf_counter

from stepgym.envs.coding.harness.binding import UnusableTestsError
from stepgym.envs.coding.harness.candidate_access import read_candidate
from stepgym.envs.coding.harness.failures import describe, row_of, short, since

FORESEEN = 16
RELATIVE = 1e-7
SLOWER = 8
"""So many times slower than the reference a candidate may be on one input,"""
LEAST_SHARE = 0.1
"""or take this share of the time for all inputs."""
FLOAT_TOLERANCE = 1e-6
"""Absolute tolerance if the expected value is a float, or a list or tuple of floats."""


def run_reference(
    remote, declared, *, reference, inputs, tolerance=0.0, equality="equal", alternative=None
):
    """Return one row per input.

    `inputs` are packed lists of arguments. `equality` is one of `RULES`. `alternative` is source of a second
    reference whose results are accepted too.
    """
    inputs = remote.unpacker().unpack(inputs)
    references = [_load(text, declared.entry_point) for text in (reference, alternative) if text]
    rule = RULES[equality]
    remote.load()
    candidate, fault = read_candidate(remote, declared.entry_point)
    if fault:
        return [[f"input {i}", "failed", fault] for i in range(len(inputs))]
    rows = []
    left_s = remote.budget_s
    least_s = left_s * LEAST_SHARE
    for i, args in enumerate(inputs):
        if i % FORESEEN == 0:
            remote.foresee_calls(candidate, [(args, {}) for args in inputs[i : i + FORESEEN]])
        name = f"input {i}"
        begin = perf_counter()
        expected = [_expected(function, args) for function in references]
        one_s = remote.budget_s = min(left_s, max(least_s, SLOWER * (perf_counter() - begin)))
        begin = perf_counter()
        try:
            got = candidate(*copy.deepcopy(args))
            if any(rule(got, one, args, tolerance) for one in expected):
                rows.append([name, "passed", ""])
            else:
                message = f"expected {short(expected[0])}, got {short(got)}"
                rows.append(
                    row_of(remote, name, AssertionError(message), declared, message=message)
                )
        except (Exception, SystemExit, KeyboardInterrupt, GeneratorExit) as error:
            rows.append(row_of(remote, name, error, declared))
        left_s -= one_s - remote.budget_s
        if remote.broken is not None:
            raise remote.broken
        rows[-1].append(since(begin))
        if rows[-1][1] == "failed":
            remote.report_failure(rows)
    return rows


def _load(source, entry_point):
    names = {"__name__": "reference"}
    try:
        exec(compile(source, "<reference>", "exec", dont_inherit=True), names)
        return names[entry_point]
    except Exception as error:  # the task's own text: whatever it raises is the task's fault
        raise UnusableTestsError(f"the reference does not load: {describe(error)}") from None


def _expected(function, args):
    try:
        return function(*copy.deepcopy(args))
    except Exception as error:
        raise UnusableTestsError(
            f"the reference fails on {short(args)}: {describe(error)}"
        ) from None


def equal(got, expected, args, tolerance):
    """Equal, or close if the expected value is of floats or the task has a tolerance."""
    same = got == expected
    if same is True or (type(same) is not bool and _all(same)):
        return True
    if not tolerance and _is_of_floats(expected):
        tolerance = FLOAT_TOLERANCE
    return bool(tolerance) and _close(got, expected, tolerance)


def _all(same):
    try:
        return bool(same.all())
    except AttributeError:
        return bool(same)


def _is_of_floats(value):
    if isinstance(value, (list, tuple)):
        return bool(value) and all(isinstance(item, float) for item in value)
    return isinstance(value, float) or getattr(value, "dtype", None) in ("float64", "float32")


def _close(got, expected, tolerance):
    if isinstance(expected, (list, tuple)):
        return (
            type(got) is type(expected)
            and len(got) == len(expected)
            and all(_close(a, b, tolerance) for a, b in zip(got, expected))
        )
    if isinstance(expected, (int, float, complex)) and isinstance(got, (int, float, complex)):
        if type(got) is not type(expected) and complex in (type(got), type(expected)):
            return False
        if got != got or expected != expected:
            return got != got and expected != expected
        if got in INFINITE or expected in INFINITE:
            return got == expected
        try:
            return abs(got - expected) <= tolerance + RELATIVE * abs(expected)
        except OverflowError:  # an integer beyond the range of floats
            return False
    return _all(got == expected)


def same_set(got, expected, args, tolerance):
    """Equal as sets."""
    return set(got) == set(expected)


def same_truth(got, expected, args, tolerance):
    """Compare truth: a boolean must equal the reference's; any other result but `None` counts as true."""
    return got == bool(expected) if isinstance(got, bool) else (got is not None) == bool(expected)


def equal_or_zero(got, expected, args, tolerance):
    """Equal, or 0."""
    return equal(got, expected, args, tolerance) or got == 0


def is_root(got, expected, args, tolerance):
    """A number at which the polynomial with the given coefficients is zero, within the tolerance."""
    (coefficients,) = args
    value = sum(coefficient * math.pow(got, i) for i, coefficient in enumerate(coefficients))
    return abs(value) <= tolerance


RULES = {
    "equal": equal,
    "same_set": same_set,
    "same_truth": same_truth,
    "equal_or_zero": equal_or_zero,
    "is_root": is_root,
}
INFINITE = (float("inf"), float("-inf"))

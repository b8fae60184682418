"""Property tests: compare the candidate with a reference on generated inputs, and shrink the first difference."""

import copy
import random
import time
from time import perf_counter

from stepgym.envs.coding.harness.binding import UnusableTestsError
from stepgym.envs.coding.harness.call_tables import agrees
from stepgym.envs.coding.harness.failures import describe, short, since

FAILURES = (Exception, SystemExit, KeyboardInterrupt, GeneratorExit)


class Different(Exception):
    """The candidate and the reference disagree."""


class TimeIsOver(KeyboardInterrupt):
    """The time for generating is over. Hypothesis lets a KeyboardInterrupt pass at once."""


def run_property(
    remote,
    declared,
    *,
    strategies,
    reference,
    seed=0,
    num_examples=100,
    seconds=4.0,
    tolerance=None,
    same_errors=True,
):
    """Return one row; `remote.findings` gets the smallest input on which the two differ."""
    entry_point = declared.entry_point
    try:
        import hypothesis
        from hypothesis import strategies as st
    except ImportError:
        raise UnusableTestsError(
            "property tests need hypothesis on the tester's side: pip install hypothesis"
        ) from None
    remote.load()
    names = {"__name__": "reference"}
    try:
        exec(compile(reference, "<reference>", "exec", dont_inherit=True), names)
        right = names[entry_point]
        inputs = st.tuples(*eval(strategies, {"st": st, "__name__": "strategies"}))
    except Exception as error:  # the task's own text: whatever it raises is the task's fault
        raise UnusableTestsError(
            f"the reference or the strategies do not load: {describe(error)}"
        ) from None
    try:
        candidate = remote.get(entry_point)
    except AttributeError:
        return [["property", "failed", f"it defines no {entry_point!r}"]]
    begin = perf_counter()
    state = {"examples": 0, "end": time.monotonic() + seconds, "smallest": None}

    def differ(args):
        expected = outcome(right, copy.deepcopy(args), None)
        if expected[0] == "raised" and not same_errors:
            return
        actual = outcome(candidate, copy.deepcopy(args), remote)
        if not same(expected, actual, tolerance):
            found = {
                "args": ", ".join(map(short, args)),
                "expected": show(expected),
                "got": show(actual),
            }
            if found["expected"] == found["got"] and expected[0] == "returned":
                found["expected"], found["got"] = (
                    f"arguments left as {short(list(r[2]))}" for r in (expected, actual)
                )
            state["smallest"] = found
            raise Different

    def explore(args):
        if time.monotonic() > state["end"]:
            raise TimeIsOver
        state["examples"] += 1
        try:
            differ(args)
        except Different:
            if not state.get("shrinking"):
                state["shrinking"] = True
                state["end"] = time.monotonic() + seconds
            raise

    search = hypothesis.settings(
        max_examples=num_examples,
        database=None,
        deadline=None,
        derandomize=False,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    )
    test = hypothesis.seed(seed)(search(hypothesis.given(inputs)(explore)))
    before = random.getstate()
    try:
        test()
    except (Different, TimeIsOver, hypothesis.errors.Flaky):
        pass
    except hypothesis.errors.HypothesisException as error:
        raise UnusableTestsError(
            f"the strategies cannot be drawn from: {describe(error)}"
        ) from None
    finally:
        random.setstate(before)
    remote.findings = {"examples": state["examples"], "counterexample": state["smallest"]}
    if state["smallest"] is None and not state["examples"]:
        raise UnusableTestsError("no input was generated in time")
    found = state["smallest"]
    message = (
        f"{entry_point}({found['args']}): expected {found['expected']}, got {found['got']}"
        if found
        else ""
    )
    return [["property", "failed" if found else "passed", message, since(begin)]]


def outcome(function, args, remote):
    """Return what a call came to, the arguments it changed included."""
    try:
        value = function(*args)
        if remote is not None:
            remote.write_back()
        return ["returned", value, args]
    except (
        FAILURES
    ) as error:  # what is raised is a result, compared with what the other side raises
        return ["raised", error, args]


def same(expected, actual, tolerance):
    """Whether two outcomes agree: values and changed arguments, or the types of what was raised."""
    if expected[0] != actual[0]:
        return False
    if expected[0] == "raised":
        return isinstance(actual[1], type(expected[1]))
    return agrees(actual[1], expected[1], False, tolerance) and agrees(
        actual[2], expected[2], False, tolerance
    )


def show(result):
    """Return an outcome in a few words."""
    return short(result[1]) if result[0] == "returned" else f"{type(result[1]).__name__} raised"

"""Run one style's tests against the candidate and report.

A report is `{"tests": [[name, outcome, message, seconds]], "undecided": reason, "broken": [kind, reason],
"observed": {...}}`. The outcome of a test is `passed`, `failed`, `skipped` or `undecided`. The seconds are elapsed time on
the tests' clock; a row of a test that did not run has none. "undecided" means that the tests cannot be used;
"broken" that the candidate's end was lost. A first report goes out with the first failure, so that a wrong answer
stays wrong if the tests do not end in time.
"""

import random
import re
import sys

from stepgym.envs.coding.harness import (
    assert_styles,
    call_tables,
    property_tests,
    reference_tests,
    test_files,
)
from stepgym.envs.coding.harness.binding import Declared, UnusableTestsError
from stepgym.envs.coding.harness.failures import MAX_DIGITS, describe, is_missing_package
from stepgym.envs.coding.harness.patches import Patches
from stepgym.envs.coding.harness.traces import leaves_no_trace
from stepgym.sandbox.runner.link import Broken, CannotCrossError

RUNNERS = {
    "check": assert_styles.run_check,
    "asserts": assert_styles.run_asserts,
    "files": test_files.run_files,
    "calls": call_tables.run_calls,
    "property": property_tests.run_property,
    "reference": reference_tests.run_reference,
}


def judge(remote, style, declared, options, budget_s):
    """Run the tests and report, whatever happens."""
    remote.budget_s = budget_s
    remote.names_of_tests = {}
    remote.findings = {}
    remote.report_failure = lambda rows: _report_failure(remote, rows)
    digits, seed = sys.get_int_max_str_digits(), random.seed
    sys.set_int_max_str_digits(MAX_DIGITS)
    random.seed = _seed_both(remote, "random", seed)
    texts = [options.get(key) for key in ("source", "reference", "strategies")]
    texts += [declared.get("prompt"), *(options.get("support") or {}).values()]
    remote.leaves_traces = not all(leaves_no_trace(text) for text in texts if text)
    remote.patches = Patches(remote)
    stop_patches = remote.patches.follow_mock() if "mock" in options.get("source", "") else None
    report = {"tests": [], "undecided": None, "broken": None}
    try:
        report["tests"] = RUNNERS[style](remote, Declared(**declared), **options)
    except (UnusableTestsError, CannotCrossError) as error:
        report["undecided"] = str(error)
    except Broken as broken:
        report["undecided"] = _why_not_loaded(broken, options.get("source", ""))
    except (
        BaseException
    ) as error:  # tests may call sys.exit; a report must leave this process all the same
        report["undecided"] = f"the tests ended unexpectedly: {describe(error)}"
    finally:
        random.seed = seed
        if stop_patches is not None:
            stop_patches()
        sys.set_int_max_str_digits(digits)
    report.update(remote.findings)
    report["observed"] = remote.observed
    if remote.broken is not None:
        report["broken"] = [remote.broken.kind, remote.broken.reason]
    remote.report(report)


def _why_not_loaded(broken, source):
    """Return why a solution that did not load is not at fault, `None` if it is."""
    if broken.kind != "load":
        return None
    name = re.search(r"(NameError|ModuleNotFoundError): [^']*'([\w.]+)'", broken.reason)
    if name is None:
        return None
    if name[1] == "ModuleNotFoundError" and is_missing_package(name[2]):
        return f"the solution needs the package {name[2]!r}, which the sandbox does not have"
    if name[1] == "NameError" and re.search(rf"^\s*class {name[2]}\b", source, re.MULTILINE):
        return f"the solution uses {name[2]!r}, which only the tests define; give it to both as a preamble"
    return None


def _report_failure(remote, rows):
    """Report the first failure at once."""
    if not getattr(remote, "failure_reported", False):
        remote.failure_reported = True
        remote.report({"tests": rows, "undecided": None, "broken": None, "partial": True})


def _seed_both(remote, module, seed):
    """Return a `seed` function that seeds the candidate's generator too."""

    def both(*arguments, **named):
        seed(*arguments, **named)
        remote.seeded(module, *arguments, *named.values())

    return both

"""How a failed test is described, and whether its failure counts against the candidate."""

import ast
import functools
import importlib.util
import re
from time import perf_counter  # bound here, because tests may replace it in its module

from stepgym.envs.coding.harness.syntax import parsed

MAX_SHOWN = 200
MAX_DIGITS = 100_000
"""Longer integers are not written out: writing takes time that grows with the square of the length."""


def describe(error):
    """Return a failure in one line."""
    text = " ".join(str(error)[:600].split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def short(value):
    """Return a value in at most 200 characters, whatever its size."""
    try:
        text = repr(value)
    except (
        Exception
    ):  # a candidate's __repr__ may raise anything; integers may be too long to write out
        text = f"a {type(value).__name__}"
        if isinstance(value, int):
            text = f"an integer of {int.bit_length(value)} bits"
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."


def fault_of_tests(remote, error, declared):
    """Return why a failure is not the candidate's, or an empty text.

    The tests' own lines may read a name that nobody defines or import what is not installed; an answer may be too
    large to cross; tests may replace what a second process cannot see.
    """
    if getattr(error, "_raised_by_candidate", False):
        return _fault_of_ours(remote, error)
    if isinstance(error, ModuleNotFoundError):
        return f"the tests need the module {error.name!r}, which is not installed here"
    if isinstance(error, NameError) and not declared.takes(error.name):
        if error.name in remote.names_got:  # taken for the entry point, and the candidate lacks it
            return ""
        return (
            f"the tests use {error.name!r}, which nobody defines; "
            "declare it as a name of the solution if it is one"
        )
    observed = remote.observed
    if "large answer" in observed and "refuted large answer" not in observed:
        return "an answer is too large to be handed to the tests by value"
    if "refused operand" in observed and not declared.is_function():
        return (
            f"the tests give {observed['refused operand'][0]!r} plain operands, and nothing says that it is a class; "
            "define it in the prompt"
        )
    looked = LOOKS_INSIDE.search(failing_statement(remote, error))
    if looked is not None:
        return f"the tests look into the solution ({looked[0]}), which its process does not show; try the style 'one_process'"
    if "unseen" in observed:
        return f"the candidate's process does not see {observed['unseen'][0]}; try the style 'one_process'"
    return ""


LOOKS_INSIDE = re.compile(
    r"\b(?:inspect|pickle)\.\w+"
    r"|\b(?:get_type_hints|getsource|iscoroutinefunction|isgeneratorfunction|asdict|astuple|is_dataclass|GeneratorType)\b"
    r"|\.parameters\b"
    r"|__(?:cause|context|traceback|code|closure|defaults|kwdefaults|annotations|dataclass_fields|signature)__"
)
"""What a statement of tests says that looks into objects of the solution deeper than a stand-in shows."""


def failing_statement(remote, error):
    """Return the text of the statement of the tests that failed, empty if it is not known."""
    line = failure_line(error)
    source = getattr(remote, "sources", {}).get("<tests>")
    if not line or source is None:
        return ""
    first, last = remote.statement_at("<tests>", line)
    return "\n".join(source.split("\n")[first - 1 : last])


def _fault_of_ours(remote, error):
    """Return why an exception that the candidate raised is no fault of it: it lacks what one process would give it."""
    name = re.search(r"'([\w.]+)'", str(error))
    if name is None:
        return ""
    if isinstance(error, NameError) and name[1] in remote.names_of_tests:
        return f"the solution uses {name[1]!r}, which only the tests define; give it to both as a preamble"
    if isinstance(error, ModuleNotFoundError) and is_missing_package(name[1]):
        return f"the solution needs the package {name[1]!r}, which the sandbox does not have"
    return ""


PACKAGES = frozenset(
    """Crypto PIL aiohttp astropy attr attrs boto3 bs4 certifi cffi chardet click cryptography cv2 cycler dateutil
    django docx faker flask folium gensim geopandas geopy gmpy2 gym gymnasium h5py holidays httpx hypothesis jax
    jinja2 joblib keras lightgbm librosa lxml markdown matplotlib more_itertools mpmath natsort networkx nltk numba
    numexpr numpy openpyxl pandas patsy plotly polars prettytable psutil pyarrow pycparser pydantic pygments pyparsing
    pytest python_http_client pytz pytesseract regex requests requests_mock rsa scipy seaborn sendgrid shapely six
    skimage sklearn sortedcontainers soundfile sqlalchemy statsmodels sympy tabulate tensorflow textblob texttable
    toolz torch torchvision tqdm transformers unidecode urllib3 wordcloud wordninja werkzeug xgboost xlrd xlwt
    xmltodict yaml zstandard""".split()
)
"""Packages that published tasks use. A solution that imports another unknown module is at fault itself."""


def is_missing_package(name):
    """Whether a module belongs to a known package that is not installed here, so that a solution cannot have it either."""
    top = name.partition(".")[0]
    if top not in PACKAGES:
        return False
    try:
        return importlib.util.find_spec(top) is None
    except (ImportError, ValueError):
        return True


def row_of(remote, name, error, declared, *, message=None):
    """Return the row of a failed test: `failed`, or `undecided` if it is not the candidate's failure."""
    fault = fault_of_tests(remote, error, declared) if remote.broken is None else ""
    if fault:
        return [name, "undecided", fault]
    return [name, "failed", message or describe(error)]


def failure_line(error):
    """Return the line of the tests that failed, 0 if none."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
            if trace.tb_frame.f_code.co_name == "check":
                return line
        trace = trace.tb_next
    return line


@functools.lru_cache(maxsize=512)
def numbered_asserts(source, function=None):
    """Return the first and last lines of the asserts directly in a function's body (or in the module's)."""
    body = parsed(source).body
    if function is not None:
        body = next(
            (
                n.body
                for n in reversed(body)
                if isinstance(n, ast.FunctionDef) and n.name == function
            ),
            [],
        )
    return [(n.lineno, n.end_lineno) for n in body if isinstance(n, ast.Assert)]


def since(begin):
    """Return the seconds since `begin`, a time of `perf_counter`, as a row has them."""
    return round(perf_counter() - begin, 6)


def rows_by_assert(source, function, failed, seconds):
    """Return one row per assert: those before the failure passed, the rest did not.

    `failed` is `(error, row)` or `None`. `seconds` is as `assert_styles.seconds_by_line` returns it.
    """
    spans = numbered_asserts(source, function)
    if failed is None:
        return [[f"line {start}", "passed", "", *seconds.get(start, ())] for start, _ in spans] or [
            [function or "module", "passed", "", *seconds[None]]
        ]
    error, (_, outcome, message) = failed
    if not spans:
        return [[function or "module", outcome, message, *seconds[None]]]
    line = failure_line(error)
    rows = []
    for start, end in spans:
        if end < line:
            rows.append([f"line {start}", "passed", "", *seconds.get(start, ())])
        elif outcome == "failed":
            if not any(row[1] == "failed" for row in rows):
                rows.append([f"line {min(line, start)}", "failed", message, *seconds[None]])
                if start <= line:
                    continue
            rows.append([f"line {start}", "failed", "not reached"])
    if not any(row[1] == outcome for row in rows):
        rows.append([f"line {line}", outcome, message, *seconds[None]])
    return rows
